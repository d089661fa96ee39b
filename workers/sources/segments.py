"""Large blocks that cannot be cut (gzip and the like) are streamed once into segments in S3.

Segments lie under `_fanfold/segments/`, by the block's key and ETag, with a manifest written last;
later runs find them there. Memory is bounded by the size of one segment.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from workers.errors import Malformed
from workers.sources.formats.csv_records import records
from workers.sources.formats.format import Format
from workers.sources.formats.lines import TOO_LONG, Lines, split_lines
from workers.sources.formats.reader import plain_bytes
from workers.sources.formats.values import split_values
from workers.sources.formats.w3c import is_fields_line
from workers.store import OWN_PREFIX, BlockStore, Body
from workers.values import Block, BrokenRange, SegmentRange, digest, learn

SEGMENTS_PREFIX = f"{OWN_PREFIX}segments/"
RANGES = list[SegmentRange | BrokenRange]  # of a manifest
BAD_HEADER = b"\xff\n"  # what segments repeat of a header that cannot be read: no text either
MAX_SECTION_ITEMS = 500  # lines that are put into a segment at a time


def segments_key(block: Block, form: Format) -> str:
    """Return where the list of a block's segments lies."""
    identity = [block.key, block.etag, msgspec.to_builtins(form)]
    return f"{SEGMENTS_PREFIX}{digest(identity)[:20]}/manifest.json"


def cut_segments(
    store: BlockStore, block: Block, form: Format, max_items: int, max_bytes: int
) -> list[SegmentRange | BrokenRange]:
    """Return the ranges of a block, cut into segments of so many items and plain bytes at most.

    The ranges cover the block's compressed bytes, if only roughly by where its items lie.
    """
    manifest_key = segments_key(block, form)
    if not store.exists(manifest_key):
        cutter = _Cutter(store, manifest_key.rpartition("/")[0], block, form, max_items, max_bytes)
        cutter.cut()
        ranges = _ranges(block, cutter.parts)
        store.put_json(manifest_key, [range_.to_json() for range_ in ranges])
    learn(RANGES)
    return msgspec.convert(store.get_json(manifest_key), RANGES)


class _Part(NamedTuple):
    """What the range of a segment, or of a part where nothing can be read, will say."""

    items: int
    # Where its first byte stands in the decompressed block.
    offset: int
    # Bytes of the block that were read when it was complete.
    bytes_read: int
    segment: str = ""
    # Why nothing can be read, where there is no segment; and whether that is all to the end.
    reason: str = ""
    is_rest: bool = False


def _ranges(block: Block, parts: Sequence[_Part]) -> list[SegmentRange | BrokenRange]:
    """Return ranges that cover a block's bytes, each with a byte of its own at least."""
    ranges: list[SegmentRange | BrokenRange] = []
    start = 0
    for number, part in enumerate(parts):
        parts_behind = len(parts) - number - 1
        end = block.size
        if parts_behind:
            end = min(max(part.bytes_read, start + 1), block.size - parts_behind)
        ranges.append(_range(block, start, end, part))
        start = end
    return ranges


def _range(block: Block, start: int, end: int, part: _Part) -> SegmentRange | BrokenRange:
    if not part.segment:
        return BrokenRange(
            key=block.key,
            etag=block.etag,
            size=block.size,
            start=start,
            end=end,
            items=part.items,
            offset=part.offset,
            reason=part.reason,
            is_rest=part.is_rest,
        )

    return SegmentRange(
        key=block.key,
        etag=block.etag,
        size=block.size,
        start=start,
        end=end,
        items=part.items,
        offset=part.offset,
        segment=part.segment,
    )


class _Cutter:
    """Streams one block into segments."""

    def __init__(
        self,
        store: BlockStore,
        folder: str,
        block: Block,
        form: Format,
        max_items: int,
        max_bytes: int,
    ) -> None:
        self.store = store
        self.folder = folder
        self.block = block
        self.form = form
        self.max_items = max_items
        self.max_bytes = max_bytes

        self.parts: list[_Part] = []
        # The header of a table, which every segment of it repeats.
        self.header = b""
        # The segment that is being filled: its sections, and where the first of them starts.
        self._bodies: list[bytes] = []
        self._start = 0
        self._items = 0
        self._bytes = 0

    def cut(self) -> None:
        """Write the block's segments, and note what their ranges will say."""
        body = self.store.open(self.block.key, self.block.etag, 0, self.block.size)
        plain = plain_bytes(body, self.form)
        try:
            for section in sections(plain, self.form, min(self.max_items, MAX_SECTION_ITEMS)):
                self._take(section, body)
        except Malformed as error:
            if error.place is None:  # not of the block: what splits it says where its rest begins
                raise
            self._end_segment(body)
            self._note_broken(body, int(error.place.position), error.reason, is_rest=True)

        self._end_segment(body)
        if not self.parts:
            self._note_segment(body, items=0, offset=0, content=b"")

    def _take(self, section: "Section", body: Body) -> None:
        """Add a section to the segment, and end the segment where it is large enough."""
        if section.is_header:
            self._end_segment(body)
            self.header = BAD_HEADER if section.reason else section.body
        if section.reason:
            self._end_segment(body)
            self._note_broken(body, section.start, section.reason)
        if section.is_header or section.reason:
            return

        if not self._bodies:
            self._start = section.start
        # What stood between values, and blank lines of a table, are as many newlines here.
        gap = section.start - self._start - self._bytes
        if gap:
            self._bodies.append(b"\n" * gap)
            self._bytes += gap
        self._bodies.append(section.body)
        self._items += section.items
        self._bytes += len(section.body)

        scale = self._scale()
        if self._items >= self.max_items * scale or self._bytes >= self.max_bytes * scale:
            self._end_segment(body)

    def _scale(self) -> float:
        """Return how much larger segments have to be, for each to have a byte of the block.

        A block may hold far more segments than bytes: a million equal lines are a few bytes of
        zstd.
        """
        # Two bytes are for the last segment, and for where the block breaks off.
        spare_bytes = self.block.size - len(self.parts) - 2
        return self.block.size / spare_bytes if spare_bytes > 0 else math.inf

    def _end_segment(self, body: Body) -> None:
        if self._bodies:
            content = self.header + b"".join(self._bodies)
            self._note_segment(body, self._items, self._start - len(self.header), content)
        self._bodies = []
        self._items = 0
        self._bytes = 0

    def _note_segment(self, body: Body, items: int, offset: int, content: bytes) -> None:
        key = f"{self.folder}/{len(self.parts):05}"
        self.store.put(key, content)
        self.parts.append(_Part(items, offset, body.bytes_read, segment=key))

    def _note_broken(self, body: Body, offset: int, reason: str, is_rest: bool = False) -> None:
        part = _Part(1, offset, body.bytes_read, reason=reason, is_rest=is_rest)
        self.parts.append(part)


class Section(msgspec.Struct, frozen=True):
    """Bytes that stay together: whole lines or values of JSON, or one record of CSV."""

    start: int
    body: bytes
    items: int
    # Why its one item cannot be used, where it cannot be kept: too long, or the header.
    reason: str = ""
    # It says which columns the sections behind it have.
    is_header: bool = False


def sections(plain: Iterator[bytes], form: Format, max_items: int) -> Iterator[Section]:
    """Yield what stays together, of at most so many items; the header of a table comes first."""
    if form.is_in_values:
        yield from _value_sections(split_values(plain, form), max_items)
        return

    lines = split_lines(plain, 0, None)
    if form.kind == "csv":
        yield from _csv_sections(lines, form)
        return

    for run in lines:
        if run.is_cut:
            yield Section(run.start, b"", 1, TOO_LONG)
        elif form.kind == "w3c":
            yield from _log_sections(run, max_items)
        else:
            yield from _line_sections(run, max_items)


def _line_sections(run: Lines, max_items: int) -> Iterator[Section]:
    start = run.start
    for first in range(0, len(run.lines), max_items):
        part = run.lines[first : first + max_items]
        body = b"\n".join(part) + b"\n"
        yield Section(start, body, sum(1 for line in part if line and not line.isspace()))
        start += len(body)


def _log_sections(run: Lines, max_items: int) -> Iterator[Section]:
    """Yield the lines of a log, parted where a line says which fields those behind it have."""
    first = 0
    for number, line in enumerate(run.lines):
        if is_fields_line(line):
            yield from _line_sections(run.between(first, number), max_items)
            yield Section(run.offset(number), line + b"\n", 0, is_header=True)
            first = number + 1
    yield from _line_sections(run.between(first, len(run.lines)), max_items)


def _value_sections(runs: Iterator[Lines], max_items: int) -> Iterator[Section]:
    """Yield values with as many newlines between them as bytes stood there."""
    for run in runs:
        for first in range(0, len(run.lines), max_items):
            last = min(first + max_items, len(run.lines))
            parts = [run.lines[first]]
            end = run.offset(first) + len(run.lines[first])
            for number in range(first + 1, last):
                offset = run.offset(number)
                parts += [b"\n" * (offset - end), run.lines[number]]
                end = offset + len(run.lines[number])
            yield Section(run.offset(first), b"".join(parts), last - first)


def _csv_sections(lines: Iterator[Lines], form: Format) -> Iterator[Section]:
    for number, record in enumerate(records(lines, form)):
        is_header = number == 0 and not form.columns
        reason = ""
        if isinstance(record.cells, str) and (record.is_cut or is_header):
            reason = record.cells
        yield Section(record.start, record.raw, 1, reason, is_header)
