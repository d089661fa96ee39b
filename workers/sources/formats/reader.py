"""Read a range of a block in any format, as runs of lines or rows."""

from collections.abc import Iterator
from itertools import chain

import msgspec

from workers.sources.formats.containers.kinds import READERS
from workers.sources.formats.csv import rows_of
from workers.sources.formats.csv_records import Record, records
from workers.sources.formats.format import Format
from workers.sources.formats.header import Columns
from workers.sources.formats.lines import Lines, gathered, split_lines
from workers.sources.formats.plain.compression import decompress
from workers.sources.formats.plain.encoding import decode
from workers.sources.formats.rows import Rows
from workers.sources.formats.text import texts
from workers.sources.formats.values import separate, split_values
from workers.sources.formats.w3c import w3c_rows
from workers.store import Bytes, Opener
from workers.values import Place, Range, SegmentRange

# Bytes behind a range that come with it, to finish its last line: another request would cost more.
# As many are read at a time where a line is longer, or to find a header.
TAIL_BYTES = 64 << 10


def read_range(
    opener: Opener, range_: Range, form: Format, columns: Columns
) -> Iterator[Lines | Rows]:
    """Yield the lines or rows that start in a range; `columns` are the ones worth reading.

    Malformed where the block breaks off, after all that was good.
    """
    if read := READERS.get(form.kind):
        return read(opener, range_, columns)

    offset = range_.offset if isinstance(range_, SegmentRange) else 0
    if form.is_in_values:
        return _moved(_values(opener, range_, form), offset)

    lines = _lines(opener, range_, form)
    if form.kind == "csv":
        return _csv_rows(opener, lines, range_, form, columns, offset)
    if form.kind == "w3c":
        return w3c_rows(lines, form, columns, offset)
    if form.kind == "text":
        return (texts(run, form, columns) for run in _moved(lines, offset))

    moved = _moved(lines, offset)
    # A redrive asks for values by their places; else lines are taken apart where that is needed.
    return map(separate, moved) if range_.places else moved


def plain_bytes(body: Bytes, form: Format) -> Iterator[bytes]:
    """Yield what a body holds, decompressed and as UTF-8; Malformed where it breaks off."""
    return decode(decompress(body, form.compression), form.encoding)


def _values(opener: Opener, range_: Range, form: Format) -> Iterator[Lines]:
    """Return the JSON values of a segment, of a whole block, or of the bytes of a range."""
    if isinstance(range_, SegmentRange):
        return split_values(decompress(opener.open_whole(range_.segment)), Format(shape="values"))
    if form.compression or form.encoding:
        body = opener.open(range_.key, range_.etag, 0, range_.size)
        return split_values(plain_bytes(body, form), form)

    chunks = _bytes_from(opener, range_, range_.start)
    return split_values(chunks, form, range_.start, range_.end)


def _lines(opener: Opener, range_: Range, form: Format) -> Iterator[Lines]:
    """Return the lines of a segment, of a whole block, or of the bytes of a range."""
    if isinstance(range_, SegmentRange):
        return split_lines(decompress(opener.open_whole(range_.segment)), 0, None)
    if not form.is_splittable:
        body = opener.open(range_.key, range_.etag, 0, range_.size)
        return split_lines(gathered(plain_bytes(body, form)), 0, None)

    # One byte earlier shows whether the first line starts right here or before.
    is_line_start = Place.byte(range_.start) in range_.places
    start = range_.start if is_line_start else max(range_.start - 1, 0)
    chunks = _bytes_from(opener, range_, start)
    return split_lines(chunks, range_.start, range_.end, is_line_start)


def _bytes_from(opener: Opener, range_: Range, start: int) -> Iterator[bytes]:
    """Yield the bytes of a range from `start` on, and those behind it as `_tail` does."""
    end = min(range_.end + TAIL_BYTES, range_.size)
    body = opener.open(range_.key, range_.etag, start, end)
    return chain(decompress(body), _tail(opener, range_, end))


def _tail(opener: Opener, range_: Range, start: int) -> Iterator[bytes]:
    """Yield the bytes of a range's block from `start` on, for as long as somebody asks."""
    for offset in range(start, range_.size, TAIL_BYTES):
        end = min(offset + TAIL_BYTES, range_.size)
        yield from decompress(opener.open(range_.key, range_.etag, offset, end))


def _csv_rows(
    opener: Opener,
    lines: Iterator[Lines],
    range_: Range,
    form: Format,
    columns: Columns,
    offset: int,
) -> Iterator[Rows]:
    """Return the rows of a range; one from the middle of a block gets the block's header."""
    is_segment = isinstance(range_, SegmentRange)
    header = None
    if not is_segment and form.is_splittable and range_.start and not form.columns:
        header = _header(opener, range_, form)
    return rows_of(lines, form, columns, offset, header, repeats_header=is_segment)


def _header(opener: Opener, range_: Range, form: Format) -> Record | None:
    """Return a block's first record."""
    first_byte = decompress(opener.open(range_.key, range_.etag, 0, 1))
    chunks = chain(first_byte, _tail(opener, range_, 1))
    return next(records(split_lines(chunks, 0, None), form), None)


def _moved(lines: Iterator[Lines], offset: int) -> Iterator[Lines]:
    """Yield lines with their places in the block, where a segment was taken from it."""
    for run in lines:
        yield msgspec.structs.replace(run, start=run.start + offset) if offset else run
