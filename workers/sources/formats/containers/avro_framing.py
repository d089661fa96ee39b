"""The frame of Avro's Object Container Files: the header, and the blocks of records behind it."""

import json
from typing import Any, NamedTuple

from workers.errors import Malformed
from workers.sources.formats.containers.avro_codecs import CODECS
from workers.sources.formats.containers.groups import TAIL_BYTES, S3File
from workers.store import Opener
from workers.values import Place, Range

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
HEAD_BYTES = 20  # bytes of two numbers at most
READ_BYTES = 2 << 20  # bytes asked of S3 at a time
SCAN_BYTES = 1 << 20  # bytes searched for a marker at a time
MAX_HEADER_BYTES = 16 << 20
MAX_BLOCK_BYTES = 256 << 20  # bytes of a block of records, plain or compressed


class AvroHeader(NamedTuple):
    """What a file says of itself: the schema, the codec, and the marker behind each block."""

    schema: Any
    codec: str
    sync: bytes
    bytes: int


class AvroBlock(NamedTuple):
    """A block of records: where it starts, how many it has, and where its data lie."""

    start: int
    records: int
    data_start: int
    data_end: int

    @property
    def records_bytes(self) -> int:
        """How many bytes its records take, compressed as they are."""
        return self.data_end - self.data_start

    @property
    def end(self) -> int:
        """Where the next one starts."""
        return self.data_end + SYNC_BYTES


def header_of(data: "Window") -> AvroHeader:
    """Return the header of a file, however long; Malformed where there is none."""
    length = TAIL_BYTES
    while True:
        head = data.between(0, min(length, data.size))
        try:
            return parsed_header(head)
        except EOFError:
            length *= 4
            if len(head) == data.size or length > MAX_HEADER_BYTES:
                raise Malformed("not Avro: its header breaks off", Place.rest(0)) from None
        except Malformed as error:
            raise Malformed(f"not Avro: {error}", Place.rest(0)) from error


def parsed_header(head: bytes) -> AvroHeader:
    """Return what the first bytes of a file say; EOFError where there are too few."""
    if not head.startswith(MAGIC):
        raise Malformed("it does not begin as Avro does")

    reader = _Reader(head, len(MAGIC))
    metadata: dict[bytes, bytes] = {}
    while count := reader.number():
        if count < 0:  # then the bytes of these entries follow
            reader.number()
        for _ in range(abs(count)):
            name = reader.bytes(reader.number())
            metadata[name] = reader.bytes(reader.number())
    sync = reader.bytes(SYNC_BYTES)

    codec = metadata.get(b"avro.codec", b"null").decode(errors="replace")
    if codec not in CODECS:
        known = ", ".join(CODECS)
        raise Malformed(f"its codec {codec!r} is not read; these are: {known}")
    try:
        schema = json.loads(metadata[b"avro.schema"])
    except (KeyError, ValueError, RecursionError) as error:
        raise Malformed("its header has no schema") from error
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise Malformed("its items are no records")
    return AvroHeader(schema, codec, sync, reader.offset)


def first_start(data: "Window", header: AvroHeader, range_: Range) -> int:
    """Return where the first block of records of a range starts; its end where there is none."""
    if range_.start <= header.bytes:
        return header.bytes if header.bytes < data.size else range_.end

    # A block starts behind a marker, which may lie before the range.
    offset = range_.start - SYNC_BYTES
    while offset + SYNC_BYTES < range_.end:
        end = min(offset + SCAN_BYTES, data.size)
        number = data.between(offset, end).find(header.sync)
        if number >= 0:
            start = offset + number + SYNC_BYTES
            return start if start < data.size else range_.end
        if end == data.size:
            break
        offset = end - SYNC_BYTES + 1
    return range_.end


def block_at(data: "Window", start: int, header: AvroHeader) -> AvroBlock:
    """Return the block of records that starts at a byte; Malformed where none can."""
    try:
        block = parsed_block(data.between(start, min(start + HEAD_BYTES, data.size)), start)
    except EOFError:
        raise Malformed("the block of records breaks off", Place.rest(start)) from None
    except Malformed as error:
        raise Malformed(error.reason, Place.rest(start)) from error

    if block.end > data.size:
        raise Malformed("the block of records breaks off", Place.rest(start))
    # A length that damage has changed may end at the marker of a later block.
    if data.between(block.data_start, block.end).find(header.sync) != block.records_bytes:
        why = "the block of records does not end at the file's next marker"
        raise Malformed(why, Place.rest(start))
    return block


def parsed_block(head: bytes, start: int) -> AvroBlock:
    """Return the block of records that begins with these bytes; EOFError where they are too few."""
    reader = _Reader(head, 0)
    records = reader.number()
    data_bytes = reader.number()
    if records < 0 or data_bytes < 0:
        raise Malformed(f"the block of records has {records} records in {data_bytes} bytes")
    if data_bytes > MAX_BLOCK_BYTES:
        raise Malformed(f"the block of records has more than {MAX_BLOCK_BYTES >> 20} MB")

    data_start = start + reader.offset
    return AvroBlock(start, records, data_start, data_start + data_bytes)


class _Reader:
    """Reads Avro's numbers and bytes; EOFError where there are too few."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self.offset = offset

    def number(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            if self.offset >= len(self._data):
                raise EOFError
            byte = self._data[self.offset]
            self.offset += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value >> 1 ^ -(value & 1)
        raise Malformed("it has a number of more than 64 bits")

    def bytes(self, count: int) -> bytes:
        if count < 0:
            raise Malformed("it has a length below zero")
        self.offset += count
        if self.offset > len(self._data):
            raise EOFError
        return self._data[self.offset - count : self.offset]


class Window:
    """The bytes of a range's block, asked for some ahead of what is read."""

    def __init__(self, store: Opener, range_: Range) -> None:
        self.size = range_.size
        self._file = S3File(store, range_)
        self._range = range_
        self._start = 0
        self._data = b""

    def between(self, start: int, end: int) -> bytes:
        """Return the bytes from start to end (exclusive)."""
        if not self._start <= start <= end <= self._start + len(self._data):
            is_inside = self._range.start <= start < self._range.end
            ahead = min(start + READ_BYTES, self._range.end) if is_inside else 0
            far_end = min(max(end, ahead, start + TAIL_BYTES), self.size)
            self._data = self._file.between(start, far_end)
            self._start = start
        return self._data[start - self._start : end - self._start]
