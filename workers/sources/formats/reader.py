"""Read a range of a block in any format, as runs of lines or rows.

The formats are JSON lines, text, CSV and Parquet; all but the last plain or compressed.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec

from workers.sources.formats.compression import decompress
from workers.sources.formats.csv import Record, records, rows_of
from workers.sources.formats.format import Format
from workers.sources.formats.lines import BOM, TOO_LONG, Lines, split_lines
from workers.sources.formats.parquet import read_parquet
from workers.sources.formats.rows import Rows
from workers.store import BlockStore
from workers.values import PlaceKind, Range, SegmentRange

TAIL_BYTES = 64 << 10  # bytes read at a time to finish a range's last line, or to find a header


def read_range(
    store: BlockStore, range_: Range, form: Format, columns: Sequence[str]
) -> Iterator[Lines | Rows]:
    """Yield the lines or rows that start in a range; `columns` are the ones worth reading.

    Malformed where the block breaks off, after all that was good.
    """
    if form.kind == "parquet":
        return read_parquet(store, range_, columns)

    lines = _lines(store, range_, form)
    offset = range_.offset if isinstance(range_, SegmentRange) else 0
    if form.kind == "csv":
        return _csv_rows(store, lines, range_, form, offset)
    if form.kind == "text":
        return (_texts(run, columns[0]) for run in _moved(lines, offset))
    return _moved(lines, offset)


def _lines(store: BlockStore, range_: Range, form: Format) -> Iterator[Lines]:
    """Return the lines of a segment, of a whole block, or of the bytes of a range."""
    if isinstance(range_, SegmentRange):
        return split_lines(decompress(store.open_whole(range_.segment)), 0, None)
    if not form.is_splittable:
        body = store.open(range_.key, range_.etag, 0, range_.size)
        return split_lines(decompress(body, form.compression), 0, None)

    # One byte earlier shows whether the first line starts right here or before.
    start = max(range_.start - 1, 0)
    body = store.open(range_.key, range_.etag, start, range_.end)
    chunks = chain(decompress(body), _tail(store, range_, range_.end))
    return split_lines(chunks, range_.start, range_.end)


def _tail(store: BlockStore, range_: Range, start: int) -> Iterator[bytes]:
    """Yield the bytes of a range's block from `start` on, for as long as somebody asks."""
    for offset in range(start, range_.size, TAIL_BYTES):
        end = min(offset + TAIL_BYTES, range_.size)
        yield from decompress(store.open(range_.key, range_.etag, offset, end))


def _csv_rows(
    store: BlockStore, lines: Iterator[Lines], range_: Range, form: Format, offset: int
) -> Iterator[Rows]:
    """Return the rows of a range; one from the middle of a block gets the block's header."""
    is_segment = isinstance(range_, SegmentRange)
    header = None
    if not is_segment and form.is_splittable and range_.start:
        header = _header(store, range_, form)
    return rows_of(lines, form, offset, header, repeats_header=is_segment)


def _header(store: BlockStore, range_: Range, form: Format) -> Record | None:
    """Return a block's first record."""
    first_byte = decompress(store.open(range_.key, range_.etag, 0, 1))
    chunks = chain(first_byte, _tail(store, range_, 1))
    return next(records(split_lines(chunks, 0, None), form), None)


def _moved(lines: Iterator[Lines], offset: int) -> Iterator[Lines]:
    """Yield lines with their places in the block, where a segment was taken from it."""
    for run in lines:
        yield msgspec.structs.replace(run, start=run.start + offset) if offset else run


def _texts(run: Lines, column: str) -> Rows:
    """Return lines as rows of one column, blank ones left out."""
    rows: list[dict[str, Any] | str] = []
    positions = []

    for number, line in enumerate(run.lines):
        is_first = run.start + number == 0
        try:
            text = line.removeprefix(BOM if is_first else b"").decode().strip()
        except UnicodeDecodeError as error:
            rows.append(f"invalid UTF-8: {error.reason}")
        else:
            if not text:
                continue
            rows.append(TOO_LONG if run.is_cut else {column: text})
        positions.append(run.offset(number))
    return Rows(rows, PlaceKind.BYTE, positions, is_text=True)
