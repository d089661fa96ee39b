"""Bytes to whole lines, each exactly once whatever the cuts.

A line belongs to the range in which it starts.
"""

from collections.abc import Collection, Iterator
from itertools import accumulate

import msgspec

from workers.errors import Malformed
from workers.values import Place, PlaceKind

MAX_LINE_BYTES = 16 << 20  # bytes of a line; a longer one is no item, and is not kept in memory
SHOWN_BYTES = 4096  # bytes of such a line that are kept to show it
TOO_LONG = "the line is too long for an item"
BOM = b"\xef\xbb\xbf"


class Lines(msgspec.Struct, frozen=True):
    """A run of whole lines, without their newlines, and where the first one starts."""

    start: int
    lines: list[bytes]
    # One line, of which only the beginning was kept.
    is_cut: bool = False
    # Where each line starts, from the first; of lines that follow each other added up once, as a
    # million bad lines would take hours.
    offsets: list[int] = []
    # Columns that the block's key says, for items that lack them; None is a missing value.
    path: dict[str, str | None] = {}

    def offset(self, index: int) -> int:
        """Return the byte at which a line starts (decompressed, where the block is compressed)."""
        if not self.offsets:
            self.offsets.extend(accumulate((len(line) + 1 for line in self.lines), initial=0))
        return self.start + self.offsets[index]

    def place(self, index: int) -> Place:
        """Return the place of a line in its block."""
        return Place.byte(self.offset(index))

    def raw(self, index: int) -> bytes:
        """Return a line as it stands."""
        return self.lines[index]

    def pick(self, places: Collection[Place]) -> "list[Lines]":
        """Return the lines at these places, each as a run of its own."""
        wanted = {place.position for place in places if place.kind is PlaceKind.BYTE}
        picked = []
        for index, line in enumerate(self.lines):
            start = self.offset(index)
            if start in wanted:
                picked.append(msgspec.structs.replace(self, start=start, lines=[line], offsets=[]))
        return picked

    def between(self, first: int, last: int) -> "Lines":
        """Return the lines from the first to the last (exclusive)."""
        if not first and last == len(self.lines):
            return self
        offsets = [self.offset(index) - self.offset(first) for index in range(first, last)]
        start = self.offset(first) if offsets else self.start
        return msgspec.structs.replace(
            self, start=start, lines=self.lines[first:last], offsets=offsets
        )


def split_lines(
    source: Iterator[bytes], start: int, end: int | None, is_line_start: bool = False
) -> Iterator[Lines]:
    """Split bytes into runs of lines that start in [start, end).

    Where start is not 0, the source begins one byte earlier, unless a line is known to start
    there. A Malformed source gives its whole lines first; the error then says where the rest
    begins.
    """
    splitter = _Splitter(start, end, is_line_start)
    try:
        for chunk in source:
            yield from splitter.feed(chunk)
            if splitter.is_done:
                return
    except Malformed as error:
        raise Malformed(error.reason, Place.rest(splitter.unread_from)) from error
    yield from splitter.last_line()


class _Splitter:
    """Holds what lies between two chunks: the beginning of a line that has not ended yet."""

    def __init__(self, start: int, end: int | None, is_line_start: bool) -> None:
        self.end = end
        # No line that starts in the range is to come.
        self.is_done = False
        # The beginning of the current line, and where it stands.
        self._carry = b""
        self._offset = start if is_line_start else max(start - 1, 0)
        # The current line starts before the range.
        self._is_skipping = start > 0 and not is_line_start
        # The beginning of a line that is too long, and where it stands.
        self._shown: bytes | None = None
        self._shown_offset = self._offset

    @property
    def unread_from(self) -> int:
        """Where the line starts that has not ended yet."""
        return self._offset if self._shown is None else self._shown_offset

    def feed(self, chunk: bytes) -> Iterator[Lines]:
        """Yield the lines that end in a chunk."""
        self._carry += chunk
        if self._is_skipping or self._shown is not None:
            line_end = self._carry.find(b"\n") + 1
            if not line_end:
                self._advance(len(self._carry))
                return
            if self._shown is not None:
                yield Lines(self._shown_offset, [self._shown], is_cut=True)
            self._advance(line_end)
            self._is_skipping = False
            self._shown = None

        if not self._is_in_range():
            self.is_done = True
            return

        whole_end = self._carry.rfind(b"\n") + 1
        if whole_end:
            lines = self._carry[: whole_end - 1].split(b"\n")
            yield Lines(self._offset, _starting_before(self.end, lines, self._offset))
            self._advance(whole_end)

        if len(self._carry) > MAX_LINE_BYTES and self._is_in_range():
            self._shown = self._carry[:SHOWN_BYTES]
            self._shown_offset = self._offset
            self._advance(len(self._carry))

    def last_line(self) -> Iterator[Lines]:
        """Yield the line that the source ends in, where it has no newline."""
        if self._shown is not None:
            yield Lines(self._shown_offset, [self._shown], is_cut=True)
        elif self._carry and not self._is_skipping and self._is_in_range():
            yield Lines(self._offset, [self._carry])

    def _advance(self, length: int) -> None:
        self._offset += length
        self._carry = self._carry[length:]

    def _is_in_range(self) -> bool:
        return self.end is None or self._offset < self.end


def _starting_before(end: int | None, lines: list[bytes], offset: int) -> list[bytes]:
    """Return the lines that start before `end`; the first one stands at `offset`."""
    if end is None or offset + sum(map(len, lines)) + len(lines) <= end:
        return lines
    for index, line in enumerate(lines):
        if offset >= end:
            return lines[:index]
        offset += len(line) + 1
    return lines
