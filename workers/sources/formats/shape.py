"""How the JSON of a block is laid out, told by its first bytes."""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from workers.errors import Malformed
from workers.sources.formats.brackets import GAP, OPENING, STRING, TOKEN, value_end
from workers.sources.formats.header import Columns

Shape = Literal["lines", "values", "array"]
# A text or word of a list, and what goes on behind it.
ELEMENT = re.compile(rb"(%b|[^\s,\]]+)\s*(?:[,\]]|$)" % STRING)
TRIED_LINES = 50  # lines of a block's beginning that may tell its shape, where the first are odd


def shape_of(text: bytes, columns: Columns) -> Shape | None:
    """Return how JSON is laid out, from the beginning of it; None where it looks like no JSON."""
    start = _start(text)
    if text.startswith(b"[", start) and not (columns.is_array and _is_flat_list(text, start)):
        return "array" if _begins_list(text, start) else None

    is_open = False
    starts = 0
    lines = list(_lines(text, start))
    for begin, end in lines:
        if not text.startswith(OPENING, begin):
            continue
        starts += 1
        shape = _shape_of_value(text, begin, end, is_first=begin == start)
        if shape:
            return shape
        is_open = is_open or (starts == 1 and _is_value(text, begin) is None)

    # Most lines of JSON lines begin a value; of a value of many lines hardly any does.
    if is_open and (len(lines) == 1 or 2 * starts < len(lines)):
        return "values"
    return "lines" if starts else None


def list_key(text: bytes, columns: Columns) -> str:
    """Return the field of the first object that seems to hold the items; "" where none does.

    It is a list of objects in an object that has none of the item's columns.
    """
    start = _start(text)
    if not text.startswith(b"{", start):
        return ""

    keys: set[str] = set()
    lists: list[str] = []
    for key, value in _members(text, start):
        keys.add(key)
        if text.startswith(b"[", value) and text.startswith(b"{", _gap_end(text, value + 1)):
            lists.append(key)

    is_item = bool(keys.intersection(columns.names))
    return lists[0] if lists and not is_item else ""


def _start(text: bytes) -> int:
    return len(text) - len(text.lstrip())


def _gap_end(text: bytes, start: int) -> int:
    gap = GAP.match(text, start)
    return gap.end() if gap else start


def _is_flat_list(text: bytes, start: int) -> bool:
    """Tell whether a list holds no other list, nor an object, as its first element."""
    return not text.startswith(OPENING, _gap_end(text, start + 1))


def _begins_list(text: bytes, start: int) -> bool:
    """Tell whether a bracket begins a list of JSON, as far as its first element shows."""
    first = _gap_end(text, start + 1)
    if first >= len(text) or text.startswith(b"]", first):
        return True
    if text.startswith(OPENING, first):
        return _is_value(text, first) is not False

    element = ELEMENT.match(text, first)
    return element is not None and _decodes(element[1])


def _lines(text: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Yield where the first lines begin and end, blank ones left out."""
    lines = 0
    while start < len(text) and lines < TRIED_LINES:
        end = text.find(b"\n", start)
        end = len(text) if end < 0 else end
        begin = start + _start(text[start:end])
        if begin < end:
            lines += 1
            yield begin, end
        start = end + 1


def _shape_of_value(text: bytes, begin: int, line_end: int, is_first: bool) -> Shape | None:
    """Return the shape that a value on a line shows; None where it shows none."""
    try:
        stop = value_end(text, begin)
    except Malformed:
        return None

    if stop is None:  # the beginning of one long line, or of a value of many
        is_long = line_end == len(text) or text[begin:line_end].strip() in OPENING
        return "values" if is_first and is_long else None
    if not _decodes(text[begin:stop]):
        return None
    if stop > line_end:
        return "values"

    behind = text[stop:line_end].strip(b" \t\r,")
    if not behind:
        is_parted = b"," in text[stop:line_end]
        return "values" if is_parted else "lines"
    return "values" if behind.startswith(OPENING) else None


def _is_value(text: bytes, start: int) -> bool | None:
    """Tell whether a value stands in a text; None where it does not end there."""
    try:
        stop = value_end(text, start)
    except Malformed:
        return False
    return _decodes(text[start:stop]) if stop else None


def _decodes(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _members(text: bytes, start: int) -> Iterator[tuple[str, int]]:
    """Yield the keys of an object, and where the value of each begins, as far as a text goes."""
    depth = 0
    for token in TOKEN.finditer(text, start):
        mark = token[0]
        if mark in OPENING:
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if not depth:
                return
        elif depth == 1 and mark != b'"':
            colon = _gap_end(text, token.end())
            if text.startswith(b":", colon) and _decodes(mark):
                yield msgspec.json.decode(mark), _gap_end(text, colon + 1)
