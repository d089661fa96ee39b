"""Cut what no batch covers yet into ranges, from samples and footers."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from workers.declare.asset import Sizes
from workers.errors import Malformed
from workers.sources.formats.containers.groups import Group
from workers.sources.formats.containers.kinds import GROUPS
from workers.sources.formats.format import Format, format_of
from workers.sources.formats.header import Columns
from workers.sources.formats.look import HEAD_BYTES, describe
from workers.sources.formats.plain.compression import decompress
from workers.sources.formats.values import split_values
from workers.sources.gaps import Gap, cut_evenly
from workers.sources.heads import Head, read_heads
from workers.sources.sampling import Density, Sample, density_of, take_sample
from workers.sources.segments import cut_segments, segments_key
from workers.sources.unknown import unknown_fields
from workers.store import BlockStore, Opener
from workers.values import Block, ByteRange, Range, UnknownField, Value

NOT_READ = "not read"  # in place of a format
SAMPLED_BLOCKS = 16  # blocks of a kind that a slicer samples
RANGES_PER_BATCH = 4  # ranges that make a batch, so that packing still has a choice


class Looked(Value, frozen=True, kw_only=True):
    """What a slicer saw blocks to be, and how many seem to be so."""

    format: str
    blocks: int
    # The key of one of them.
    example: str
    # Why it cannot be read, and what to write; empty where it can.
    reason: str = ""


class Sliced(Value, frozen=True, kw_only=True):
    """A slicer's answer: ranges by partition, and how many bytes they are decompressed."""

    ranges: dict[str, list[Range]]
    plain_bytes: int
    looked: list[Looked]
    # Fields that the items' type does not know, each once.
    unknown: list[UnknownField] = msgspec.field(default_factory=list)


def slice_gaps(
    store: BlockStore,
    gaps: Sequence[Gap],
    declared: str,
    columns: Columns,
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

    slicer = Slicer(store, declared, columns, sizes, batch_items, dry_run)
    for alike in by_format.values():
        slicer.slice(alike)
    return slicer.sliced()


def range_items_of(batch_items: int) -> int:
    """Return the items of a range, for batches of so many."""
    return max(1, batch_items // RANGES_PER_BATCH)


class Slicer:
    """Cuts gaps of one kind after the other, by the same sizes."""

    def __init__(
        self,
        store: BlockStore,
        declared: str,
        columns: Columns,
        sizes: Sizes,
        batch_items: int,
        dry_run: bool,
    ) -> None:
        self.store = store
        self.declared = declared
        self.columns = columns
        self.batch_items = batch_items
        self.range_items = range_items_of(batch_items)
        self.batch_bytes = sizes.max_batch_bytes
        self.range_bytes = self.batch_bytes // RANGES_PER_BATCH
        self.dry_run = dry_run

        self._ranges: dict[str, list[Range]] = {}
        self._plain_bytes = 0.0
        # Blocks by what they seem to be, and the first key of each kind.
        self._looked: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], str] = {}
        self._unknown: dict[str, UnknownField] = {}

    def sliced(self) -> Sliced:
        """Return what was cut."""
        looked = [
            Looked(format=name, reason=reason, blocks=blocks, example=self._examples[name, reason])
            for (name, reason), blocks in self._looked.most_common()
        ]
        plain_bytes = round(self._plain_bytes)
        return Sliced(
            ranges=self._ranges,
            plain_bytes=plain_bytes,
            looked=looked,
            unknown=list(self._unknown.values()),
        )

    def slice(self, alike: Sequence[Gap]) -> None:
        """Cut gaps whose keys say the same of their format.

        Some of them are looked at, and all that are large enough to be cut.
        """
        samples = self._look(alike[:: max(1, len(alike) // SAMPLED_BLOCKS)])
        density = density_of(samples.values())
        usual = Counter(map(_name, samples.values())).most_common(1)[0][0]

        large = [
            gap
            for gap in alike
            if gap.block not in samples
            and (gap.size > HEAD_BYTES or gap.bytes * density.items > self.range_items)
        ]
        samples |= self._look(large)

        for gap in alike:
            sample = samples.get(gap.block)
            self._note(gap, _name(sample) if sample else usual)
            own = density_of([sample]) if sample else density
            self._plain_bytes += gap.bytes * own.plain_bytes
            self._ranges.setdefault(gap.partition, []).extend(self._cut(gap, sample, own))

    def _look(self, gaps: Sequence[Gap]) -> dict[Block, Sample]:
        blocks = list(dict.fromkeys(gap.block for gap in gaps))
        samples: dict[Block, Sample] = {}
        for head in read_heads(self.store, blocks):
            sample = take_sample(head, self.declared, self.columns)
            self._note_unknown(head, sample, is_first=not samples)
            samples[head.block] = sample._replace(text=b"")
        return samples

    def _note_unknown(self, head: Head, sample: Sample, is_first: bool) -> None:
        """Note the fields that no item has; of containers in one block, as that is a request."""
        if sample.form and (is_first or sample.text):
            for field in unknown_fields(head, sample.form, sample.text, self.columns):
                self._unknown.setdefault(field.name, field)

    def _note(self, gap: Gap, name: tuple[str, str]) -> None:
        self._looked[name] += 1
        self._examples.setdefault(name, gap.key)

    def _cut(self, gap: Gap, sample: Sample | None, density: Density) -> Sequence[Range]:
        """Return the ranges of a gap."""
        if sample is None or sample.form is None:
            return cut_evenly(gap, 1, gap.bytes * density.items)

        form = sample.form
        if groups_of := GROUPS.get(form.kind):
            return self._by_groups(gap, groups_of)
        if form.is_splittable:
            return self._by_bytes(gap, density)
        return self._whole_or_parts(gap, form, density)

    def _by_groups(
        self, gap: Gap, groups_of: Callable[[Opener, Block], list[Group]]
    ) -> list[ByteRange]:
        """Return ranges that hold whole groups of rows, as many as make a range's items."""
        whole = cut_evenly(gap, 1, 1)[0]
        try:
            groups = groups_of(self.store, gap.block)
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
        parts = math.ceil(max(items / self.range_items, gap.bytes / self.range_bytes))
        return cut_evenly(gap, min(max(parts, 1), gap.bytes), items)

    def _whole_or_parts(self, gap: Gap, form: Format, density: Density) -> Sequence[Range]:
        """Return a small block as it is, and the parts of a large one in a gap."""
        items = gap.size * density.items
        plain_bytes = gap.size * density.plain_bytes
        is_whole = gap.bytes == gap.size
        if is_whole and items <= 1.5 * self.batch_items and plain_bytes <= self.batch_bytes:
            return cut_evenly(gap, 1, items)

        is_plain = form.is_in_values and not form.compression and not form.encoding
        has_segments = not is_plain and self.store.exists(segments_key(gap.block, form))
        if self.dry_run and not has_segments:
            parts = math.ceil(max(items / self.range_items, plain_bytes / self.range_bytes))
            return cut_evenly(gap, min(max(parts, 1), gap.bytes), items)

        if is_plain:
            return self._by_values(gap, form)
        segments = cut_segments(self.store, gap.block, form, self.range_items, self.range_bytes)
        return [
            range_ for range_ in segments if gap.start <= range_.start and range_.end <= gap.end
        ]

    def _by_values(self, gap: Gap, form: Format) -> list[ByteRange]:
        """Return ranges that start where JSON values do, as only reading them all tells."""
        whole = cut_evenly(gap, 1, 1)[0]
        body = self.store.open(gap.key, gap.etag, gap.start, gap.end)
        ranges: list[ByteRange] = []
        start = gap.start
        items = 0

        try:
            for run in split_values(decompress(body), form, gap.start):
                for index in range(len(run.lines)):
                    offset = run.offset(index)
                    if items >= self.range_items or offset - start >= self.range_bytes:
                        part = msgspec.structs.replace(whole, start=start, end=offset, items=items)
                        ranges.append(part)
                        start = offset
                        items = 0
                    items += 1
        except Malformed:
            pass  # the last range holds the rest, and its worker will say so
        ranges.append(msgspec.structs.replace(whole, start=start, end=gap.end, items=max(items, 1)))
        return ranges


def _name(sample: Sample) -> tuple[str, str]:
    """Return what people call a block's format, and why it is not read."""
    return (describe(sample.form), "") if sample.form else (NOT_READ, sample.reason)
