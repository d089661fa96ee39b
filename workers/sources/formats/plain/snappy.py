"""Snappy, in each of the four ways in which people write it.

Framed is the one for files: its chunks carry checksums. Hadoop's and Java's are lengths and pieces.
Raw is one piece, which only fits into memory at once. Their suffixes are the same, so the first
bytes say which it is. Framed, Hadoop's and Java's have no mark of their end: one that was cut off
between two pieces looks whole.
"""

from collections.abc import Iterator
from typing import Literal

import cramjam

from workers.errors import Malformed
from workers.sources.formats.plain.buffered import Buffered

SnappyKind = Literal["framed", "hadoop", "java", "raw", ""]

HEAD_BYTES = 1024  # first bytes that `snappy_kind` needs, of a block that has as many
STREAM_START = b"\xff\x06\x00\x00sNaPpY"
JAVA_START = b"\x82SNAPPY\0"
JAVA_HEADER_BYTES = 16  # the start, a version, and the version that can read it

# Types of chunks of the framed kind. The format's rules let readers pass over more, and padding of
# any bytes; but nobody writes that, and a chunk of data with one wrong byte looks like it.
COMPRESSED, PLAIN, PADDING, START = 0x00, 0x01, 0xFE, 0xFF
MAX_FRAMED_BYTES = 80_000  # of a chunk of data: 65,536 bytes, as they grow at worst, and a checksum
MAX_RAW_BYTES = 256 << 20  # plain bytes of a piece that is raw: all are in memory at once
# Plain bytes of a block of Hadoop's kind. Text, read as such a length, always says more.
MAX_BLOCK_BYTES = 128 << 20
MAX_LENGTH = 1 << 30  # plain bytes that a raw piece can be believed to have
YIELDED_BYTES = 2 << 20

SHORT_LITERAL_BYTES = 60  # a tag can say a longer literal only with bytes of its own


def snappy_kind(head: bytes) -> SnappyKind:
    """Return which kind of snappy bytes begin with; "" where it is none.

    `head` are the first HEAD_BYTES of a block, or all of it. Ask where the key or a declaration
    says snappy: Hadoop's and raw ones have no magic bytes, and are told by whether all in the head
    makes sense. Text and UTF-16 do not, but a few texts of less than 40 bytes are also raw snappy.
    """
    is_whole = len(head) < HEAD_BYTES
    head = head[:HEAD_BYTES]
    if head.startswith(STREAM_START):
        return "framed"
    if head.startswith(JAVA_START):
        return "java"
    if _is_hadoop(head):
        return "hadoop"
    return "raw" if _is_raw(head, MAX_LENGTH, is_whole) else ""


def snappy_chunks(source: Buffered) -> Iterator[bytes]:
    """Yield what a body of any kind of snappy holds, decompressed.

    Malformed, EOFError or cramjam's DecompressionError where it is damaged or ends early.
    """
    head = source.peek(HEAD_BYTES)
    kind = snappy_kind(head)
    if kind == "framed":
        yield from _framed(source)
    elif kind == "hadoop":
        yield from _hadoop(source)
    elif kind == "java":
        yield from _java(source)
    elif kind == "raw":
        yield from _raw(source)
    elif head:
        raise Malformed(
            "the block is no snappy: neither framed, nor Hadoop's or Java's, nor one raw piece"
        )


def _framed(source: Buffered) -> Iterator[bytes]:
    """Yield the data of framed streams, each chunk of it held against its checksum."""
    while source.peek(1):
        header = source.take(4)
        kind = header[0]
        size = int.from_bytes(header[1:], "little")

        if kind in (COMPRESSED, PLAIN):
            if size > MAX_FRAMED_BYTES:
                raise Malformed(f"the snappy stream breaks off: a chunk of {size:,} bytes is none")
            chunk = STREAM_START + header + source.take(size)
            yield bytes(cramjam.snappy.decompress(chunk))
        elif kind == START:
            if header + source.take(min(size, 6)) != STREAM_START:
                raise Malformed("the snappy stream breaks off: the start of a stream is damaged")
        elif kind == PADDING:
            if source.take(size).strip(b"\0"):
                raise Malformed("the snappy stream breaks off: there is more than zeros in padding")
        else:
            raise Malformed(f"the snappy stream breaks off: no chunk is of type {kind:#04x}")


def _hadoop(source: Buffered) -> Iterator[bytes]:
    """Yield the data of Hadoop's blocks: each says how much it holds, and has pieces up to that."""
    while source.peek(1):
        missing = int.from_bytes(source.take(4), "big")
        if missing > MAX_BLOCK_BYTES:
            raise Malformed(
                f"the snappy stream breaks off: a block of {missing:,} bytes is over the limit of "
                f"{MAX_BLOCK_BYTES:,}"
            )

        while missing:
            size = int.from_bytes(source.take(4), "big")
            piece = _piece(source, size, missing)
            missing -= len(piece)
            yield from _parts(piece)


def _java(source: Buffered) -> Iterator[bytes]:
    """Yield the data of streams as snappy-java writes them: a header, then sized pieces."""
    while source.peek(1):
        if source.peek(len(JAVA_START)) == JAVA_START:
            source.take(JAVA_HEADER_BYTES)
            continue
        size = int.from_bytes(source.take(4), "big")
        yield from _parts(_piece(source, size, MAX_BLOCK_BYTES))


def _raw(source: Buffered) -> Iterator[bytes]:
    """Yield the data of a body that is one piece."""
    length, _ = _length(source.peek(5))
    if length > MAX_RAW_BYTES:
        raise Malformed(
            f"the block is one raw piece of snappy with {length:,} bytes, which would all be in "
            f"memory at once; the limit is {MAX_RAW_BYTES:,}: write it framed, or in smaller blocks"
        )

    # One byte more shows whether anything follows.
    body = source.peek(_most_compressed(length) + 1)
    try:
        plain = cramjam.snappy.decompress_raw(body)
    except cramjam.DecompressionError:
        yield from _parts(memoryview(cramjam.snappy.decompress_raw(_good_part(body))))
        raise
    yield from _parts(memoryview(plain))


def _piece(source: Buffered, size: int, most: int) -> memoryview:
    """Return a piece of `size` compressed bytes, decompressed; it may hold at most `most`."""
    if size > _most_compressed(most):
        raise Malformed(f"the snappy stream breaks off: a piece of {size:,} bytes holds too much")
    if not size:
        return memoryview(b"")

    piece = source.take(size)
    if cramjam.snappy.decompress_raw_len(piece) > most:
        raise Malformed("the snappy stream breaks off: a piece holds more than its block")
    return memoryview(cramjam.snappy.decompress_raw(piece))


def _parts(piece: memoryview) -> Iterator[bytes]:
    for start in range(0, len(piece), YIELDED_BYTES):
        yield bytes(piece[start : start + YIELDED_BYTES])


def _most_compressed(length: int) -> int:
    """Return how many bytes plain ones become at worst."""
    return 32 + length + length // 6


def _is_hadoop(head: bytes) -> bool:
    """Whether bytes begin with a block of Hadoop's and its first piece; empty blocks may lead."""
    if len(head) >= 4 and not head.strip(b"\0"):
        return len(head) % 4 == 0
    while head.startswith(b"\0\0\0\0"):
        head = head[4:]

    block_bytes = int.from_bytes(head[:4], "big")
    piece_bytes = int.from_bytes(head[4:8], "big")
    if not 0 < block_bytes <= MAX_BLOCK_BYTES:
        return False
    if not 0 < piece_bytes <= _most_compressed(block_bytes):
        return False

    piece = head[8 : 8 + piece_bytes]
    return bool(piece[:1].strip(b"\0")) and _is_raw(piece, block_bytes, len(piece) == piece_bytes)


def _length(piece: bytes) -> tuple[int, int]:
    """Return the plain length that a raw piece states, and where its elements begin; or (-1, 0)."""
    length = 0
    for index, byte in enumerate(piece[:5]):
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return length, index + 1
    return -1, 0


def _is_raw(piece: bytes, most: int, is_whole: bool) -> bool:
    """Whether bytes are raw snappy of at most `most` plain bytes, or could go on as such.

    No writer parts a short literal in two; text in UTF-16 would look like nothing else.
    """
    length, position = _length(piece)
    if not 0 <= length <= most:
        return False

    plain_bytes = 0
    was_short_literal = False
    while position < len(piece) and plain_bytes < length:
        size, width, offset = _element(piece, position)
        is_literal = offset is None
        if is_literal and was_short_literal and plain_bytes % 65_536:
            return False
        if offset is not None and position + width <= len(piece) and not 0 < offset <= plain_bytes:
            return False

        was_short_literal = is_literal and size < SHORT_LITERAL_BYTES
        plain_bytes += size
        position += width

    if plain_bytes > length:
        return False
    if plain_bytes == length and position <= len(piece):
        return position == len(piece)
    return not is_whole


def _good_part(piece: bytes) -> bytes:
    """Return the whole elements that a damaged piece begins with, as a piece of its own."""
    length, start = _length(piece)
    position = start
    plain_bytes = 0
    while position < len(piece):
        size, width, offset = _element(piece, position)
        is_whole = position + width <= len(piece) and plain_bytes + size <= length
        if not is_whole or (offset is not None and not 0 < offset <= plain_bytes):
            break
        plain_bytes += size
        position += width

    header = b""
    rest = plain_bytes
    while rest >= 0x80:
        header += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return header + bytes([rest]) + piece[start:position]


def _element(piece: bytes, position: int) -> tuple[int, int, int | None]:
    """Return an element's plain bytes, its width in the piece, and how far back it copies from.

    The last is None for a literal, which holds its bytes itself.
    """
    tag = piece[position]
    kind = tag & 3
    if kind:
        width = (0, 1, 2, 4)[kind]
        offset = int.from_bytes(piece[position + 1 : position + 1 + width], "little")
        if kind == 1:
            return ((tag >> 2) & 7) + 4, 2, offset | (tag >> 5) << 8
        return (tag >> 2) + 1, 1 + width, offset

    size = tag >> 2
    extra = max(size - 59, 0)
    if extra:
        size = int.from_bytes(piece[position + 1 : position + 1 + extra], "little")
    return size + 1, 1 + extra + size + 1, None
