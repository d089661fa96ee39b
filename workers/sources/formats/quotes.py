"""Quotes of CSV that part cells and rows otherwise than meant: where they stand, and their lines.

A stray quote makes one cell of all lines up to the next quote. CSV allows it, so nothing is wrong
with such a record but that its lines look like rows.
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from workers.sources.formats.format import Format

# Lines of a well-formed record that look like rows: with so many it is taken apart.
ALIKE_LINES = 3
# Rows of fewer cells are too easily taken from prose to be made from a cell's lines.
MIN_WIDTH = 3
# In rows of so many cells, a line with numbers at the right places is one.
SURE_WIDTH = 4
# A number or a time, quoted or not: where a row has one, other rows have one too.
NUMERIC = re.compile(r'"?[-+.,:/ \dTZ]*\d[-+.,:/ \dTZ]*"?')


class Likeness(IntEnum):
    """Whether a line of a record looks like a row."""

    NONE = 0
    LIKE = 1
    # It has as many cells as a wide row, and numbers where the record has them.
    SURE = 2


class Cells(NamedTuple):
    """The cells of a line as they stand, up to the first one whose quotes are wrong."""

    cells: list[str]
    is_whole: bool
    # Where the cell starts whose quotes are wrong.
    position: int

    @property
    def number(self) -> int:
        """The number of the cell whose quotes are wrong, from 1."""
        return len(self.cells) + 1


@lru_cache(maxsize=64)
def _cell_pattern(delimiter: str, escape: str) -> re.Pattern[str]:
    """Return what matches one cell. It never goes back, so that long lines cost no more."""
    end = re.escape(delimiter)
    if not escape:
        quoted = '"[^"]*+(?:""[^"]*+)*+"'
        plain = f'(?!")[^{end}]*+'
    else:
        mark = re.escape(escape)
        quoted = f'"[^"{mark}]*+(?:(?:""|{mark}.)[^"{mark}]*+)*+"'
        plain = f'(?!")[^{end}{mark}]*+(?:{mark}.?[^{end}{mark}]*+)*+'
    return re.compile(rf"(?:{quoted}|{plain})(?={end}|\Z)", re.DOTALL)


def cells_of(line: str, form: Format) -> Cells:
    """Return the cells of a line (or of the lines of a record), with their quotes."""
    pattern = _cell_pattern(form.delimiter, form.escape)
    cells = []
    position = 0
    while match := pattern.match(line, position):
        cells.append(match[0])
        position = match.end() + 1
        if position > len(line):
            return Cells(cells, True, position)
    return Cells(cells, False, position)


def trouble_of(text: str, form: Format) -> str:
    """Return why the quotes of a record that ends where it should cannot be read."""
    text = text.rstrip("\r\n")
    parts = cells_of(text, form)
    if parts.is_whole or not form.quote:
        return "a carriage return stands in a cell without quotes"

    number = parts.number
    rest = text[parts.position + 1 :]
    if '"' not in rest:
        where = "" if form.multiline else "; where cells have newlines, declare multiline=yes"
        return f"the quote that opens cell {number} is not closed{where}{_or_plain(form)}"
    if '\\"' in text and not form.escape:
        why = f"cell {number} goes on behind its quote; where \\ escapes quotes, declare escape=\\"
        return why + _or_plain(form)
    why = f"cell {number} goes on behind its closing quote; a quote in a cell is written twice"
    return why + _or_plain(form)


def _or_plain(form: Format) -> str:
    """Return what else quotes may mean: few who write tabs between cells quote any."""
    return "; where quotes are plain text, declare quote=none" if form.delimiter == "\t" else ""


def likenesses(lines: Sequence[str], width: int, form: Format) -> list[Likeness]:
    """Return of each line of a record whether it looks like a row of so many cells."""
    opening = cells_of(lines[0], form).cells
    others = [_likeness(line, opening, width, form) for line in lines[1:]]
    return [Likeness.NONE, *others]


def _likeness(line: str, opening: Sequence[str], width: int, form: Format) -> Likeness:
    """Return whether a line reads as a row like the one whose first cells are `opening`.

    It has no quotes inside cells without quotes: these end a cell that began lines before. Nor is
    it prose, which has a blank behind each comma.
    """
    if line.count(form.delimiter) < width - 1:
        return Likeness.NONE

    cells, is_whole, _ = cells_of(line.rstrip("\r"), form)
    if not is_whole or len(cells) != width:
        return Likeness.NONE
    if any('"' in cell for cell in cells if not cell.startswith('"')):
        return Likeness.NONE
    if _is_prose(cells) and not _is_prose(opening):
        return Likeness.NONE

    has_numbers = _has_numbers_of(opening, cells)
    if has_numbers is False:
        return Likeness.NONE
    return Likeness.SURE if has_numbers and width >= SURE_WIDTH else Likeness.LIKE


def _has_numbers_of(opening: Sequence[str], cells: Sequence[str]) -> bool | None:
    """Return whether cells are numbers where a record's own are; None where it has none."""
    numeric = [
        NUMERIC.fullmatch(cell) is not None
        for first, cell in zip(opening, cells, strict=False)
        if NUMERIC.fullmatch(first)
    ]
    return all(numeric) if numeric else None


def _is_prose(cells: Sequence[str]) -> bool:
    return any(cell.startswith(" ") for cell in cells[1:])


def is_tangled(
    lines: Sequence[str], alike: Sequence[Likeness], is_sound: bool, form: Format, width: int
) -> bool:
    """Return whether the lines of a record are to be looked at by themselves.

    Of a record that is sound, one line has to be a row for sure, or three have to look like one:
    an address of some lines does not, and stays a cell. Where a row has two cells only, all of
    them have to.
    """
    count = sum(map(bool, alike))
    # The last line may be a row too, but for the quote that ends the cell.
    last = lines[-1].replace('"', "")
    opening = cells_of(lines[0], form).cells
    if not is_sound:
        cells = last.split(form.delimiter)
        is_row = len(cells) >= width and _has_numbers_of(opening, cells) is not False
        return count > 0 or is_row
    if width < MIN_WIDTH:
        return width > 1 and count >= ALIKE_LINES and count == len(alike) - 1

    return count >= ALIKE_LINES or Likeness.SURE in (
        *alike,
        _likeness(last, opening, width, form),
    )
