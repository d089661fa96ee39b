"""Checks that the UI shows on each asset after a run: lost, twice, tolerated, usual."""

from collections.abc import Iterator, Sequence

import dagster as dg

from pipelines.doors import Mongo, Store, after_a_crash
from pipelines.errors import explained
from pipelines.usual import as_usual
from workers.declare.asset import Asset
from workers.declare.task import load_task
from workers.errors import Refused
from workers.ledger.claims import Claim
from workers.ledger.counts import counted_attempts, merge_warnings, redriven_letters
from workers.ledger.ledger import Ledger
from workers.ledger.losses import MAX_NAMED, explain_unused
from workers.ledger.records import Plan, PlanState
from workers.store import BlockStore
from workers.values import Counts
from workers.verify import spot_check

MAX_SPOT_BYTES = 16 << 20  # bytes of blocks that a check recomputes: some seconds
DESCRIPTIONS = {
    "nothing_lost": "Items planned = items used + dead letters, and every letter is there.",
    "nothing_twice": "A sample of profiles says what the raw blocks of a partition say.",
    "within_tolerance": "Every item could be used; where not, warns with the reasons.",
    "as_usual": "Partitions are like the same weekdays or hours around; where not, warns.",
}


def fold_checks(asset: Asset) -> dg.AssetChecksDefinition:
    """Return the asset's checks: one step, after the partitions of a run are folded."""
    specs = [
        dg.AssetCheckSpec(name, asset=asset.name, description=text)
        for name, text in DESCRIPTIONS.items()
    ]

    @dg.multi_asset_check(name=f"{asset.name}_checks", specs=specs, retry_policy=after_a_crash())
    def checks(
        context: dg.AssetCheckExecutionContext, mongo: Mongo, store: Store
    ) -> Iterator[dg.AssetCheckResult]:
        with explained(context.op_execution_context):
            results = evaluate(asset, Ledger(mongo), store, context.run.run_id)
        yield from results

    return checks


def evaluate(
    asset: Asset, ledger: Ledger, store: BlockStore, run: str
) -> list[dg.AssetCheckResult]:
    """Return what the checks say of the partitions that a run folded."""
    plans = folded_plans(asset, ledger, run)
    return [
        nothing_lost(asset, ledger, plans),
        nothing_twice(asset, ledger, store, plans),
        within_tolerance(asset, ledger, plans),
        as_usual(asset, ledger, plans, run),
    ]


def folded_plans(asset: Asset, ledger: Ledger, run: str) -> list[Plan]:
    """Return the plans that a run folded; where it folded none, that of the newest partition.

    A check can be executed by itself, in a run of its own.
    """
    plans = [
        plan
        for plan in ledger.plans_of_run(run)
        if plan.asset == asset.name and plan.state is PlanState.FOLDED
    ]
    if plans:
        return plans

    generation = ledger.claims.generation(asset.name)
    newest = ledger.folded.newest_folded(asset.name, generation)
    if newest is None:
        return []
    rounds = ledger.folded.folded_plans(asset.name, generation, newest)
    return [max(rounds, key=lambda plan: plan.round)]


def nothing_lost(asset: Asset, ledger: Ledger, plans: Sequence[Plan]) -> dg.AssetCheckResult:
    """Hold the counts of folded plans against each other, and against the letters there are."""
    wrong = [sentence for plan in plans for sentence in _losses(ledger, plan)]
    description = "items planned = used + dead letters + duplicates"
    if wrong:
        more = f"; and {len(wrong) - MAX_NAMED:,} more" if len(wrong) > MAX_NAMED else ""
        description = f"{'; '.join(wrong[:MAX_NAMED])}{more}. {_way_out(asset, plans)}"

    counts = _counts(plans)
    return dg.AssetCheckResult(
        asset_key=asset.name,
        check_name="nothing_lost",
        passed=not wrong,
        description=description,
        metadata={
            "items": sum(each.items for each in counts),
            "used": sum(each.used for each in counts),
            "dead_letters": sum(each.dead for each in counts),
            "duplicates": sum(each.duplicates for each in counts),
            "failed": sum(each.failed for each in counts),
            "profiles_failed": sum(len(plan.failed_profiles) for plan in plans),
        },
    )


def _way_out(asset: Asset, plans: Sequence[Plan]) -> str:
    """Return what to do about what folded plans lack."""
    failed = [plan.partition for plan in plans if plan.failed_profiles]
    if not failed:
        return "This is a bug"

    first, last = min(failed), max(failed)
    option = f"partition {first}" if first == last else f"partitions {first}...{last}"
    return (
        "These profiles stayed as they were, and all others are folded. Once the task says less "
        f"of them, `fanfold run {asset.name} --{option}` folds them"
    )


def _counts(plans: Sequence[Plan]) -> list[Counts]:
    """Return the counts of folded plans; each of them has some."""
    return [plan.counts for plan in plans if plan.counts]


def _losses(ledger: Ledger, plan: Plan) -> list[str]:
    """Return what of a folded plan is missing: items, dead letters, and what profiles lack."""
    losses = []
    counts = plan.counts
    if counts:
        letters = _letters(ledger, plan) if counts.dead else 0
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


def _letters(ledger: Ledger, plan: Plan) -> int:
    """Return how many dead letters of a plan there are that no redrive has used."""
    batches = ledger.batches_of(plan)
    letters = ledger.dead_letters.found_by(counted_attempts(batches))
    redriven = redriven_letters(ledger, batches)
    return len({letter.id for letter in letters} - redriven)


def nothing_twice(
    asset: Asset, ledger: Ledger, store: BlockStore, plans: Sequence[Plan]
) -> dg.AssetCheckResult:
    """Recompute the latest partition that is small enough, and compare some of its profiles."""
    generation = ledger.claims.generation(asset.name)
    comparable = [plan for plan in plans if plan.generation == generation and _is_comparable(plan)]
    if not comparable:
        return _not_compared(
            asset,
            f"no open partition of this run has blocks of at most {MAX_SPOT_BYTES >> 20} MB in "
            "all; see `fanfold verify`",
        )

    plan = max(comparable, key=lambda plan: plan.partition)
    try:
        check = spot_check(asset, load_task(asset.task), ledger, store, plan)
    except Refused as error:
        return _not_compared(asset, str(error))

    if check.differing and (why := _why_outdated(asset, ledger, plan)):
        return _not_compared(asset, why)

    text = f"{check.compared} profiles compared with {check.against} ({plan.partition})"
    if check.differing:
        named = ", ".join(check.differing[:MAX_NAMED])
        text += (
            f"; {len(check.differing)} differ: {named}. `fanfold verify {asset.name} "
            f"--partition {plan.partition}` compares all of them; `fanfold rebuild {asset.name}` "
            "makes them anew"
        )
    return dg.AssetCheckResult(
        asset_key=asset.name,
        check_name="nothing_twice",
        passed=not check.differing,
        description=text,
        metadata={"compared": check.compared},
    )


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


def _not_compared(asset: Asset, why: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset.name,
        check_name="nothing_twice",
        passed=True,
        description=f"nothing compared: {why}",
    )


def within_tolerance(asset: Asset, ledger: Ledger, plans: Sequence[Plan]) -> dg.AssetCheckResult:
    """Warn of items that could not be used, although they are few enough to be tolerated."""
    incomplete = [counts for counts in _counts(plans) if counts.unused]
    text = "every item was used"
    if incomplete:
        text = explain_unused(asset, ledger, incomplete)

    warnings = merge_warnings(warning for each in _counts(plans) for warning in each.warnings)
    if warnings:
        text += f". Warnings: {'; '.join(map(str, warnings))}"

    return dg.AssetCheckResult(
        asset_key=asset.name,
        check_name="within_tolerance",
        passed=not incomplete,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata={
            "items_not_used": sum(counts.unused for counts in incomplete),
            "warnings": len(warnings),
        },
    )
