"""Cut what no batch covers yet into ranges, from samples and footers."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from workers.declare.asset import Sizes
from workers.errors import Malformed
from workers.sources.formats.compression import decompress
from workers.sources.formats.format import Format, format_of
from workers.sources.formats.parquet import open_parquet
from workers.sources.segments import cut_segments, segments_key
from workers.store import BlockStore
from workers.values import Block, ByteRange, Range, Value

SAMPLE_BYTES = 64 << 10  # bytes read of a sampled block
SAMPLE_BZ2_BYTES = 1 << 20  # bz2 says nothing before 900 kB of what it compressed are complete
SAMPLED_BLOCKS = 16  # blocks of a kind that a slicer samples
RANGES_PER_BATCH = 4  # ranges that make a batch, so that packing still has a choice


class Gap(Value, frozen=True, kw_only=True):
    """Bytes of a block that no batch of an earlier plan covers."""

    partition: str
    key: str
    etag: str
    size: int
    start: int
    end: int

    @property
    def bytes(self) -> int:
        return self.end - self.start

    @property
    def block(self) -> Block:
        """The block that the gap is part of."""
        return Block(key=self.key, etag=self.etag, size=self.size)


class Density(msgspec.Struct, frozen=True):
    """What a byte of blocks of one kind holds, on average."""

    items: float
    plain_bytes: float


class Sliced(Value, frozen=True, kw_only=True):
    """A slicer's answer: ranges by partition, and how many bytes they are decompressed."""

    ranges: dict[str, list[Range]]
    plain_bytes: int


def gaps_of(partition: str, block: Block, covered: Iterable[Range]) -> list[Gap]:
    """Return the bytes of a block that lie beside the ranges already planned for it."""
    gaps = []
    covered_to = 0
    spans = sorted((range_.start, range_.end) for range_ in covered)

    for start, end in [*spans, (block.size, block.size)]:
        if start > covered_to:
            gaps.append(
                Gap(
                    partition=partition,
                    key=block.key,
                    etag=block.etag,
                    size=block.size,
                    start=covered_to,
                    end=start,
                )
            )
        covered_to = max(covered_to, end)
    return gaps


def slice_gaps(
    store: BlockStore,
    gaps: Sequence[Gap],
    declared: str,
    sizes: Sizes,
    batch_items: int,
    dry_run: bool = False,
) -> Sliced:
    """Cut gaps into ranges of a fraction of a batch each, for packing to choose from.

    Of blocks that can be cut only samples and footers are read; others stay whole where they are
    small, and are streamed once into segments where they are large (a dry run only estimates).
    """
    by_format: dict[Format, list[Gap]] = {}
    for gap in gaps:
        by_format.setdefault(format_of(gap.key, declared), []).append(gap)

    slicer = _Slicer(store, sizes, batch_items, dry_run)
    ranges: dict[str, list[Range]] = {}
    plain_bytes = 0.0
    for form, alike in by_format.items():
        density = Density(0, 1) if form.kind == "parquet" else sample_density(store, alike, form)
        for gap in alike:
            plain_bytes += gap.bytes * density.plain_bytes
            ranges.setdefault(gap.partition, []).extend(slicer.cut(gap, form, density))
    return Sliced(ranges=ranges, plain_bytes=round(plain_bytes))


def range_items_of(batch_items: int) -> int:
    """Return the items of a range, for batches of so many."""
    return max(1, batch_items // RANGES_PER_BATCH)


class _Slicer:
    """Cuts gaps of one kind after the other, by the same sizes."""

    def __init__(self, store: BlockStore, sizes: Sizes, batch_items: int, dry_run: bool) -> None:
        self.store = store
        self.batch_items = batch_items
        self.range_items = range_items_of(batch_items)
        self.batch_bytes = sizes.max_batch_bytes
        self.dry_run = dry_run

    def cut(self, gap: Gap, form: Format, density: Density) -> Sequence[Range]:
        """Return the ranges of a gap."""
        if form.kind == "parquet":
            return self._by_row_groups(gap)
        if form.is_splittable:
            return self._by_bytes(gap, density)
        return self._whole_or_segments(gap, form, density)

    def _by_row_groups(self, gap: Gap) -> list[ByteRange]:
        """Return ranges that hold whole row groups, as many as make a range's items."""
        whole = cut_evenly(gap, 1, 1)[0]
        try:
            groups = open_parquet(self.store, whole).groups
        except Malformed:
            return [whole]  # the worker will say so, in a dead letter

        ranges = []
        start = gap.start
        items = 0
        for number, group in enumerate(groups):
            if not gap.start <= group.start < gap.end:
                continue
            items += group.rows
            next_start = groups[number + 1].start if number + 1 < len(groups) else gap.end
            if items >= self.range_items or next_start >= gap.end:
                end = min(next_start, gap.end)
                ranges.append(msgspec.structs.replace(whole, start=start, end=end, items=items))
                start = end
                items = 0

        if start < gap.end:
            ranges.append(msgspec.structs.replace(whole, start=start, end=gap.end, items=items))
        return ranges

    def _by_bytes(self, gap: Gap, density: Density) -> list[ByteRange]:
        items = gap.bytes * density.items
        range_bytes = self.batch_bytes / RANGES_PER_BATCH
        parts = math.ceil(max(items / self.range_items, gap.bytes / range_bytes))
        return cut_evenly(gap, min(max(parts, 1), gap.bytes), items)

    def _whole_or_segments(self, gap: Gap, form: Format, density: Density) -> Sequence[Range]:
        """Return a small block as it is, and the segments of a large one in a gap."""
        items = gap.size * density.items
        plain_bytes = gap.size * density.plain_bytes
        is_whole = gap.bytes == gap.size
        if is_whole and items <= 1.5 * self.batch_items and plain_bytes <= self.batch_bytes:
            return cut_evenly(gap, 1, items)

        range_bytes = self.batch_bytes // RANGES_PER_BATCH
        if self.dry_run and not self.store.exists(segments_key(gap.block, form)):
            parts = math.ceil(max(items / self.range_items, plain_bytes / range_bytes))
            return cut_evenly(gap, parts, items)

        segments = cut_segments(self.store, gap.block, form, self.range_items, range_bytes)
        return [
            range_ for range_ in segments if gap.start <= range_.start and range_.end <= gap.end
        ]


def cut_evenly(gap: Gap, parts: int, items: float) -> list[ByteRange]:
    """Cut a gap into ranges of equal bytes that together cover it exactly."""
    ranges = []
    range_items = max(1, round(items / parts))

    for start, end in even_spans(gap, parts):
        ranges.append(
            ByteRange(
                key=gap.key,
                etag=gap.etag,
                size=gap.size,
                start=start,
                end=end,
                items=range_items,
            )
        )
    return ranges


def even_spans(gap: Gap, parts: int) -> list[tuple[int, int]]:
    """Return where equal parts of a gap start and end."""
    edges = [gap.start + gap.bytes * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))


def sample_density(store: BlockStore, gaps: Sequence[Gap], form: Format) -> Density:
    """Estimate the density of blocks of one kind from the beginnings of some of them."""
    sample_bytes = SAMPLE_BZ2_BYTES if form.compression == "bz2" else SAMPLE_BYTES
    items = 0
    read_bytes = 0
    plain_bytes = 0

    for gap in gaps[:: max(1, len(gaps) // SAMPLED_BLOCKS)]:
        start = gap.start if form.is_splittable else 0
        end = min(start + sample_bytes, gap.size)
        body = store.open(gap.key, gap.etag, start, end)
        tail = b""
        try:
            for chunk in decompress(body, form.compression):
                lines = (tail + chunk).split(b"\n")
                tail = lines.pop()
                items += sum(1 for line in lines if line and not line.isspace())
                plain_bytes += len(chunk)
        except Malformed:
            pass  # a sample breaks off by nature; a block that does is for the worker to say

        items += bool(tail.strip()) and end == gap.size
        read_bytes += end - start
    return Density(max(items, 1) / max(read_bytes, 1), max(plain_bytes, 1) / max(read_bytes, 1))
