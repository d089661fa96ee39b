"""Bytes to whole lines, each exactly once whatever the cuts.

A line belongs to the range in which it starts.
"""

from collections.abc import Iterator
from itertools import accumulate

import msgspec

from workers.errors import Malformed

MAX_LINE_BYTES = 16 << 20  # bytes of a line; a longer one is no item, and is not kept in memory
SHOWN_BYTES = 4096  # bytes of such a line that are kept to show it


class Lines(msgspec.Struct, frozen=True):
    """A run of whole lines, without their newlines, and where the first one starts."""

    start: int
    lines: list[bytes]
    # One line, of which only the beginning was kept.
    is_cut: bool = False
    # Where each line starts, from the first: found once, or a million bad lines would take hours.
    offsets: list[int] = []

    def place(self, index: int) -> str:
        """Name the place of a line in its block (decompressed, where it is compressed)."""
        if not self.offsets:
            self.offsets.extend(accumulate((len(line) + 1 for line in self.lines), initial=0))
        return f"byte {self.start + self.offsets[index]}"

    def raw(self, index: int) -> bytes:
        """Return a line as it stands."""
        return self.lines[index]


def split_lines(source: Iterator[bytes], start: int, end: int | None) -> Iterator[Lines]:
    """Split bytes into runs of lines that start in [start, end).

    Where start is not 0, the source begins one byte earlier. A Malformed source gives its whole
    lines first; the error then says where the rest begins.
    """
    at, carry, skipping = max(start - 1, 0), b"", start > 0
    shown: bytes | None = None  # the beginning of a line that is too long
    begun = at
    try:
        for piece in source:
            carry += piece
            if skipping or shown is not None:
                first = carry.find(b"\n") + 1
                if not first:
                    at, carry = at + len(carry), b""
                    continue
                if shown is not None:
                    yield Lines(begun, [shown], is_cut=True)
                at, carry, skipping, shown = at + first, carry[first:], False, None
            if end is not None and at >= end:
                return
            whole = carry.rfind(b"\n") + 1
            if whole:
                lines = carry[: whole - 1].split(b"\n")
                yield Lines(at, _before(lines, at, end))
                at, carry = at + whole, carry[whole:]
            if len(carry) > MAX_LINE_BYTES and (end is None or at < end):
                begun, shown = at, carry[:SHOWN_BYTES]
                at, carry = at + len(carry), b""
    except Malformed as error:
        raise Malformed(f"byte {begun if shown else at} to the end: {error}") from error
    if shown is not None:
        yield Lines(begun, [shown], is_cut=True)
    elif carry and not skipping and (end is None or at < end):
        yield Lines(at, [carry])


def _before(lines: list[bytes], at: int, end: int | None) -> list[bytes]:
    """Return the lines that start before end."""
    if end is None or at + sum(map(len, lines)) + len(lines) <= end:
        return lines
    for index, line in enumerate(lines):
        if at >= end:
            return lines[:index]
        at += len(line) + 1
    return lines


BOM = b"\xef\xbb\xbf"
