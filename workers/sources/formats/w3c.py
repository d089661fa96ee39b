"""W3C's extended log format: rows by the names that `#Fields` gives, as IIS and CloudFront write.

A field is named as `#Fields` has it, or as Python could: `cs(User-Agent)` is `cs_user_agent` too.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from workers.errors import Malformed
from workers.sources.formats.format import Format
from workers.sources.formats.header import Columns, check_header
from workers.sources.formats.lines import BOM, TOO_LONG, Lines
from workers.sources.formats.patterns import identifier
from workers.sources.formats.rows import Rows
from workers.values import Place, PlaceKind

FIELDS = b"#fields:"
DIRECTIVE = re.compile(rb"#(Version|Fields|Software|Start-Date|Date|Remark):", re.IGNORECASE)
TIMESTAMP = "timestamp"  # what date and time are joined to, where an item wants it
NULLS = frozenset({"", "-"})
# A value between blanks, in quotes where it has blanks itself.
VALUE = re.compile(r'"[^"]*+(?:""[^"]*+)*+"(?= |\Z)|[^ ]++')
NO_FIELDS = (
    "no #Fields line stands before the rows, and nothing else names their columns; declare "
    'format="w3c columns=..." with all names'
)


def is_directive(text: bytes) -> bool:
    """Return whether a text begins as such a log does."""
    return DIRECTIVE.match(text.removeprefix(BOM)) is not None


def is_fields_line(line: bytes) -> bool:
    """Return whether a line names the columns of the rows behind it."""
    return line.removeprefix(BOM)[: len(FIELDS)].lower() == FIELDS


def field_names(line: bytes) -> tuple[str, ...]:
    """Return the names in a #Fields line."""
    return tuple(line.removeprefix(BOM)[len(FIELDS) :].decode(errors="replace").split())


def joined_time(row: dict[str, Any]) -> str:
    """Return date and time of a row as one, in UTC; "" where one of them is missing."""
    date = row.get("date")
    time = row.get("time")
    return f"{date}T{time}Z" if date and time else ""


def w3c_rows(
    lines: Iterator[Lines],
    form: Format,
    columns: Columns,
    offset: int,
    header: bytes | None = None,
) -> Iterator[Rows]:
    """Yield rows by column; the lines stand at `offset` of their block.

    `header` is the #Fields line that counts where the lines begin; another one may follow at any
    line. Malformed where rows have none, or where it does not fit the item.
    """
    table = _Table(form, columns)
    if header is not None:
        table.take_names(field_names(header))
        table.warnings = ()  # the block's first range says so

    for run in lines:
        rows: list[dict[str, Any] | str] = []
        positions: list[int] = []
        raws: list[bytes] = []
        trouble = None
        for number, line in enumerate(run.lines):
            try:
                row = table.row(line, run.is_cut)
            except Malformed as error:
                start = run.offset(number) + offset if rows or table.has_rows else 0
                trouble = Malformed(error.reason, Place.rest(start))
                break
            if row is not None:
                rows.append(row)
                positions.append(run.offset(number) + offset)
                raws.append(line)

        if rows:
            yield Rows(rows, PlaceKind.BYTE, positions, True, raws, table.warnings)
            table.warnings = ()
            table.has_rows = True
        if trouble is not None:
            raise trouble


class _Table:
    """Makes rows from lines, by the names that are in force."""

    def __init__(self, form: Format, columns: Columns) -> None:
        self.columns = columns
        self.nulls = NULLS | set(form.nulls)
        # The item's columns, by the name that Python could give them.
        self.wanted = {identifier(name): name for name in columns.names}
        self.names: list[str] = []
        # What the names say of the block, until it has been said.
        self.warnings: tuple[str, ...] = ()
        self.has_rows = False
        if form.columns:
            self.take_names(form.columns)

    def take_names(self, fields: Sequence[str]) -> None:
        """Take the names of the rows that follow; Malformed where they do not fit the item."""
        names = [self._column_of(field) for field in fields]
        present = list(names)
        if {"date", "time"} <= set(names) and TIMESTAMP not in names:
            present.append(TIMESTAMP)

        warnings = check_header(present, self.columns)
        if not self.names:
            self.warnings = warnings
        self.names = names

    def _column_of(self, field: str) -> str:
        """Return a field's name as the item may have it."""
        if field in self.columns.names:
            return field
        plain = identifier(field)
        return self.wanted.get(plain, plain)

    def row(self, line: bytes, is_cut: bool) -> dict[str, Any] | str | None:
        """Return the row of a line, or why there is none; None where the line is no item."""
        if is_fields_line(line):
            self.take_names(field_names(line))
            return None
        if line.removeprefix(BOM).startswith(b"#") or not line.strip():
            return None
        if not self.names:
            raise Malformed(NO_FIELDS)
        if is_cut:
            return TOO_LONG

        try:
            text = line.decode().rstrip("\r")
        except UnicodeDecodeError as error:
            return f"invalid UTF-8: {error.reason}"
        values = text.split("\t") if "\t" in text else _values(text)
        if len(values) != len(self.names):
            return f"the row has {len(values)} values and #Fields {len(self.names)} names"
        return self._by_column(values)

    def _by_column(self, values: Sequence[str]) -> dict[str, Any]:
        cells = ("" if value in self.nulls else value for value in values)
        row: dict[str, Any] = dict(zip(self.names, cells, strict=True))
        if TIMESTAMP in self.columns.names and TIMESTAMP not in row:
            row[TIMESTAMP] = joined_time(row)
        return row


def _values(text: str) -> list[str]:
    """Return the values between blanks, without their quotes."""
    values = VALUE.findall(text)
    if '"' not in text:
        return values
    return [
        value[1:-1].replace('""', '"') if len(value) > 1 and value[0] == value[-1] == '"' else value
        for value in values
    ]
