"""Run dead letters again: their items alone, as batches of their own beside a plan's others.

The code may be newer than the plan's: that is what mends an item. The plan's other batches stay
as they are, so a change that concerns more than the items at fault needs a plain run instead.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import msgspec

from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Refused
from workers.ledger.counts import counted_attempts, redriven_letters
from workers.ledger.dead_letters import DeadLetter, DeadLetterState
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch, Redrive
from workers.planning.listing import Listing
from workers.sources.formats.format import format_of
from workers.values import BrokenRange, ByteRange, Place, Range, SegmentRange

MAX_LETTERS = 10_000  # in a batch, which is one document in the ledger
MAX_SINGLE_READS = 16  # letters that are worth a request each; for more, the range is read whole


def list_redrive(
    asset: Asset, task: Task, ledger: Ledger, partition: str, generation: int
) -> Listing:
    """Return a partition's newest plan with its open letters, and what failed, to be run again.

    Blocks that landed since are left to a plain run.
    """
    plan = ledger.last_plan(asset.name, partition, generation=generation)
    if plan is None:
        raise Refused(
            f"{asset.name}: partition {partition} was never run, so there is nothing to redrive; "
            f"`fanfold run {asset.name} --partition {partition}` runs it"
        )

    batches = ledger.batches_of(plan)
    base = [batch for batch in batches if not batch.is_redrive]
    redrives = [batch for batch in batches if batch.is_redrive and batch.is_done]

    kept, ready = list[Batch](), list[Batch]()
    for batch in base:
        if batch.is_done or batch.version == task.version:
            kept.append(batch)
        else:  # it did not finish, and no worker has its code any more
            ready.append(_with_code(asset, task, batch))

    letters = letters_to_redrive(ledger, batches)
    for start in range(0, len(letters), MAX_LETTERS):
        ready.append(_redrive(asset, task, base, letters[start : start + MAX_LETTERS]))

    return Listing(
        partition=partition,
        version=plan.version,
        generation=generation,
        round=plan.round,
        listed=plan.listed,  # its view of the blocks is that old
        blocks_digest=plan.blocks_digest,
        blocks=plan.blocks,
        bytes=plan.bytes,
        removed=plan.removed,
        kept=[batch.id for batch in [*kept, *redrives]],
        ready=ready,
        gaps=[],
    )


def _with_code(asset: Asset, task: Task, batch: Batch) -> Batch:
    """Return the batch that reads the same with the code as it is now."""
    return Batch.of_ranges(
        asset,
        task.version,
        batch.partition,
        batch.ranges,
        turn=batch.turn,
    )


def letters_to_redrive(ledger: Ledger, batches: Sequence[Batch]) -> list[DeadLetter]:
    """Return the letters of a plan that nobody discarded and no redrive has used, by place."""
    used = redriven_letters(ledger, batches)
    letters = ledger.dead_letters.found_by(counted_attempts(batches))
    waiting = [
        letter
        for letter in letters
        if letter.state is not DeadLetterState.DISCARDED and letter.id not in used
    ]
    return sorted(waiting, key=lambda letter: (letter.block, letter.place.position))


def _redrive(
    asset: Asset, task: Task, base: Sequence[Batch], letters: Sequence[DeadLetter]
) -> Batch:
    """Return the batch that runs letters again, out of the ranges that hold them."""
    batches = {batch.id: batch for batch in base}
    places: dict[tuple[str, str], list[Place]] = {}
    for letter in letters:
        parent = _parent(letter, batches)
        places.setdefault((parent, letter.block), []).append(letter.place)

    ranges: list[Range] = []
    for (parent, block), of_block in places.items():
        parts = [range_ for range_ in batches[parent].ranges if range_.key == block]
        ranges += _narrowed(asset, parts, of_block)

    some = base[0]
    redrive = Redrive(
        attempts={letter.id: letter.attempts for letter in letters},
        parents={parent for parent, _ in places},
    )
    return Batch.of_ranges(
        asset,
        task.version,
        some.partition,
        ranges,
        redrive,
        turn=some.turn,
    )


def _parent(letter: DeadLetter, batches: Mapping[str, Batch]) -> str:
    """Return the batch of a plan that found an item dead; there is exactly one."""
    (parent,) = {attempt.batch for attempt in letter.found_by} & batches.keys()
    return parent


def _narrowed(asset: Asset, ranges: Sequence[Range], places: list[Place]) -> list[Range]:
    """Return ranges of one block cut down to places in it, as far as that saves reading."""
    if not asset.source:
        if any(isinstance(range_, SegmentRange | BrokenRange) for range_ in ranges):
            return _in_segments(ranges, places)

        form = format_of(ranges[0].key, asset.format)
        is_by_line = form.kind in ("json", "text") and form.is_splittable
        if is_by_line and len(places) <= MAX_SINGLE_READS:
            return [_single_line(ranges[0], place) for place in places]

    items = max(1, len(places) // len(ranges))
    return [msgspec.structs.replace(range_, items=items, places=places) for range_ in ranges]


def _single_line(range_: Range, place: Place) -> ByteRange:
    """Return the range in which the line at a place starts, and no other."""
    start = int(place.position)
    return ByteRange(
        key=range_.key,
        etag=range_.etag,
        size=range_.size,
        start=start,
        end=start + 1,
        items=1,
        places=[place],
    )


def _in_segments(ranges: Sequence[Range], places: Sequence[Place]) -> list[Range]:
    """Return the segments that may hold places in their block.

    The offset of a segment of CSV is short by the header that it repeats, so the segment before
    the one that a place seems to be in may be the right one.
    """
    segments = [range_ for range_ in ranges if isinstance(range_, SegmentRange | BrokenRange)]
    segments.sort(key=lambda segment: segment.offset)
    offsets = [segment.offset for segment in segments]

    held: list[list[Place]] = [[] for _ in segments]
    for place in places:
        number = max(bisect_right(offsets, int(place.position)) - 1, 0)
        for candidate in {number, max(number - 1, 0)}:
            held[candidate].append(place)

    return [
        msgspec.structs.replace(segment, items=len(inside), places=inside)
        for segment, inside in zip(segments, held, strict=True)
        if inside
    ]


def partitions_to_redrive(asset: Asset, ledger: Ledger) -> dict[str, int]:
    """Return the partitions whose newest plan left items out, with how many a redrive would try."""
    generation = ledger.claims.generation(asset.name)
    candidates = {
        *ledger.dead_letters.partitions_to_redrive(asset.name),
        *ledger.partitions_with_failed_batches(asset.name),
    }

    items_by_partition: dict[str, int] = {}
    for partition in sorted(candidates):
        plan = ledger.last_plan(asset.name, partition, generation=generation)
        if plan is None:
            continue

        batches = ledger.batches_of(plan)
        failed = [batch for batch in batches if batch.is_failed and not batch.is_redrive]
        items = sum(batch.items for batch in failed) + len(letters_to_redrive(ledger, batches))
        if items:
            items_by_partition[partition] = items
    return items_by_partition
