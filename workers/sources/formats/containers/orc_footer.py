"""The footer of an ORC file: which rows it has and where, read without Arrow.

Arrow does not say where stripes lie, and its reader of ORC can end the whole process where bytes
are damaged. So the groups are read here, and must agree with themselves and with the file.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from workers.errors import Malformed
from workers.sources.formats.containers.groups import MAX_GROUP_ROWS, Group, placed
from workers.sources.formats.containers.orc_messages import (
    UNREAD,
    decompressed,
    fields_of,
    varint_at,
)

MAGIC = b"ORC"
MAX_TAIL_BYTES = 256 << 20  # bytes of the footer; one larger is damage
MAX_CHUNK_BYTES = 1 << 23  # bytes that a compressed chunk may hold, by its length's 23 bits
TIME_KINDS = (9, 18)  # what types call times without a zone, and moments
COMPRESSIONS = ("none", "zlib", "snappy", "lzo", "lz4", "zstd")


class Ending(NamedTuple):
    """What the postscript says: how long the parts of the file's end are, how compressed."""

    footer_bytes: int
    compression: str
    # What a chunk of the compressed footer holds at most.
    chunk_bytes: int
    # Bytes of the postscript, with the one that says how many there are.
    bytes: int


class Stripe(NamedTuple):
    """Where the streams of a stripe start, and its own footer behind them, up to its end."""

    start: int
    footer_start: int
    end: int


class Footer(NamedTuple):
    """The stripes of a file, and the names of its columns."""

    groups: list[Group]
    stripes: list[Stripe]
    names: list[str]
    # Of each column of times its number, and whether they are moments.
    times: dict[str, tuple[int, bool]]


def read_ending(tail: bytes, size: int) -> Ending:
    """Return what the postscript says, from the last bytes of a file (256, or all it has)."""
    length = tail[-1] + 1 if tail else 0
    if length > len(tail) or not tail[-length:-1].endswith(MAGIC):
        raise Malformed("it does not end as ORC does")

    try:
        fields = dict(fields_of(tail[-length:-1]))
        footer_bytes = int(fields[1])
        compression = COMPRESSIONS[fields.get(2, 0)]
        chunk_bytes = min(int(fields.get(3, 1 << 18)), MAX_CHUNK_BYTES)
    except UNREAD as error:
        raise Malformed(f"its postscript cannot be read ({type(error).__name__})") from error

    if footer_bytes + length + len(MAGIC) > min(size, MAX_TAIL_BYTES):
        raise Malformed("its footer is longer than the block")
    return Ending(footer_bytes, compression, chunk_bytes, length)


def read_footer(data: bytes, ending: Ending, size: int) -> Footer:
    """Return what the bytes of a footer say; Malformed where they contradict the file."""
    try:
        plain = decompressed(data, ending.compression, ending.chunk_bytes)
        messages: list[dict[int, Any]] = []
        types: list[bytes] = []
        rows = 0
        for number, value in fields_of(plain):
            if number == 3:
                messages.append(dict(fields_of(value)))
            elif number == 4:
                types.append(value)
            elif number == 6:
                rows = value
        names = [value.decode() for number, value in fields_of(types[0]) if number == 3]
        times = _times(types, names)
        counts = [int(stripe.get(5, 0)) for stripe in messages]
        stripes = _stripes(messages, size - ending.bytes - ending.footer_bytes)
    except UNREAD as error:
        raise Malformed(f"its footer cannot be read ({type(error).__name__})") from error

    if sum(counts) != rows or any(count >= MAX_GROUP_ROWS for count in counts):
        raise Malformed(f"its stripes have {sum(counts)} rows, and the file {rows}")
    groups = placed(counts, [stripe.start for stripe in stripes], size)
    return Footer(groups, stripes, names, times)


def _times(types: Sequence[bytes], names: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """Return the columns of times, by name, from the types of a file."""
    numbers: list[int] = []
    for field, value in fields_of(types[0]):
        if field == 2:  # in one piece, or one by one
            numbers += _varints(value) if isinstance(value, bytes) else [value]

    times = {}
    for name, number in zip(names, numbers, strict=True):
        kind = dict(fields_of(types[number])).get(1, 0)
        if kind in TIME_KINDS:
            times[name] = (number, kind == TIME_KINDS[1])
    return times


def _varints(data: bytes) -> list[int]:
    numbers = []
    offset = 0
    while offset < len(data):
        number, offset = varint_at(data, offset)
        numbers.append(number)
    return numbers


def _stripes(messages: Sequence[dict[int, Any]], end: int) -> list[Stripe]:
    """Return the stripes of a file; they lie behind one another, before the footer."""
    stripes = []
    least_start = len(MAGIC)
    for message in messages:
        start = message.get(1, 0)
        if start < least_start:
            raise Malformed("a stripe lies within another")
        footer_start = start + message.get(2, 0) + message.get(3, 0)
        least_start = footer_start + message.get(4, 0)
        stripes.append(Stripe(start, footer_start, least_start))

    if least_start > max(end, len(MAGIC)):
        raise Malformed("a stripe is longer than the block")
    return stripes
