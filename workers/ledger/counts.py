"""What became of a plan's items, as the ledger knows it: used, dead, failed, not run yet."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.ledger.fingerprint import cause_of
from workers.ledger.ledger import Ledger
from workers.ledger.records import UNFINISHED_STATES, AttemptId, Batch, Plan
from workers.values import Counts, Outcome

MAX_REASONS = 3  # most frequent reasons that a message names
MAX_NAMED = 5  # partitions or batches that a message names


def count_plan(ledger: Ledger, plan: Plan, batches: Sequence[Batch]) -> Counts:
    """Return what became of a plan's items; Refused where a batch's outcome does not add up."""
    base = [batch for batch in batches if not batch.is_redrive]
    redrives = [batch for batch in batches if batch.is_redrive]
    failed = [batch for batch in base if batch.is_failed]
    pending = [batch for batch in batches if batch.state in UNFINISHED_STATES]

    outcomes = [_checked_outcome(batch) for batch in base if batch.is_done]
    redriven_outcomes = [_checked_outcome(batch) for batch in redrives if batch.is_done]
    redriven = sum(outcome.used for outcome in redriven_outcomes)
    dead = sum(outcome.dead for outcome in outcomes)

    failed_items = sum(batch.items for batch in failed)
    pending_items = sum(batch.items for batch in pending if not batch.is_redrive)
    discarded = ledger.dead_letters.count_discarded(counted_attempts(base)) if dead else 0
    closed = ledger.claims.closed(plan.key)

    return Counts(
        plan=plan.id,
        partition=plan.partition,
        blocks=plan.blocks,
        bytes=plan.bytes,
        batches=len(plan.batches),
        reused=len(plan.reused),
        items=sum(outcome.items for outcome in outcomes) + failed_items + pending_items,
        used=sum(outcome.used for outcome in outcomes) + redriven,
        skipped=sum(outcome.skipped for outcome in [*outcomes, *redriven_outcomes]),
        dead=dead - redriven,
        discarded=discarded,
        failed=failed_items,
        pending=pending_items,
        batches_failed=len(failed),
        batches_pending=len(pending) + len(plan.batches) - len(batches),
        redriven=redriven,
        redrivable=sum(len(batch.redrives) for batch in pending),
        work_seconds=round(sum(o.seconds for o in [*outcomes, *redriven_outcomes]), 3),
        unchanged_since=closed.id if closed else "",
    )


def _checked_outcome(batch: Batch) -> Outcome:
    outcome = batch.finished_outcome
    if outcome.items != outcome.used + outcome.dead or outcome.bytes != batch.bytes:
        raise Refused(
            f"batch {batch.id} does not add up: {outcome.items} items, {outcome.used} used, "
            f"{outcome.dead} dead; {outcome.bytes} of {batch.bytes} bytes; this is a bug"
        )
    return outcome


def counted_attempts(batches: Iterable[Batch]) -> list[AttemptId]:
    """Return the attempts whose letters count: those whose outcomes do."""
    return [batch.attempt_id for batch in batches if batch.is_done and not batch.is_redrive]


def redriven_letters(ledger: Ledger, batches: Iterable[Batch]) -> set[str]:
    """Return the letters whose items the finished redrives among a plan's batches used."""
    used: set[str] = set()
    for batch in batches:
        if batch.is_redrive and batch.is_done:
            still_dead = ledger.dead_letters.found_by([batch.attempt_id])
            used |= set(batch.redrives) - {letter.id for letter in still_dead}
    return used


def exceeds_tolerance(asset: Asset, counts: Counts) -> bool:
    """Tell whether a partition has more unused items than tolerated, whatever is still to come.

    What did not run yet is only estimated, so it counts twice in favour of going on; and what is
    to be redriven may all work.
    """
    unused = counts.unused - counts.redrivable
    return not asset.tolerance.allows(unused, counts.items + counts.pending)


def run_exceeds_tolerance(asset: Asset, ledger: Ledger, run_id: str) -> bool:
    """Tell whether a run is beyond tolerance already, so that no worker needs to start."""
    plans = ledger.plans_under_way(run_id)
    batch_ids = [batch_id for plan in plans for batch_id in plan.batches]
    unused = ledger.unused_items(batch_ids)

    for plan in plans:
        items = sum(unused.get(batch_id, 0) for batch_id in plan.batches)
        if items <= asset.tolerance.count:
            continue
        if exceeds_tolerance(asset, count_plan(ledger, plan, ledger.batches_of(plan))):
            return True
    return False


def frequent_reasons(ledger: Ledger, plans: Iterable[Plan]) -> list[tuple[str, int]]:
    """Return the most frequent reasons why items of these plans were not used, with counts."""
    batches = [batch for plan in plans for batch in ledger.batches_of(plan)]
    items_by_reason = dict(ledger.dead_letters.causes(counted_attempts(batches), MAX_REASONS))

    failed_by_cause = defaultdict[str, list[Batch]](list)
    for batch in batches:
        if batch.is_failed and not batch.is_redrive:
            failed_by_cause[cause_of(batch.error)].append(batch)

    for cause, alike in failed_by_cause.items():
        errors = {batch.error for batch in alike}
        reason = f"batch failed: {cause if len(errors) > 1 else errors.pop()}"
        items_by_reason[reason] = sum(batch.items for batch in alike)

    ranked = sorted(items_by_reason.items(), key=lambda pair: (-pair[1], pair[0]))
    return ranked[:MAX_REASONS]


def explain_unused(asset: Asset, ledger: Ledger, counts: Sequence[Counts]) -> str:
    """Say what of these partitions could not be used, why, and what to type; one sentence each."""
    named = "; ".join(_describe(partition) for partition in counts[:MAX_NAMED])
    more = f"; and {len(counts) - MAX_NAMED} partitions more" if len(counts) > MAX_NAMED else ""

    plans = [ledger.plan(partition.plan) for partition in counts]
    ranked = frequent_reasons(ledger, plans)
    listed = "; ".join(f"{items:,} x {reason}" for reason, items in ranked)

    where = f" --partition {counts[0].partition}" if len(counts) == 1 else ""
    return (
        f"{named}{more}. Most frequent: {listed or 'no reason is known'}. "
        f"`fanfold dead-letters {asset.name}{where}` lists them; "
        f"`fanfold redrive {asset.name}{where}` runs them again once the cause is mended; "
        "blocks that were put anew are for a plain run"
    )


def _describe(counts: Counts) -> str:
    parts = [f"{counts.dead:,} dead letters"]
    if counts.discarded:
        parts.append(f"{counts.discarded:,} of them discarded")
    if counts.failed:
        parts.append(f"about {counts.failed:,} items of {counts.batches_failed} failed batches")

    left_out = counts.dead + counts.failed
    return f"{left_out:,} of {counts.items:,} items of {counts.partition} ({', '.join(parts)})"
