"""What became of a plan's items, as the ledger knows it: used, dead, failed, not run yet."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.ledger.dead_letters import DeadLetter, DeadLetterState
from workers.ledger.ledger import Ledger
from workers.ledger.moments import widest_gap
from workers.ledger.records import UNFINISHED_STATES, AttemptId, Batch, Plan
from workers.values import BlockWarning, Counts, Outcome

MAX_WARNINGS = 20  # sentences that the counts of a partition keep


def count_plan(ledger: Ledger, plan: Plan, batches: Sequence[Batch]) -> Counts:
    """Return what became of a plan's items; Refused where a batch's outcome does not add up."""
    (counts,) = count_plans(ledger, [plan], {plan.id: batches})
    return counts


def count_plans(
    ledger: Ledger, plans: Sequence[Plan], batches: Mapping[str, Sequence[Batch]]
) -> list[Counts]:
    """Return what became of the items of plans; Refused where an outcome does not add up."""
    return [_count(ledger, plan, batches[plan.id]) for plan in plans]


def _count(ledger: Ledger, plan: Plan, batches: Sequence[Batch]) -> Counts:
    base = [batch for batch in batches if not batch.is_redrive]
    redrives = [batch for batch in batches if batch.is_redrive]
    failed = [batch for batch in base if batch.is_failed]
    pending = [batch for batch in batches if batch.state in UNFINISHED_STATES]

    outcomes = [_checked_outcome(batch) for batch in base if batch.is_done]
    redriven_outcomes = [_checked_outcome(batch) for batch in redrives if batch.is_done]
    redriven = sum(outcome.used for outcome in redriven_outcomes)
    dead = sum(outcome.dead for outcome in outcomes)
    duplicates = sum(outcome.duplicates for outcome in redriven_outcomes)

    failed_items = sum(batch.items for batch in failed)
    pending_items = sum(batch.items for batch in pending if not batch.is_redrive)
    discarded = ledger.dead_letters.count_discarded(counted_attempts(base)) if dead else 0
    rests = unread_rests(ledger, batches) if dead else []

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
        dead=dead - redriven - duplicates,
        discarded=discarded,
        duplicates=sum(outcome.duplicates for outcome in outcomes) + duplicates,
        unread_parts=len(rests),
        unread_items=sum(letter.items for letter in rests),
        failed=failed_items,
        pending=pending_items,
        batches_failed=len(failed),
        batches_pending=len(pending) + len(plan.batches) - len(batches),
        redriven=redriven,
        redrivable=sum(len(batch.redrives) for batch in pending),
        work_seconds=round(sum(o.seconds for o in [*outcomes, *redriven_outcomes]), 3),
        warnings=merge_warnings(warning for o in outcomes for warning in o.warnings),
        widest_gap=widest_gap(plan.partition, (outcome.moments for outcome in outcomes)),
    )


def _checked_outcome(batch: Batch) -> Outcome:
    outcome = batch.finished_outcome
    known = outcome.used + outcome.dead + outcome.duplicates
    if outcome.items != known or outcome.bytes != batch.bytes:
        raise Refused(
            f"batch {batch.id} does not add up: {outcome.items} items, {outcome.used} used, "
            f"{outcome.dead} dead, {outcome.duplicates} duplicates; {outcome.bytes} of "
            f"{batch.bytes} bytes; this is a bug"
        )
    return outcome


def counted_attempts(batches: Iterable[Batch]) -> list[AttemptId]:
    """Return the attempts whose letters count: those whose outcomes do."""
    return [batch.attempt_id for batch in batches if batch.is_done and not batch.is_redrive]


def unread_rests(ledger: Ledger, batches: Sequence[Batch]) -> list[DeadLetter]:
    """Return the rests of blocks that stay unread, in the blocks' order.

    A person has not discarded them, no redrive has used them, and none is still to try them.
    """
    rests = ledger.dead_letters.rests_found_by(counted_attempts(batches))
    rests = [letter for letter in rests if letter.state is not DeadLetterState.DISCARDED]
    if not rests:
        return []

    settled = redriven_letters(ledger, batches)
    for batch in batches:
        if batch.state in UNFINISHED_STATES:
            settled.update(batch.redrives)
    return [letter for letter in rests if letter.id not in settled]


def merge_warnings(warnings: Iterable[BlockWarning]) -> list[BlockWarning]:
    """Return warnings with those of one sentence as one, up to a number of sentences."""
    merged: dict[str, BlockWarning] = {}
    for warning in warnings:
        known = merged.get(warning.sentence)
        if known:
            blocks = known.blocks + warning.blocks
            merged[warning.sentence] = msgspec.structs.replace(known, blocks=blocks)
        elif len(merged) < MAX_WARNINGS:
            merged[warning.sentence] = warning
    return list(merged.values())


def redriven_letters(ledger: Ledger, batches: Iterable[Batch]) -> set[str]:
    """Return the letters whose items the finished redrives among a plan's batches used."""
    used: set[str] = set()
    for batch in batches:
        if batch.is_redrive and batch.is_done:
            still_dead = ledger.dead_letters.found_by([batch.attempt_id])
            used |= set(batch.redrives) - {letter.id for letter in still_dead}
    return used


def exceeds_tolerance(asset: Asset, counts: Counts) -> bool:
    """Tell whether a partition lacks more than is tolerated, whatever is still to come.

    What is not known in number is not tolerated: an unread rest, a batch that failed. Nor is it
    that nothing at all was used. What did not run yet is only estimated, so it counts twice in
    favour of going on; and what is to be redriven may all work.
    """
    if counts.unread_parts or counts.batches_failed:
        return True

    unused = counts.unused - counts.redrivable
    if uses_nothing(counts):
        return unused > 0
    return not asset.tolerance.allows(unused, counts.items + counts.pending)


def uses_nothing(counts: Counts) -> bool:
    """Tell whether a partition that has run whole used none of its items, nor a copy elsewhere."""
    return not (counts.used or counts.duplicates or counts.batches_pending)


def lost_batches(
    asset: Asset, ledger: Ledger, run_id: str, known: Collection[str] = ()
) -> set[str]:
    """Return the batches of a run whose partitions are beyond tolerance already.

    None of them needs to start. Partitions whose batches are known are not looked at once more.
    """
    lost = set(known)
    plans = [plan for plan in ledger.plans_under_way(run_id) if not lost.issuperset(plan.batches)]
    batch_ids = [batch_id for plan in plans for batch_id in plan.batches]
    unused = ledger.unused_items(batch_ids)

    for plan in plans:
        in_plan = [unused[batch_id] for batch_id in plan.batches if batch_id in unused]
        is_known = all(batch.is_known for batch in in_plan)
        if is_known and sum(batch.items for batch in in_plan) <= asset.tolerance.count:
            continue
        if exceeds_tolerance(asset, count_plan(ledger, plan, ledger.batches_of(plan))):
            lost.update(plan.batches)
    return lost
