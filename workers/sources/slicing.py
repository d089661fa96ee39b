"""Cut what no batch covers yet into ranges, from samples and footers."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from workers.declare.asset import Sizes
from workers.errors import Malformed
from workers.sources.formats.compression import decompress
from workers.sources.formats.format import Format, format_of
from workers.sources.formats.parquet import open_parquet, row_groups
from workers.sources.segments import cut_segments, segments_key
from workers.store import BlockStore
from workers.values import Block, Range, Value

SAMPLE_BYTES = 64 << 10  # bytes read of a sampled block
SAMPLE_BZ2_BYTES = 1 << 20  # bz2 says nothing before 900 kB of what it compressed are complete
SAMPLED_BLOCKS = 16  # blocks of a kind that a master samples
RANGES_PER_BATCH = 4  # ranges that make a batch, so that packing still has a choice


class Gap(Value, frozen=True, kw_only=True):
    """Bytes of a block that no batch of an earlier plan covers."""

    partition: str
    key: str
    etag: str
    size: int
    start: int
    end: int


class Density(msgspec.Struct, frozen=True):
    """What a byte of blocks of one kind holds, on average."""

    items: float
    plain_bytes: float


class Sliced(Value, frozen=True, kw_only=True):
    """A master's answer: ranges by partition, and how many bytes they are decompressed."""

    ranges: dict[str, list[Range]]
    plain_bytes: int


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


def slice_gaps(
    store: BlockStore,
    work: Sequence[Gap],
    declared: str,
    sizes: Sizes,
    batch_items: int,
    dry_run: bool = False,
) -> Sliced:
    """Cut gaps into ranges of a fraction of a batch each, for packing to choose from.

    Of blocks that can be cut only samples and footers are read; others stay whole where they are
    small, and are streamed once into pieces where they are large (where dry, they only seem so).
    """
    ranges: dict[str, list[Range]] = {}
    range_items = max(1, batch_items // RANGES_PER_BATCH)
    plain = 0.0
    kinds: dict[Format, list[Gap]] = {}
    for gap in work:
        kinds.setdefault(format_of(gap.key, declared), []).append(gap)
    for form, alike in kinds.items():
        density = Density(0, 1) if form.kind == "parquet" else sample(store, alike, form)
        for gap in alike:
            size = gap.end - gap.start
            plain += size * density.plain_bytes
            into = ranges.setdefault(gap.partition, [])
            if form.kind == "parquet":
                into += _by_row_groups(store, gap, range_items)
            elif form.is_splittable:
                most = sizes.max_batch_bytes / RANGES_PER_BATCH
                parts = math.ceil(max(size * density.items / range_items, size / most))
                into += cut_evenly(gap, min(max(parts, 1), size), size * density.items)
            else:
                into += _whole_or_pieces(store, gap, form, density, sizes, batch_items, dry_run)
    return Sliced(ranges=ranges, plain_bytes=round(plain))


def _whole_or_pieces(
    store: BlockStore,
    gap: Gap,
    form: Format,
    density: Density,
    sizes: Sizes,
    batch_items: int,
    dry_run: bool,
) -> list[Range]:
    items, plain = gap.size * density.items, gap.size * density.plain_bytes
    is_whole = gap.start == 0 and gap.end == gap.size
    if is_whole and items <= 1.5 * batch_items and plain <= sizes.max_batch_bytes:
        return cut_evenly(gap, 1, items)
    most, most_bytes = (
        max(1, batch_items // RANGES_PER_BATCH),
        sizes.max_batch_bytes // RANGES_PER_BATCH,
    )
    if dry_run and not store.exists(segments_key(gap.key, gap.etag, form)):
        return cut_evenly(gap, math.ceil(max(items / most, plain / most_bytes)), items)
    made = cut_segments(store, gap.key, gap.etag, gap.size, form, most, most_bytes)
    return [one for one in made if gap.start <= one.start and one.end <= gap.end]


def _by_row_groups(store: BlockStore, gap: Gap, range_items: int) -> list[Range]:
    """Return ranges that hold whole row groups, as many as make a grain."""
    whole = cut_evenly(gap, 1, 1)[0]
    try:
        groups = row_groups(open_parquet(store, whole))
    except Malformed:
        return [whole]  # the worker will say so, in a dead letter
    ranges, start, items = [], gap.start, 0
    for number, (first, _, rows) in enumerate(groups):
        if not gap.start <= first < gap.end:
            continue
        items += rows
        behind = groups[number + 1][0] if number + 1 < len(groups) else gap.end
        if items >= range_items or behind >= gap.end:
            end = min(behind, gap.end)
            ranges.append(msgspec.structs.replace(whole, start=start, end=end, items=items))
            start, items = end, 0
    if start < gap.end:
        ranges.append(msgspec.structs.replace(whole, start=start, end=gap.end, items=items))
    return ranges


def cut_evenly(gap: Gap, parts: int, items: float) -> list[Range]:
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


def sample(store: BlockStore, alike: Sequence[Gap], form: Format) -> Density:
    """Estimate the density of blocks of one kind from the beginnings of some of them."""
    items, size, plain = 0, 0, 0
    for gap in alike[:: max(1, len(alike) // SAMPLED_BLOCKS)]:
        start = gap.start if form.is_splittable else 0
        end = min(
            start + (SAMPLE_BZ2_BYTES if form.compression == "bz2" else SAMPLE_BYTES), gap.size
        )
        body = store.open(gap.key, gap.etag, start, end)
        tail = b""
        try:
            for piece in decompress(body, form.compression):
                lines = (tail + piece).split(b"\n")
                tail = lines.pop()
                items += sum(1 for line in lines if line and not line.isspace())
                plain += len(piece)
        except Malformed:
            pass  # a sample breaks off by nature; a block that does is for the worker to say
        items += bool(tail.strip()) and end == gap.size
        size += end - start
    return Density(max(items, 1) / max(size, 1), max(plain, 1) / max(size, 1))
