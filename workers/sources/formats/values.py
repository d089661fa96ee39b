"""JSON values that are not one to a line: behind one another, of many lines, or in a list.

Only their bounds are found here, each value once; what it says is for sources/items. Values in
blanks or commas are taken as they come, words between them are values that nobody can use. What
breaks the structure itself (a text or a value that does not end, a bracket too many) leaves it
unknown how many follow, so reading ends there.
"""

import re
from collections.abc import Iterator

import msgspec

from workers.errors import Malformed
from workers.sources.formats.brackets import (
    CLOSING,
    GAP,
    NESTED,
    OPENING,
    QUOTE,
    TOKEN,
    Incomplete,
    check_quote,
    end_of,
)
from workers.sources.formats.format import Format
from workers.sources.formats.lines import BOM, MAX_LINE_BYTES, Lines
from workers.values import Place

WORDS = re.compile(rb'([^\s,{}\[\]"]++(?:[^\S\n]++[^\s,{}\[\]"]++)*+)[^\S\n]*+')
COLON = re.compile(rb"\s*+(:?)\s*+")
NEXT = re.compile(GAP.pattern + b"(" + NESTED + b")")
NULL = b"null"
UNCLOSED = "a JSON value that is not closed"
TOO_MANY_BRACKETS = "a closing bracket of JSON that no other one opens"
UNCLOSED_LIST = "the JSON array is not closed"
TOO_LARGE = f"a JSON value of more than {MAX_LINE_BYTES >> 20} MB"


def split_values(
    source: Iterator[bytes], form: Format, start: int = 0, end: int | None = None
) -> Iterator[Lines]:
    """Split bytes into runs of values that start in [start, end).

    The source begins at `start`, which is 0 or where a value starts. Malformed where the structure
    breaks, after all values before; the error then says where the rest begins.
    """
    splitter = _Splitter(form, start)
    try:
        for chunk in source:
            yield from _before(end, splitter.feed(chunk))
            if end is not None and splitter.offset >= end:
                return
        yield from _before(end, splitter.feed(b"", is_last=True))
    except Malformed as error:
        place = error.place or Place.rest(splitter.offset)
        if end is None or int(place.position) < end:
            raise Malformed(error.reason, place) from error


def separate(run: Lines) -> Lines:
    """Return lines with a value each, where some have several: some producers forget newlines.

    A line that cannot be taken apart stays as it is.
    """
    lines: list[bytes] = []
    offsets: list[int] = []
    for number, line in enumerate(run.lines):
        begin = run.offset(number)
        values = _values_of(line, begin)
        if values:
            lines += values.lines
            offsets += [values.offset(index) for index in range(len(values.lines))]
        else:
            lines.append(line)
            offsets.append(begin)

    relative = [offset - run.start for offset in offsets]
    return msgspec.structs.replace(run, content=lines, offsets=relative)


def _values_of(line: bytes, start: int) -> Lines | None:
    """Return the values of a line that has several objects or lists, and nothing else."""
    try:
        runs = list(split_values(iter([line]), Format(shape="values"), start))
    except Malformed:
        return None

    values = [value for run in runs for value in run.lines]
    if len(values) < 2 or not all(value.startswith(OPENING) for value in values):
        return None
    return runs[0]  # all of one chunk are one run


def _before(end: int | None, runs: Iterator[Lines]) -> Iterator[Lines]:
    """Yield the values that start before `end`."""
    for run in runs:
        count = len(run.lines)
        while end is not None and count and run.offset(count - 1) >= end:
            count -= 1
        if count:
            yield run.between(0, count)


class _Splitter:
    """Finds values in chunks of bytes; holds what has not ended yet."""

    def __init__(self, form: Format, start: int) -> None:
        self._is_array = form.shape == "array" and not form.records
        self._records = form.records
        self._key_of_list = msgspec.json.encode(form.records)
        # Between the brackets of a list whose elements are the values.
        self._is_inside = start > 0 and (self._is_array or bool(form.records))

        # How deep in an object that holds the list; 0 outside of any.
        self._depth = int(self._is_inside and bool(form.records))
        self._holder_start = start
        self._has_list = self._is_inside
        # The key that was read last in that object.
        self._key = b""

        self._buffer = b""
        # Where the buffer starts in the block.
        self.offset = start

    def feed(self, chunk: bytes, is_last: bool = False) -> Iterator[Lines]:
        """Yield the values that end in a chunk as one run."""
        self._buffer += chunk
        if self.offset == 0 and self._buffer.startswith(BOM):
            self._drop(len(BOM))

        spans: list[tuple[int, int]] = []
        error: Malformed | None = None
        position = 0
        try:
            while True:
                position = self._take_bracketed(position, spans)
                position = self._skip_gap(position)
                if position == len(self._buffer):
                    break
                span, position = self._step(position, is_last)
                if span:
                    spans.append(span)
        except Incomplete:
            error = self._unclosed(position, is_last)
        except Malformed as broken:
            error = broken
        else:
            error = self._unended(position) if is_last else None

        if spans:
            yield self._run(spans)
        if error:
            raise error
        self._drop(position)

    def _take_bracketed(self, position: int, spans: list[tuple[int, int]]) -> int:
        """Add the spans of the objects and lists that follow each other; return where to go on."""
        if self._is_inside or not (self._is_array or self._records):
            following = NEXT.match
            while value := following(self._buffer, position):
                spans.append(value.span(1))
                position = value.end()
        return position

    def _skip_gap(self, position: int) -> int:
        gap = GAP.match(self._buffer, position)
        return gap.end() if gap else position

    def _run(self, spans: list[tuple[int, int]]) -> Lines:
        first = spans[0][0]
        return Lines(
            self.offset + first,
            [self._buffer[start:stop] for start, stop in spans],
            offsets=[start - first for start, _ in spans],
        )

    def _drop(self, length: int) -> None:
        self.offset += length
        self._buffer = self._buffer[length:]

    def _rest(self, position: int) -> Place:
        return Place.rest(self.offset + position)

    def _unclosed(self, position: int, is_last: bool) -> Malformed | None:
        """Return what is wrong with a value that starts in the buffer and does not end there."""
        if len(self._buffer) - position > MAX_LINE_BYTES:
            return Malformed(TOO_LARGE, self._rest(position))
        return Malformed(UNCLOSED, self._rest(position)) if is_last else None

    def _unended(self, position: int) -> Malformed | None:
        """Return what is missing at the end of a block."""
        if self._depth:
            return Malformed(UNCLOSED, self._rest(position))
        return Malformed(UNCLOSED_LIST, self._rest(position)) if self._is_inside else None

    def _step(self, position: int, is_last: bool) -> tuple[tuple[int, int] | None, int]:
        """Take what stands at a position: a value's span, or nothing; return where to go on."""
        if self._depth and not self._is_inside:
            return None, self._step_to_list(position, is_last)

        mark = self._buffer[position : position + 1]
        if self._is_array or self._records:
            if not self._is_inside:
                self._open_list(mark, position)
                return None, position + 1
            if mark == b"]":
                self._is_inside = False
                return None, position + 1

        stop = self._value_end(mark, position, is_last)
        return (position, stop), stop

    def _open_list(self, mark: bytes, position: int) -> None:
        """Take the bracket that opens a list of values, or an object that holds one."""
        if mark != (b"{" if self._records else b"["):
            what = f"an object with the list {self._records!r}" if self._records else "a list"
            raise Malformed(f"something beside {what}", self._rest(position))

        if self._is_array:
            self._is_inside = True
            return
        self._depth = 1
        self._holder_start = self.offset + position
        self._has_list = False

    def _value_end(self, mark: bytes, position: int, is_last: bool) -> int:
        if mark in OPENING:
            return end_of(self._buffer, position, self._rest(position))
        if mark in CLOSING:
            raise Malformed(TOO_MANY_BRACKETS, self._rest(position))

        if mark == QUOTE:
            text = TOKEN.match(self._buffer, position)
            assert text
            if text[0] == QUOTE:
                check_quote(self._buffer, position, self._rest(position))
            return text.end()

        words = WORDS.match(self._buffer, position)
        assert words
        if words.end() == len(self._buffer) and not is_last:
            raise Incomplete
        return words.end(1)

    def _step_to_list(self, position: int, is_last: bool) -> int:
        """Take the next mark of an object that holds the list; return where to go on."""
        token = TOKEN.search(self._buffer, position)
        if token is None:
            return len(self._buffer)

        mark = token[0]
        if mark in OPENING:
            if mark == b"[" and self._depth == 1 and self._key == self._key_of_list:
                self._is_inside = True
                self._has_list = True
            else:
                self._depth += 1
        elif mark in CLOSING:
            self._depth -= 1
            if not self._depth and not self._has_list:
                raise Malformed(
                    f"a JSON object without the list {self._records!r}",
                    Place.rest(self._holder_start),
                )
        elif mark == QUOTE:
            check_quote(self._buffer, token.start(), self._rest(token.start()))
        elif self._depth == 1:
            return self._take_key(mark, token.end(), is_last)
        return token.end()

    def _take_key(self, text: bytes, position: int, is_last: bool) -> int:
        """Note a text where it is a key, and whether nothing stands in place of the list."""
        colon = COLON.match(self._buffer, position)
        assert colon
        if colon.end() + len(NULL) > len(self._buffer) and not is_last:
            raise Incomplete

        if colon[1]:
            self._key = text
            is_null = self._buffer.startswith(NULL, colon.end())
            self._has_list = self._has_list or (text == self._key_of_list and is_null)
        return colon.end()
