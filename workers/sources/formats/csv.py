"""CSV: rows by column, whatever stray quotes have joined.

A quote that nobody meant makes one cell of many rows, and CSV allows it. So the lines of a record
are looked at: where they look like rows, the record is taken apart, each line that is a row counts
as one, and every other line is a dead letter. A cell of lines that do not is believed.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from workers.errors import Malformed
from workers.sources.formats.csv_chunks import clean_rows
from workers.sources.formats.csv_records import (
    Record,
    record_of,
    records,
    text_of,
)
from workers.sources.formats.format import Format
from workers.sources.formats.header import Columns, check_header
from workers.sources.formats.lines import Lines
from workers.sources.formats.plain.compression import CHUNK_BYTES
from workers.sources.formats.quotes import (
    MIN_WIDTH,
    Likeness,
    cells_of,
    is_tangled,
    likenesses,
)
from workers.sources.formats.rows import Rows
from workers.values import Place, PlaceKind

CHUNK_ROWS = 10_000  # rows held at a time
LONG_CELL_LINES = 100  # a record of more lines is worth a word
CR_ENDS = "the lines end in carriage returns alone, which part no rows: write newlines"
STRAY_QUOTE = "the quote that opens cell {} makes one cell of {} lines that look like rows"
BEHIND_STRAY_QUOTE = "the line stands behind a stray quote, and is no row by itself"
REPEATED_NAMES = "the row holds the names of the columns"


def rows_of(
    lines: Iterator[Lines],
    form: Format,
    columns: Columns,
    offset: int,
    header: Record | None = None,
    repeats_header: bool = False,
) -> Iterator[Rows]:
    """Yield rows by column. The first record is the header where none is given or declared.

    The lines stand at `offset` of their block. Malformed, with the place of the whole block, where
    its header cannot be read or does not fit the item. A segment repeats the header, which says
    something new in the first one alone.
    """
    table = _Table(form, columns, offset, header, repeats_header)
    runs = _first_line_apart(lines)
    try:
        while True:
            for record in _in_block(records(runs, form, table.takes), offset):
                table.meet(record)
                if table.is_full:
                    yield table.take()

            if table.rows:
                yield table.take()
            if table.clean is None:
                return
            yield table.take_clean()
    except Malformed:
        if table.rows:
            yield table.take()
        raise


def _first_line_apart(lines: Iterator[Lines]) -> Iterator[Lines]:
    """Yield runs of lines; the first line, which may be the header, is one by itself."""
    first = next(lines, None)
    if first is None:
        return
    if isinstance(first.content, bytes):
        line, newline, rest = first.content.partition(b"\n")
        yield Lines(first.start, line)
        if newline:
            yield Lines(first.start + len(line) + 1, rest)
    else:
        yield first
    yield from lines


def _in_block(records: Iterator[Record], offset: int) -> Iterator[Record]:
    """Yield records; an error of theirs says where in the block the rest begins."""
    try:
        yield from records
    except Malformed as error:
        if error.place is None:  # not of a block
            raise
        place = Place.rest(int(error.place.position) + offset)
        raise Malformed(error.reason, place) from error


class _Table:
    """Makes rows from records, and holds them until they are taken."""

    def __init__(
        self,
        form: Format,
        columns: Columns,
        offset: int,
        header: Record | None,
        repeats_header: bool,
    ) -> None:
        self.form = form
        self.columns = columns
        self.offset = offset
        self.header = header
        self.repeats_header = repeats_header
        self.names: list[str] = []
        # What a person should know; the first run of rows says so.
        self.warnings: list[str] = []
        # A cell of many lines was met, which once a block is worth a word.
        self._has_warned = False
        # The rows of lines that need no look at their records.
        self.clean: Rows | None = None
        self._begin()

        if form.columns:
            self.take_names(form.columns)
        elif header is not None:
            self.take_header(header)
            self.warnings = []  # the block's first range says so

    def _begin(self) -> None:
        self.rows: list[dict[str, Any] | str] = []
        self.positions: list[int] = []
        self.raws: list[bytes] = []
        self.bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether as many rows are held as should be at a time."""
        return len(self.rows) >= CHUNK_ROWS or self.bytes >= CHUNK_BYTES

    def take(self) -> Rows:
        """Return the rows that are held, and hold none."""
        rows = Rows(
            self.rows,
            PlaceKind.BYTE,
            self.positions,
            is_text=True,
            raws=self.raws,
            warnings=tuple(self.warnings),
        )
        self._begin()
        self.warnings = []
        return rows

    def takes(self, run: Lines) -> bool:
        """Hold the rows of a run apart, where its records need no look."""
        if self.names:
            self.clean = clean_rows(run, self.names, self.form, self.offset)
        return self.clean is not None

    def take_clean(self) -> Rows:
        """Return the rows that are held apart, and hold none."""
        assert self.clean
        rows = msgspec.structs.replace(self.clean, warnings=tuple(self.warnings))
        self.clean = None
        self.warnings = []
        return rows

    def take_header(self, record: Record) -> None:
        """Read names from a record; Malformed, for the whole block, where they do not fit."""
        if isinstance(record.cells, str):
            if b"\r" in record.lines[0].raw.rstrip(b"\r"):
                raise Malformed(CR_ENDS, Place.rest(0))
            raise Malformed(f"the header cannot be read: {record.cells}", Place.rest(0))
        self.take_names(record.cells)

    def take_names(self, names: Sequence[str]) -> None:
        """Take the names of columns; Malformed where they do not fit the item."""
        self.warnings.extend(check_header(names, self.columns))
        self.names = list(names)

    def meet(self, record: Record) -> None:
        """Read the header from a record, or hold its rows."""
        is_header = self.header is not None and record.start <= self.header.start
        if self.names and (self.form.columns or not is_header):
            self.add(record)
            return

        self.header = record
        self.take_header(record)
        if self.repeats_header and self.offset:
            self.warnings = []

    def add(self, record: Record) -> None:
        """Hold the rows of a record: one, or those of its lines where a quote joined them."""
        if len(record.lines) == 1:
            self._add(self._row(record), record.start, record.raw)
            return

        width = len(self.names)
        texts = [line.raw.decode(errors="replace") for line in record.lines]
        alike = likenesses(texts, width, self.form)
        if is_tangled(texts, alike, record.width == width, self.form, width):
            self._add_lines(record, texts, alike)
            return

        self._warn(record, sum(map(bool, alike)) if width > 1 else 0)
        self._add(self._row(record), record.start, record.raw)

    def _row(self, record: Record) -> dict[str, Any] | str:
        """Return cells by column, or the reason why there are none."""
        cells = record.cells
        names = self.names
        if isinstance(cells, str):
            self._stop_at_joined_rows(record)
            return cells
        if len(cells) != len(names):
            expected = "`columns=`" if self.form.columns else "the header"
            return f"the row has {len(cells)} cells and {expected} {len(names)}"
        if cells == names and len(names) > 1:
            return REPEATED_NAMES

        nulls = self.form.nulls
        if nulls:
            cells = ["" if cell in nulls else cell for cell in cells]
        return dict(zip(names, cells, strict=True))

    def _add(self, row: dict[str, Any] | str, start: int, raw: bytes) -> None:
        self.rows.append(row)
        self.positions.append(start + self.offset)
        self.raws.append(raw.removesuffix(b"\n").removesuffix(b"\r"))
        self.bytes += len(raw)

    def _add_lines(self, record: Record, texts: Sequence[str], alike: Sequence[Likeness]) -> None:
        """Hold the lines of a record as rows of their own, where they are; else as reasons."""
        opening = cells_of(texts[0], self.form).number
        reason = STRAY_QUOTE.format(opening, len(texts))
        for line, likeness in zip(record.lines, alike, strict=True):
            row: dict[str, Any] | str = reason
            if likeness and len(self.names) >= MIN_WIDTH:
                row = self._row(record_of(line, self.form))
            self._add(row, line.start, line.raw)
            reason = BEHIND_STRAY_QUOTE

    def _stop_at_joined_rows(self, record: Record) -> None:
        """Raise Malformed for a line that holds rows between lone carriage returns."""
        parts = text_of(record.lines).rstrip("\r").split("\r")
        alike = likenesses(["", *parts], len(self.names), self.form)
        if sum(map(bool, alike)) > 1:
            raise Malformed(CR_ENDS, Place.rest(record.start + self.offset))

    def _warn(self, record: Record, alike: int) -> None:
        """Say once that a cell of lines may be a stray quote's."""
        lines = len(record.lines)
        if self._has_warned or not (alike or lines > LONG_CELL_LINES):
            return

        self._has_warned = True
        what = f"{alike} that look like rows" if alike else "so many"
        self.warnings.append(
            f"a record of {lines} lines, {what}, stands at byte {record.start + self.offset}: "
            "where no cell has a newline, declare multiline=no"
        )
