"""Text: each line is an item, by itself or by the groups of a pattern."""

from typing import Any

from workers.errors import Malformed, Refused
from workers.sources.formats.format import Format
from workers.sources.formats.header import Columns, check_header
from workers.sources.formats.lines import BOM, TOO_LONG, Lines
from workers.sources.formats.patterns import (
    READY,
    LinePattern,
    check_pattern,
    line_pattern,
    misfit_of,
)
from workers.sources.formats.rows import Rows
from workers.sources.formats.w3c import TIMESTAMP, field_names, is_fields_line, joined_time
from workers.values import Place, PlaceKind

# The ready patterns, the narrower first: a line that is combined is common too.
RECOGNISED = ("alb", "s3access", "cloudfront", "combined", "common")


def recognise(line: str) -> str:
    """Return the ready pattern that a line fits; "" where there is none."""
    for name in RECOGNISED:
        if READY[name].regex.fullmatch(line):
            return name
    return ""


def check_text(form: Format, columns: Columns) -> tuple[str, ...]:
    """Return what a person should know of text read as such items; Refused where it cannot be."""
    if form.pattern:
        return check_pattern(form, columns)
    try:
        return check_header(columns.names[:1], columns)
    except Malformed as error:
        raise Refused(
            f'format="text" gives a line in one column, the first of the item: {error.reason}; a '
            'pattern gives more: format="text pattern=..."'
        ) from error


def texts(run: Lines, form: Format, columns: Columns) -> Rows:
    """Return lines as rows, blank ones left out.

    Without a pattern the line is the item's first column; with one, its groups are columns, and a
    line that does not fit is a reason.
    """
    pattern = line_pattern(form) if form.pattern else None
    rows: list[dict[str, Any] | str] = []
    positions: list[int] = []
    raws: list[bytes] = []

    for number, line in enumerate(run.lines):
        is_first = run.start + number == 0
        content = line.removeprefix(BOM) if is_first else line
        if not content.strip() or _is_comment(content, pattern):
            continue
        rows.append(TOO_LONG if run.is_cut else _row(content, pattern, columns))
        positions.append(run.offset(number))
        raws.append(line)
    return Rows(rows, PlaceKind.BYTE, positions, is_text=True, raws=raws)


def _is_comment(line: bytes, pattern: LinePattern | None) -> bool:
    """Return whether a line is none of the items; Malformed where it names other columns."""
    if pattern is None or not pattern.comment or not line.startswith(pattern.comment.encode()):
        return False

    if pattern.fields and is_fields_line(line):
        names = field_names(line)
        if names[: len(pattern.fields)] != pattern.fields[: len(names)]:
            raise Malformed(
                'the columns in #Fields are not those of the pattern: declare format="w3c"',
                Place.rest(0),
            )
    return True


def _row(line: bytes, pattern: LinePattern | None, columns: Columns) -> dict[str, Any] | str:
    """Return a line by column, or why it has none."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return f"invalid UTF-8: {error.reason}"
    if pattern is None:
        return dict.fromkeys(columns.names[:1], text.strip())

    text = text.rstrip("\r")
    match = pattern.regex.fullmatch(text)
    if match is None:
        return misfit_of(text, pattern.regex)

    row: dict[str, Any] = {}
    for name, value in match.groupdict("").items():
        row[name] = "" if value in pattern.nulls else value
    if TIMESTAMP in columns.names and TIMESTAMP not in row:
        row[TIMESTAMP] = joined_time(row)
    return row
