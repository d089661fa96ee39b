"""Put ranges into batches, and batches into workers."""

import math
from collections.abc import Iterable, Mapping

import msgspec

from workers.declare.asset import Asset, Sizes
from workers.ledger.records import Batch
from workers.planning.sizing import WORKER_SECONDS
from workers.values import NO_ROUND, Range, Round


def share(seconds: Mapping[str, float], slots: int, sizes: Sizes) -> list[list[str]]:
    """Deal batches, given with their expected seconds, out to workers: a list of ids for each.

    A batch that is worth a worker gets its own; smaller ones share one, so that starting workers
    never costs more than their work. All slots are kept busy, with at most `max_batches` workers.
    """
    total = sum(seconds.values())
    worth = max(2 * slots, math.ceil(total / WORKER_SECONDS))
    workers = min(len(seconds), worth, sizes.max_workers)
    shares: list[list[str]] = [[] for _ in range(workers)]
    before = 0.0
    for batch, own in seconds.items():
        shares[int((before + own / 2) / total * workers)].append(batch)
        before += own
    return [one for one in shares if one]


def pack(
    asset: Asset,
    version: str,
    partition: str,
    ranges: Iterable[Range],
    full: int,
    part: int,
    number: Round = NO_ROUND,
) -> list[Batch]:
    """Put ranges side by side into batches, in key order, up to so many items each.

    Ranges of one block that follow each other become one; any other costs as much as `part` items.
    """
    packs: list[list[Range]] = []
    load = size = 0
    for one in sorted(ranges, key=lambda r: (r.key, r.start)):
        last = packs[-1][-1] if packs else None
        follows = last is not None and _follows(last, one)
        cost, bytes_ = one.items + (0 if follows else part), one.end - one.start
        if not packs or load + cost > full or size + bytes_ > asset.sizes.max_batch_bytes:
            packs.append([])
            load = size = 0
        load, size = load + cost, size + bytes_
        if last and follows and packs[-1]:
            items = last.items + one.items
            merged = msgspec.structs.replace(last, end=one.end, items=items, until=one.until)
            packs[-1][-1] = merged
        else:
            packs[-1].append(one)
    return [Batch.cut(asset, version, partition, made, number=number) for made in packs]


def _follows(one: Range, other: Range) -> bool:
    """Tell whether two ranges can be read as one."""
    if any(r.piece or r.broken for r in (one, other)):
        return False
    return (one.key, one.end) == (other.key, other.start)
