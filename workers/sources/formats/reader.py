"""The formats of blocks: JSON lines, text, CSV and Parquet; all but the last plain or compressed.

One function reads a range of a block in any of them, as runs of lines or rows.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec

from workers.sources.formats.compression import decompress
from workers.sources.formats.csv import Record, records, rows_of
from workers.sources.formats.format import Format
from workers.sources.formats.lines import BOM, Lines, split_lines
from workers.sources.formats.parquet import read_parquet
from workers.sources.formats.rows import Rows
from workers.store import BlockStore
from workers.values import Range

TAIL_BYTES = (
    64 << 10
)  # bytes asked for at a time to finish a range's last line, or to read a header


def read_range(
    store: BlockStore, cut: Range, form: Format, columns: Sequence[str]
) -> Iterator[Lines | Rows]:
    """Yield the lines or rows that start in a range; `columns` are the ones worth reading.

    Malformed where the block breaks off, after all that was good.
    """
    if form.kind == "parquet":
        return read_parquet(store, cut, columns)
    if cut.piece:
        body = decompress(store.open_whole(cut.piece))
        lines = split_lines(body, 0, None)
        return (
            rows_of(lines, form, cut) if form.kind == "csv" else _plain(lines, form, cut, columns)
        )
    if not form.is_splittable:
        body = decompress(store.open(cut.key, cut.etag, 0, cut.size), form.compression)
        lines = split_lines(body, 0, None)
        return (
            rows_of(lines, form, cut) if form.kind == "csv" else _plain(lines, form, cut, columns)
        )
    # One byte earlier shows whether the first line starts right here or before.
    start = max(cut.start - 1, 0)
    body = chain(decompress(store.open(cut.key, cut.etag, start, cut.end)), _tail(store, cut))
    lines = split_lines(body, cut.start, cut.end)
    if form.kind != "csv":
        return _plain(lines, form, cut, columns)
    return rows_of(lines, form, cut, _header(store, cut, form) if cut.start else None)


def _tail(store: BlockStore, cut: Range) -> Iterator[bytes]:
    """Yield the bytes behind a range, for as long as somebody asks."""
    for at in range(cut.end, cut.size, TAIL_BYTES):
        yield from decompress(store.open(cut.key, cut.etag, at, min(at + TAIL_BYTES, cut.size)))


def _plain(
    lines: Iterator[Lines], form: Format, cut: Range, columns: Sequence[str]
) -> Iterator[Lines | Rows]:
    """Yield lines of JSON or text with their places in the block, where a piece was cut from it."""
    for run in lines:
        moved = msgspec.structs.replace(run, start=run.start + cut.offset) if cut.piece else run
        yield _texts(moved, columns[0]) if form.kind == "text" else moved


def _texts(run: Lines, column: str) -> Rows:
    """Return lines as rows of one column, blank ones left out."""
    rows: list[dict[str, Any] | str] = []
    places = []
    for number, line in enumerate(run.lines):
        try:
            text = line.removeprefix(BOM if run.start + number == 0 else b"").decode().strip()
        except UnicodeDecodeError as error:
            rows.append(f"invalid UTF-8: {error.reason}")
        else:
            if not text:
                continue
            rows.append("the line is too long for an item" if run.is_cut else {column: text})
        places.append(run.place(number))
    return Rows(rows, places, is_text=True)


def _header(store: BlockStore, cut: Range, form: Format) -> Record | None:
    """Return a block's first record."""
    whole = msgspec.structs.replace(cut, start=0, end=1)
    body = chain(decompress(store.open(cut.key, cut.etag, 0, 1)), _tail(store, whole))
    return next(records(split_lines(body, 0, None), form), None)
