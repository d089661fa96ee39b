"""Decide at run time how to cut the work: gaps of blocks into ranges, ranges into batches."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from workers.blocks import BlockStore
from workers.errors import Malformed
from workers.formats import is_gzip, read_lines
from workers.model import Asset, Batch, Block, Range, Sizes, Value

SAMPLE = 64 << 10  # bytes read of a sampled block
SAMPLES = 16  # blocks of a kind that a master samples
BATCH_SECONDS = 0.05  # what a batch costs beside its items: a few calls to S3 and the ledger
WORKER_SECONDS = 5.0  # work that is worth starting a worker for


class Gap(Value, frozen=True, kw_only=True):
    """Bytes of a block that no batch of an earlier plan covers."""

    partition: str
    key: str
    etag: str
    size: int
    start: int
    end: int


def gaps(partition: str, block: Block, covered: Iterable[Range]) -> list[Gap]:
    """Return what is left of a block beside the ranges already planned for it."""
    left, at = [], 0
    for start, end in [*sorted((r.start, r.end) for r in covered), (block.size, block.size)]:
        if start > at:
            left.append(
                Gap(
                    partition=partition,
                    key=block.key,
                    etag=block.etag,
                    size=block.size,
                    start=at,
                    end=start,
                )
            )
        at = max(at, end)
    return left


def slice_gaps(store: BlockStore, work: Sequence[Gap], sizes: Sizes) -> dict[str, list[Range]]:
    """Cut gaps into ranges of at most a batch's items each; gzip stays whole. By partition.

    Items are estimated from samples of a few blocks, so a master reads little whatever the size.
    """
    ranges: dict[str, list[Range]] = {}
    for kind in (True, False):
        alike = [gap for gap in work if is_gzip(gap.key) == kind]
        density = items_per_byte(store, alike)
        for gap in alike:
            into = ranges.setdefault(gap.partition, [])
            items = density * (gap.end - gap.start)
            parts = 1 if kind else max(1, math.ceil(items / batch_items(sizes)))
            into += cut(gap, min(parts, gap.end - gap.start), items)
    return ranges


def cut(gap: Gap, parts: int, items: float) -> list[Range]:
    """Cut a gap into ranges of equal bytes that together cover it exactly."""
    length = gap.end - gap.start
    edges = [gap.start + length * part // parts for part in range(parts + 1)]
    return [
        Range(
            key=gap.key,
            etag=gap.etag,
            size=gap.size,
            start=start,
            end=end,
            items=max(1, round(items / parts)),
        )
        for start, end in pairwise(edges)
    ]


def items_per_byte(store: BlockStore, alike: Sequence[Gap]) -> float:
    """Estimate the density of items from samples spread over blocks of one kind."""
    items, size = 0, 0
    for gap in alike[:: max(1, len(alike) // SAMPLES)]:
        whole = is_gzip(gap.key) or gap.size <= SAMPLE
        end = gap.size if whole else min(gap.start + SAMPLE, gap.end)
        sample = Range(key=gap.key, etag=gap.etag, size=gap.size, start=gap.start, end=end, items=0)
        try:
            runs = read_lines(store, sample)
            items += sum(len([line for line in run.lines if line.strip()]) for run in runs)
        except Malformed:
            pass  # the worker will say so, in a dead letter with its place
        size += end - gap.start
    return max(items, 1) / max(size, 1)


def batch_items(sizes: Sizes) -> int:
    """Return how many items meet the target time, within the bounds."""
    wanted = sizes.target_seconds / sizes.seconds_per_item
    return int(min(max(wanted, sizes.min_items), sizes.max_items))


def pack(asset: Asset, version: str, partition: str, ranges: Iterable[Range]) -> list[Batch]:
    """Put ranges side by side into batches, in key order, up to a batch's items each."""
    full = batch_items(asset.sizes)
    packs: list[list[Range]] = []
    load = 0
    for cut_ in sorted(ranges, key=lambda r: (r.key, r.start)):
        if not packs or load + cut_.items > full:
            packs.append([])
            load = 0
        packs[-1].append(cut_)
        load += cut_.items
    return [Batch.cut(asset, version, partition, pack_) for pack_ in packs]


def batch_seconds(sizes: Sizes, items: int) -> float:
    """Return how long a batch of so many items is expected to take."""
    return BATCH_SECONDS + items * sizes.seconds_per_item


def share(seconds: Mapping[str, float], slots: int, sizes: Sizes) -> list[list[str]]:
    """Deal batches, given with their expected seconds, out to workers: a list of ids for each.

    A batch that is worth a worker gets its own; smaller ones share one, so that starting workers
    never costs more than their work. All slots are kept busy, with at most `max_batches` workers.
    """
    total = sum(seconds.values())
    worth = max(2 * slots, math.ceil(total / WORKER_SECONDS))
    workers = min(len(seconds), worth, sizes.max_batches)
    shares: list[list[str]] = [[] for _ in range(workers)]
    before = 0.0
    for batch, own in seconds.items():
        shares[int((before + own / 2) / total * workers)].append(batch)
        before += own
    return [one for one in shares if one]
