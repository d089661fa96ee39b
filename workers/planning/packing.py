"""Put ranges into batches, and batches into workers."""

import math
from collections.abc import Iterable, Mapping

import msgspec

from workers.declare.asset import Asset
from workers.ledger.records import FIRST_TURN, Batch, Turn
from workers.planning.sizing import WORKER_SECONDS
from workers.values import ByteRange, ProfileRange, Range


def pack(
    asset: Asset,
    version: str,
    partition: str,
    ranges: Iterable[Range],
    batch_items: int,
    range_cost: int,
    turn: Turn = FIRST_TURN,
) -> list[Batch]:
    """Put ranges side by side into batches, in key order, up to so many items each.

    Ranges of one block that follow each other become one; any other costs as much as
    `range_cost` items.
    """
    packs: list[list[Range]] = []
    load = size = 0

    for range_ in sorted(ranges, key=lambda part: (part.key, part.start)):
        last = packs[-1][-1] if packs else None
        joined = _joined(last, range_) if last else None
        cost = range_.items + (0 if joined else range_cost)

        is_full = load + cost > batch_items or size + range_.bytes > asset.sizes.max_batch_bytes
        if not packs or is_full:
            packs.append([])
            load = size = 0
            joined = None
        load += cost
        size += range_.bytes

        if joined:
            packs[-1][-1] = joined
        else:
            packs[-1].append(range_)

    return [Batch.of_ranges(asset, version, partition, parts, turn=turn) for parts in packs]


def _joined(before: Range, behind: Range) -> Range | None:
    """Return two ranges as one, where they can be read so."""
    if (before.key, before.end) != (behind.key, behind.start):
        return None

    items = before.items + behind.items
    if isinstance(before, ByteRange) and isinstance(behind, ByteRange):
        return msgspec.structs.replace(before, end=behind.end, items=items)
    if isinstance(before, ProfileRange) and isinstance(behind, ProfileRange):
        return msgspec.structs.replace(before, end=behind.end, items=items, until=behind.until)
    return None


def share(seconds: Mapping[str, float], slots: int, max_workers: int) -> list[list[str]]:
    """Deal batches, given with their expected seconds, out to workers: a list of ids for each.

    A batch that is worth a worker gets its own; smaller ones share one, so that starting workers
    never costs more than their work. All slots are kept busy, with at most `max_workers` workers.
    """
    total = sum(seconds.values())
    # As many for each slot: one more than that would run while the others idle.
    a_slot = max(2, math.ceil(total / WORKER_SECONDS / slots))
    workers = min(len(seconds), a_slot * slots, max_workers)

    shares: list[list[str]] = [[] for _ in range(workers)]
    before = 0.0
    for batch_id, own in seconds.items():
        worker = int((before + own / 2) / total * workers)
        shares[worker].append(batch_id)
        before += own
    return [batch_ids for batch_ids in shares if batch_ids]
