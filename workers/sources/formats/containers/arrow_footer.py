"""The footer of an Arrow file, and what a record batch says of itself, read without Arrow.

Arrow's Python API does not say where record batches lie, nor how many rows one has before it has
read all of them.
"""

from struct import error as StructError  # noqa: N812  it is a class
from struct import unpack_from
from typing import NamedTuple

from workers.errors import Malformed
from workers.sources.formats.containers.groups import MAX_GROUP_ROWS

MAGIC = b"ARROW1"
FEATHER_V1 = b"FEA1"
CONTINUATION = b"\xff\xff\xff\xff"
BEGINNING_BYTES = 16  # the magic and its padding, and the length of the schema
# Bytes between messages that belong to none: padding, and what says that no message follows. The
# shortest record batch takes more.
MAX_PADDING_BYTES = 72
RECORD_BATCH = 3  # what a message calls a record batch
MAX_METADATA_BYTES = 64 << 20  # bytes that describe a record batch; a larger number is damage
UNREAD = (StructError, ValueError, IndexError, OverflowError)


class BatchSpan(NamedTuple):
    """Where a record batch lies, with the metadata before it."""

    start: int
    metadata_bytes: int
    body_bytes: int


def footer_bytes(ending: bytes, size: int) -> int:
    """Return how many bytes of a file's end are its footer, from its last ten."""
    if ending.endswith(FEATHER_V1):
        raise Malformed("it is Feather of version 1, which is not read: write version 2")
    if size < 26 or ending[4:] != MAGIC:
        raise Malformed("it does not end as an Arrow file does; a stream of Arrow is not read")

    length = int.from_bytes(ending[:4], "little") + len(ending)
    if length + len(MAGIC) > size:
        raise Malformed("its footer is longer than the block")
    return length


def schema_end(beginning: bytes) -> int:
    """Return where the first message behind the schema's starts, from a file's first bytes."""
    if not beginning.startswith(MAGIC) or len(beginning) < BEGINNING_BYTES:
        raise Malformed("it does not begin as an Arrow file does")

    is_new = beginning[8:12] == CONTINUATION
    head = 16 if is_new else 12
    return head + int.from_bytes(beginning[head - 4 : head], "little")


def has_columns(footer: bytes) -> bool:
    """Tell whether a footer's schema has columns; Malformed where it has no schema."""
    try:
        return len(Table.root(footer).table(1).structs(1, 4)) > 0
    except UNREAD as error:
        raise Malformed(f"its schema cannot be read ({type(error).__name__})") from error


def batch_spans(footer: bytes, start: int, end: int) -> list[BatchSpan]:
    """Return where the record batches of a file lie, between its schema and its footer.

    Malformed where the footer cannot be read, contradicts itself, or leaves out bytes that may be
    a record batch: it does not say how many rows there are in all.
    """
    try:
        root = Table.root(footer)
        dictionaries = [_span(footer, offset) for offset in root.structs(2, 24)]
        spans = [_span(footer, offset) for offset in root.structs(3, 24)]
    except UNREAD as error:
        raise Malformed(f"its footer cannot be read ({type(error).__name__})") from error

    covered_to = start
    for span in sorted(dictionaries + spans):
        is_described = 8 <= span.metadata_bytes <= MAX_METADATA_BYTES
        if span.start < covered_to or not is_described or span.body_bytes < 0:
            raise Malformed("its footer contradicts itself")
        if span.start - covered_to > MAX_PADDING_BYTES:
            raise Malformed("its footer leaves out record batches")
        covered_to = span.start + span.metadata_bytes + span.body_bytes

    if spans != sorted(spans) or covered_to > end:
        raise Malformed("its footer contradicts itself")
    if end - covered_to > MAX_PADDING_BYTES:
        raise Malformed("its footer leaves out record batches")
    return spans


def _span(footer: bytes, offset: int) -> BatchSpan:
    return BatchSpan(*unpack_from("<qi4xq", footer, offset))


def batch_rows(metadata: bytes, span: BatchSpan, has_columns: bool) -> int:
    """Return the rows of a record batch; Malformed where its metadata contradicts itself."""
    try:
        start = 8 if metadata.startswith(CONTINUATION) else 4
        message = Table.root(metadata[start:])
        batch = message.table(2)
        rows = batch.integer(0, "<q")
        columns = [unpack_from("<q", batch.data, offset)[0] for offset in batch.structs(1, 16)]
        kind = message.integer(1, "<B")
        body_bytes = message.integer(3, "<q")
    except UNREAD as error:
        why = f"the record batch cannot be read ({type(error).__name__})"
        raise Malformed(why) from error

    # The first length is that of the first column; others may be of the lists within it.
    is_row_count = columns[0] == rows if columns else not has_columns
    if kind != RECORD_BATCH or body_bytes > span.body_bytes or not is_row_count:
        raise Malformed("the record batch contradicts itself")
    if not 0 <= rows < MAX_GROUP_ROWS:
        raise Malformed(f"the record batch has {rows} rows")
    return rows


class Table:
    """A table of FlatBuffers: fields by number, each found through the table's own index."""

    def __init__(self, data: bytes, offset: int) -> None:
        self.data = data
        self._offset = offset
        self._index = offset - self._number("<i", offset)

    @classmethod
    def root(cls, data: bytes) -> "Table":
        """Return the outermost table of a buffer."""
        return cls(data, int(unpack_from("<I", data, 0)[0]))

    def integer(self, field: int, kind: str) -> int:
        """Return a number, 0 where the field is missing."""
        offset = self._field(field)
        return self._number(kind, offset) if offset else 0

    def table(self, field: int) -> "Table":
        """Return a table that a field refers to; ValueError where the field is missing."""
        offset = self._field(field)
        if not offset:
            raise ValueError(f"no field {field}")
        return Table(self.data, offset + self._number("<I", offset))

    def structs(self, field: int, size: int) -> range:
        """Return where the structs of a list of them stand, each of so many bytes."""
        offset = self._field(field)
        if not offset:
            return range(0)

        start = offset + self._number("<I", offset)
        end = start + 4 + self._number("<I", start) * size
        if end > len(self.data):
            raise ValueError("list breaks off")
        return range(start + 4, end, size)

    def _field(self, field: int) -> int:
        """Return where a field stands, 0 where it is missing."""
        place = 4 + 2 * field
        if place >= self._number("<H", self._index):
            return 0
        offset = self._number("<H", self._index + place)
        return self._offset + offset if offset else 0

    def _number(self, kind: str, offset: int) -> int:
        if offset < 0:  # which would count from the end
            raise ValueError("offset below zero")
        return int(unpack_from(kind, self.data, offset)[0])
