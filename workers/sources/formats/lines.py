"""Bytes to whole lines, each exactly once whatever the cuts.

A line belongs to the range in which it starts.
"""

from collections.abc import Collection, Iterator
from itertools import accumulate

import msgspec
import numpy as np

from workers.errors import Malformed
from workers.values import Place, PlaceKind

MAX_LINE_BYTES = 16 << 20  # bytes of a line; a longer one is no item, and is not kept in memory
SHOWN_BYTES = 4096  # bytes of such a line that are kept to show it
TOO_LONG = "the line is too long for an item"
BOM = b"\xef\xbb\xbf"
GATHERED_BYTES = 1 << 20  # bytes of decompressed pieces that become one run of lines


class Lines(msgspec.Struct, frozen=True):
    """A run of whole lines, without their newlines, and where the first one starts."""

    start: int
    # The lines, or their bytes as they stand, which are split once somebody asks for a line.
    content: bytes | list[bytes]
    # One line, of which only the beginning was kept.
    is_cut: bool = False
    # Where each line starts, from the first; of lines that follow each other added up once, as a
    # million bad lines would take hours.
    offsets: list[int] = []
    # Columns that the block's key says, for items that lack them; None is a missing value.
    path: dict[str, str | None] = {}

    @property
    def lines(self) -> list[bytes]:
        """The lines, one by one."""
        if isinstance(self.content, bytes):
            msgspec.structs.force_setattr(self, "content", self.content.split(b"\n"))
        assert isinstance(self.content, list)
        return self.content

    @property
    def nbytes(self) -> int:
        """What the lines take in memory."""
        if isinstance(self.content, bytes):
            return len(self.content)
        return sum(map(len, self.content))

    def offset(self, index: int) -> int:
        """Return the byte at which a line starts (decompressed, where the block is compressed)."""
        if not self.offsets:
            self.offsets.extend(accumulate((len(line) + 1 for line in self.lines), initial=0))
        return self.start + self.offsets[index]

    def every_position(self) -> np.ndarray:
        """Return what tells each line from the others of its block, whatever range it is read in.

        It is what its place counts.
        """
        if isinstance(self.content, bytes) and not self.offsets:
            ends = np.flatnonzero(np.frombuffer(self.content, np.uint8) == ord("\n"))
            return np.concatenate([[self.start], self.start + 1 + ends])
        return np.array([self.offset(index) for index in range(len(self.lines))], np.int64)

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
                picked.append(
                    msgspec.structs.replace(self, start=start, content=[line], offsets=[])
                )
        return picked

    def between(self, first: int, last: int) -> "Lines":
        """Return the lines from the first to the last (exclusive)."""
        if not first and last == len(self.lines):
            return self
        offsets = [self.offset(index) - self.offset(first) for index in range(first, last)]
        start = self.offset(first) if offsets else self.start
        return msgspec.structs.replace(
            self, start=start, content=self.lines[first:last], offsets=offsets
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

        whole_end = self._carry.rfind(b"\n") + 1
        if whole_end and self._is_in_range():
            yield Lines(self._offset, self._carry[: self._end_in_range(whole_end - 1)])
            self._advance(whole_end)

        if not self._is_in_range():
            self.is_done = True
        elif len(self._carry) > MAX_LINE_BYTES:
            self._shown = self._carry[:SHOWN_BYTES]
            self._shown_offset = self._offset
            self._advance(len(self._carry))

    def last_line(self) -> Iterator[Lines]:
        """Yield the line that the source ends in, where it has no newline."""
        if self._shown is not None:
            yield Lines(self._shown_offset, [self._shown], is_cut=True)
        elif self._carry and not self._is_skipping and self._is_in_range():
            yield Lines(self._offset, self._carry)

    def _advance(self, length: int) -> None:
        self._offset += length
        self._carry = self._carry[length:]

    def _is_in_range(self) -> bool:
        return self.end is None or self._offset < self.end

    def _end_in_range(self, whole_end: int) -> int:
        """Return where, up to the end of the whole lines, the last one ends that is in range."""
        if self.end is None or self._offset + whole_end < self.end:
            return whole_end
        return self._carry.index(b"\n", self.end - self._offset - 1)


def gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield small pieces as larger ones; where they break off, what was good comes first."""
    held: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            held.append(piece)
            size += len(piece)
            if size >= GATHERED_BYTES:
                yield b"".join(held)
                held, size = [], 0
    except Malformed:
        if held:
            yield b"".join(held)
        raise

    if held:
        yield b"".join(held)


def is_utf_8(content: bytes) -> bool:
    """Tell whether bytes are text."""
    if content.isascii():
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
