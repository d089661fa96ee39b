"""What checks find of each partition: lost, twice, tolerated; of one that is not folded, why."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import dagster as dg

from pipelines.errors import OF_NOT_FOLDED
from workers.declare.asset import Asset
from workers.declare.task import load_task
from workers.errors import Refused
from workers.ledger.claims import Claim
from workers.ledger.counts import count_plan, counted_attempts, exceeds_tolerance, redriven_letters
from workers.ledger.ledger import Ledger
from workers.ledger.losses import MAX_NAMED, explain_unused
from workers.ledger.records import Batch, Plan, PlanState
from workers.store import BlockStore
from workers.values import Counts
from workers.verify import spot_check

MAX_SPOT_BYTES = 16 << 20  # bytes of blocks that a check recomputes: some seconds
MAX_EXPLAINED = 20  # partitions whose unused items a run tells with their blocks and reasons
BY_PARTITION = ("nothing_lost", "nothing_twice", "within_tolerance", "as_usual")


class Finding(NamedTuple):
    """What a check says of a partition, or of the asset as a whole."""

    check: str
    partition: str | None
    passed: bool
    description: str
    metadata: Mapping[str, Any]
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


def nothing_lost(ledger: Ledger, plans: Sequence[Plan]) -> list[Finding]:
    """Hold the counts of folded plans against each other, and against the letters there are."""
    with_dead = [plan for plan in plans if plan.counts and plan.counts.dead]
    batches = ledger.batches_by_plan(with_dead)
    return [_lost_of(ledger, plan, batches.get(plan.id, [])) for plan in plans]


def _lost_of(ledger: Ledger, plan: Plan, batches: Sequence[Batch]) -> Finding:
    losses = _losses(ledger, plan, batches)
    description = "items planned = used + dead letters + duplicates"
    if losses:
        more = f"; and {len(losses) - MAX_NAMED:,} more" if len(losses) > MAX_NAMED else ""
        description = f"{'; '.join(losses[:MAX_NAMED])}{more}. {_way_out(plan)}"

    numbers = {}
    if plan.counts:
        numbers = {"items": plan.counts.items, "used": plan.counts.used}
        numbers["dead_letters"] = plan.counts.dead
        numbers |= {"duplicates": plan.counts.duplicates, "failed": plan.counts.failed}
    numbers["profiles_failed"] = len(plan.failed_profiles)
    shown = {name: number for name, number in numbers.items() if number}
    return Finding("nothing_lost", plan.partition, not losses, description, shown)


def _way_out(plan: Plan) -> str:
    """Return what to do about what a folded plan lacks."""
    if not plan.failed_profiles:
        return "This is a bug"
    return (
        "These profiles stayed as they were, and all others are folded. Once the task says less "
        f"of them, `fanfold run {plan.asset} --partition {plan.partition}` folds them"
    )


def _losses(ledger: Ledger, plan: Plan, batches: Sequence[Batch]) -> list[str]:
    """Return what of a folded plan is missing: items, dead letters, and what profiles lack."""
    losses = []
    counts = plan.counts
    if counts:
        letters = _letters(ledger, batches) if counts.dead else 0
        items = counts.used + counts.dead + counts.duplicates + counts.failed
        if counts.items != items or letters != counts.dead:
            copies = f"{counts.duplicates:,} duplicates, " if counts.duplicates else ""
            losses.append(
                f"{plan.partition}: {counts.items:,} items planned, {counts.used:,} used, {copies}"
                f"{counts.dead:,} dead and {counts.failed:,} failed; {letters:,} dead letters"
            )

    for failed in plan.failed_profiles:
        text = f"profile {failed.profile!r} lacks it; {failed.field}: {failed.why}"
        losses.append(f"{plan.partition}: {text}")
    return losses


def _letters(ledger: Ledger, batches: Sequence[Batch]) -> int:
    """Return how many dead letters of a plan's batches there are that no redrive has used."""
    letters = ledger.dead_letters.found_by(counted_attempts(batches))
    redriven = redriven_letters(ledger, batches)
    return len({letter.id for letter in letters} - redriven)


def nothing_twice(
    asset: Asset, ledger: Ledger, store: BlockStore, plans: Sequence[Plan]
) -> list[Finding]:
    """Recompute the latest partition that is small enough, and compare some of its profiles."""
    generation = ledger.claims.generation(asset.name)
    comparable = [plan for plan in plans if plan.generation == generation and _is_comparable(plan)]
    latest = max(comparable, key=lambda plan: plan.partition, default=None)
    why = (
        f"it is no open partition with blocks of at most {MAX_SPOT_BYTES >> 20} MB in all; see "
        "`fanfold verify`"
    )
    of_latest = ""
    if latest:
        of_latest = f"of the partitions of one run the latest small one is, {latest.partition}"

    findings = []
    for plan in plans:
        if plan is latest:
            findings.append(_compare(asset, ledger, store, plan))
        else:
            findings.append(_not_compared(plan, of_latest if plan in comparable else why))
    return findings


def _compare(asset: Asset, ledger: Ledger, store: BlockStore, plan: Plan) -> Finding:
    try:
        check = spot_check(asset, load_task(asset.task), ledger, store, plan)
    except Refused as error:
        return _not_compared(plan, str(error))
    if check.differing and (why := _why_outdated(asset, ledger, plan)):
        return _not_compared(plan, why)

    text = f"{check.compared} profiles compared with {check.against} ({plan.partition})"
    if check.differing:
        named = ", ".join(check.differing[:MAX_NAMED])
        text += (
            f"; {len(check.differing)} differ: {named}. `fanfold verify {asset.name} "
            f"--partition {plan.partition}` compares all of them; `fanfold rebuild {asset.name}` "
            "makes them anew"
        )
    numbers = {"compared": check.compared}
    return Finding("nothing_twice", plan.partition, not check.differing, text, numbers)


def _is_comparable(plan: Plan) -> bool:
    """Tell whether all of a plan is in open profiles, and little enough to be recomputed."""
    is_small = 0 < plan.bytes <= MAX_SPOT_BYTES
    has_failures = plan.failed_profiles or (plan.counts and plan.counts.failed)
    return plan.state is PlanState.FOLDED and is_small and not has_failures


def _why_outdated(asset: Asset, ledger: Ledger, plan: Plan) -> str:
    """Return what has happened since a plan was folded; "" where profiles should hold it."""
    claim = Claim(plan=plan.id, key=plan.key, epoch=plan.epoch or 0)
    if plan.key not in ledger.claims.live([claim]):
        return f"another run has folded {plan.partition} since"
    if asset.unique and ledger.stays.outdated(plan.batches):
        return f"blocks with copies of items of {plan.partition} came or went since"
    return ""


def _not_compared(plan: Plan, why: str) -> Finding:
    return Finding("nothing_twice", plan.partition, True, f"nothing compared: {why}", {})


def within_tolerance(asset: Asset, ledger: Ledger, plans: Sequence[Plan]) -> list[Finding]:
    """Warn of items that could not be used, although they are few enough to be tolerated."""
    incomplete = [plan for plan in plans if plan.counts and plan.counts.unused]
    explained = {plan.id for plan in incomplete[-MAX_EXPLAINED:]}
    findings = []
    for plan in plans:
        unused = plan.counts.unused if plan.counts else 0
        text = "every item was used"
        if plan.counts and plan.id in explained:
            text = explain_unused(asset, ledger, [plan.counts])
        elif unused:
            text = (
                f"{unused:,} items could not be used; `fanfold dead-letters {asset.name} "
                f"--partition {plan.partition}` says why"
            )

        warnings = [str(warning) for warning in plan.counts.warnings] if plan.counts else []
        if warnings:
            text += f". Warnings: {'; '.join(warnings)}"
        numbers = {"items_not_used": unused, "warnings": len(warnings)}
        shown = {name: number for name, number in numbers.items() if number}
        severity = dg.AssetCheckSeverity.WARN
        findings.append(
            Finding("within_tolerance", plan.partition, not unused, text, shown, severity)
        )
    return findings


def of_refused(asset: Asset, ledger: Ledger, plans: Sequence[Plan]) -> list[Finding]:
    """Return what checks say of plans that are not folded: one of them fails, and says why."""
    batches = ledger.batches_by_plan(plans)
    findings = []
    for plan in plans:
        counts = _counts(ledger, plan, batches[plan.id])
        is_beyond = counts is not None and exceeds_tolerance(asset, counts)
        failing = "within_tolerance" if is_beyond else "nothing_lost"
        for check in BY_PARTITION:
            text = plan.why if check == failing else f"not folded: see `{failing}`"
            findings.append(
                Finding(check, plan.partition, check != failing, text, {OF_NOT_FOLDED: True})
            )
    return findings


def _counts(ledger: Ledger, plan: Plan, batches: Sequence[Batch]) -> Counts | None:
    """Return what became of a plan's items; None where a batch does not add up."""
    try:
        return count_plan(ledger, plan, batches)
    except Refused:
        return None
