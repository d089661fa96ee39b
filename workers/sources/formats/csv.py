"""CSV: records, each with its place, and rows by column."""

import csv
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from workers.errors import Malformed
from workers.sources.formats.compression import CHUNK_BYTES
from workers.sources.formats.format import Format
from workers.sources.formats.lines import BOM, MAX_LINE_BYTES, TOO_LONG, Lines
from workers.sources.formats.rows import Rows
from workers.values import PlaceKind

CHUNK_ROWS = 10_000  # rows held at a time


class Record(msgspec.Struct, frozen=True):
    """One record of CSV: where it starts, its cells (or why there are none), its lines."""

    start: int
    cells: list[str] | str
    raw: bytes
    # A line of it was too long to be kept.
    is_cut: bool


class _Feed:
    """Hands the lines of a CSV to its parser, and remembers those of the current record."""

    def __init__(self, lines: Iterator[Lines]) -> None:
        self._runs = lines
        self.begin()

    def begin(self) -> None:
        """Forget the last record; the next line starts a new one."""
        self.start = -1
        self.raw: list[bytes] = []
        # Why the record cannot be used, where a line of it is bad.
        self.reason = ""
        self.is_cut = False

    def __iter__(self) -> Iterator[str]:
        for run in self._runs:
            offset = run.start
            for line in run.lines:
                if self.start < 0:
                    self.start = offset
                self.raw.append(line)
                yield self._text(line if offset else line.removeprefix(BOM), run.is_cut)
                offset += len(line) + 1

    def _text(self, line: bytes, is_cut: bool) -> str:
        if is_cut:
            self.reason = TOO_LONG
            self.is_cut = True
            return "\n"

        try:
            return line.decode() + "\n"
        except UnicodeDecodeError as error:
            self.reason = f"invalid UTF-8: {error.reason}"
            # Its quotes still count, or the lines behind it would join this record.
            return line.decode(errors="replace") + "\n"


def records(lines: Iterator[Lines], form: Format) -> Iterator[Record]:
    """Yield the records of a CSV, blank lines left out; the first may be the header."""
    csv.field_size_limit(MAX_LINE_BYTES)
    feed = _Feed(lines)
    text = iter(feed)
    reader = csv.reader(text, delimiter=form.delimiter, strict=True)

    while True:
        feed.begin()
        if not form.multiline:  # a stray quote spoils its own line, and not those behind it
            reader = csv.reader(islice(text, 1), delimiter=form.delimiter, strict=True)
        cells: list[str] | str
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = f"CSV is malformed: {error}"

        if feed.reason or cells:
            raw = b"\n".join(feed.raw) + b"\n"
            yield Record(feed.start, feed.reason or cells, raw, feed.is_cut)


def rows_of(
    lines: Iterator[Lines],
    form: Format,
    offset: int,
    header: Record | None = None,
    repeats_header: bool = False,
) -> Iterator[Rows]:
    """Yield rows by column. The first record is the header where none is given.

    The lines stand at `offset` of their block. A header that cannot be read is a dead letter, and
    so is every row behind it; a segment repeats the header, and does not count it.
    """
    rows: list[dict[str, Any] | str] = []
    positions: list[int] = []
    held_bytes = 0
    try:
        for record in records(lines, form):
            if header is None or record.start <= header.start:
                header = record
                if repeats_header or isinstance(record.cells, list):
                    continue

            rows.append(_by_column(header, record))
            positions.append(record.start + offset)
            held_bytes += len(record.raw)
            if len(rows) >= CHUNK_ROWS or held_bytes >= CHUNK_BYTES:
                yield Rows(rows, PlaceKind.BYTE, positions, is_text=True)
                rows = []
                positions = []
                held_bytes = 0
    except Malformed:
        if rows:
            yield Rows(rows, PlaceKind.BYTE, positions, is_text=True)
        raise

    if rows:
        yield Rows(rows, PlaceKind.BYTE, positions, is_text=True)


def _by_column(header: Record, record: Record) -> dict[str, Any] | str:
    """Return cells by column; a reason stays as it is, and a row of another length becomes one."""
    names = header.cells
    cells = record.cells
    if isinstance(cells, str):
        return cells
    if isinstance(names, str):
        return f"the header cannot be read: {names}"
    if len(cells) != len(names):
        return f"the row has {len(cells)} cells and the header {len(names)}"
    return dict(zip(names, cells, strict=True))
