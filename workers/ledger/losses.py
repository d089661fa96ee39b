"""What partitions lack, as messages say it: how much, which blocks, why, and what to type."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from workers.declare.asset import Asset
from workers.errors import RUN_AGAIN
from workers.ledger.counts import counted_attempts, exceeds_tolerance, unread_rests, uses_nothing
from workers.ledger.dead_letters import DeadLetter
from workers.ledger.fingerprint import cause_of
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch, Plan
from workers.values import Counts

MAX_REASONS = 3  # most frequent reasons that a message names
MAX_NAMED = 5  # partitions, blocks or batches that a message names
MAX_BLOCKS = 3  # blocks, or failed batches, that a message describes


def can_be_redriven(ledger: Ledger, batches: Sequence[Batch]) -> bool:
    """Tell whether running the same bytes again can mend what batches lack.

    It cannot where a block breaks off, or where another lies in its place.
    """
    base = [batch for batch in batches if not batch.is_redrive]
    if any(batch.is_failed and RUN_AGAIN not in batch.error for batch in base):
        return True
    dead = sum(batch.finished_outcome.dead for batch in base if batch.is_done)
    if not dead:
        return False
    attempts = counted_attempts(base)
    discarded = ledger.dead_letters.count_discarded(attempts)
    return dead > discarded + len(unread_rests(ledger, batches))


def has_new_blocks(batches: Sequence[Batch]) -> bool:
    """Tell whether batches failed as other blocks lie in the place of theirs, or none do."""
    return any(batch.is_failed and RUN_AGAIN in batch.error for batch in batches)


def failed_batches(ledger: Ledger, asset: str, partition: str | None = None) -> list[Batch]:
    """Return the batches that failed for good of the newest plans of an asset's partitions."""
    generation = ledger.claims.generation(asset)
    failed: list[Batch] = []
    for key in sorted(ledger.partitions_with_failed_batches(asset)):
        if partition and key != partition:
            continue
        plan = ledger.last_plan(asset, key, generation=generation)
        batches = ledger.batches_of(plan) if plan else []
        failed += [batch for batch in batches if batch.is_failed and not batch.is_redrive]
    return failed


def frequent_reasons(
    ledger: Ledger, plans: Iterable[Plan], with_rests: bool = True
) -> list[tuple[str, int]]:
    """Return the most frequent reasons why items of these plans were not used, with counts.

    A rest of a block, whose items nobody can count, counts as one.
    """
    batches = list(
        ledger.batches_by_id(batch_id for plan in plans for batch_id in plan.batches).values()
    )
    attempts = counted_attempts(batches)
    items_by_reason = dict(ledger.dead_letters.causes(attempts, MAX_REASONS, with_rests))

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


def why_not_folded(asset: Asset, counts: Sequence[Counts]) -> str:
    """Return what is not tolerated of partitions, as the beginning of a sentence."""
    clauses = []
    unread = sum(partition.unread_parts for partition in counts)
    if unread:
        verb = "parts of blocks were" if unread > 1 else "part of a block was"
        clauses.append(f"{unread:,} {verb} not read")

    failed = sum(partition.batches_failed for partition in counts)
    if failed:
        clauses.append(f"{failed:,} batches failed" if failed > 1 else "1 batch failed")

    known = [part for part in counts if not part.unread_parts and not part.batches_failed]
    beyond = [partition for partition in known if exceeds_tolerance(asset, partition)]
    if any(uses_nothing(partition) for partition in beyond):
        clauses.append("not one item could be used")
    if not all(uses_nothing(partition) for partition in beyond):
        tolerated = asset.tolerance.text
        clauses.append(f"more items could not be used than are tolerated ({tolerated})")

    is_unknown = ", which no tolerance covers" if unread or failed else ""
    return " and ".join(clauses) + is_unknown


def explain_unused(asset: Asset, ledger: Ledger, counts: Sequence[Counts]) -> str:
    """Say what of these partitions could not be used, why, and what to type; one sentence each."""
    named = "; ".join(_describe(partition) for partition in counts[:MAX_NAMED])
    more = f"; and {len(counts) - MAX_NAMED} partitions more" if len(counts) > MAX_NAMED else ""

    plans = ledger.plans_by_id([partition.plan for partition in counts])
    sentences = [f"{named}{more}", *_blocks(ledger, plans)]

    ranked = frequent_reasons(ledger, plans, with_rests=False)
    listed = "; ".join(f"{items:,} x {reason}" for reason, items in ranked)
    if listed:
        sentences.append(f"Most frequent: {listed}")

    batches = [batch for of_plan in ledger.batches_by_plan(plans).values() for batch in of_plan]
    is_redrivable = can_be_redriven(ledger, batches)
    sentences.append(_commands(asset, counts, is_redrivable))
    return ". ".join(sentences)


def _describe(counts: Counts) -> str:
    parts = [f"{counts.dead:,} dead letters"]
    if counts.discarded:
        parts.append(f"{counts.discarded:,} of them discarded")
    if counts.failed:
        parts.append(f"about {counts.failed:,} items of {counts.batches_failed} failed batches")

    left_out = counts.dead + counts.failed
    text = f"{left_out:,} of {counts.items:,} items of {counts.partition} ({', '.join(parts)})"
    if counts.unread_parts:
        estimate = f"about {counts.unread_items:,} by the bytes"
        text += f", and an unknown number more in what was not read ({estimate})"
    return text


def _blocks(ledger: Ledger, plans: Iterable[Plan]) -> list[str]:
    """Return a sentence about the blocks that were not read whole, and one about failed batches."""
    rests: list[DeadLetter] = []
    failed: list[Batch] = []
    for plan in plans:
        batches = ledger.batches_of(plan)
        rests += unread_rests(ledger, batches)
        failed += [batch for batch in batches if batch.is_failed and not batch.is_redrive]

    sentences = []
    if rests:
        described = [_describe_rest(letter) for letter in rests]
        sentences.append(f"Not read: {_first_of(described)}")
    if failed:
        described = [_describe_failed(batch) for batch in failed]
        sentences.append(f"Failed: {_first_of(described)}")
    return sentences


def _first_of(texts: Sequence[str]) -> str:
    named = "; ".join(texts[:MAX_BLOCKS])
    more = len(texts) - MAX_BLOCKS
    return f"{named}; and {more:,} more" if more > 0 else named


def _describe_rest(letter: DeadLetter) -> str:
    """Return which part of a block was not read, how much that is, and why."""
    estimate = f"about {letter.items:,} items by its bytes"
    return f"{letter.block}, {letter.place} ({estimate}): {letter.reason}"


def _blocks_of(batch: Batch) -> str:
    """Return the first block that a batch reads, and how many more it does."""
    keys = sorted({range_.key for range_ in batch.ranges})
    more = len(keys) - 1
    return f"{keys[0]} and {more:,} more blocks" if more else keys[0]


def _describe_failed(batch: Batch) -> str:
    return f"batch {batch.id} of {_blocks_of(batch)} (about {batch.items:,} items)"


def _commands(asset: Asset, counts: Sequence[Counts], is_redrivable: bool) -> str:
    """Return what to type: to see it, to run it again, and to give up what nobody can read."""
    where = f"{asset.name} --partition {counts[0].partition}" if len(counts) == 1 else asset.name
    ways = [f"`fanfold dead-letters {where}` lists them"]

    if is_redrivable:
        ways.append(f"`fanfold redrive {where}` runs them again once the cause is mended")
    ways.append("blocks that were put or declared anew are for a plain run")

    if any(partition.unread_parts for partition in counts):
        ways.append(
            f"`fanfold dead-letters {where} --unread --discard WHY` gives up what cannot be read, "
            "and the run after it folds all else"
        )
    return "; ".join(ways)
