"""Groups of rows: Parquet's row groups, ORC's stripes, Arrow's record batches.

A group belongs to the range in which its first byte lies. Its rows are known in number before it
is read, so that each row of a damaged group is accounted for; the other groups are still read.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from workers.errors import Malformed
from workers.sources.formats.header import Columns, check_header
from workers.sources.formats.rows import Rows
from workers.store import Opener
from workers.values import Block, PlaceKind, Range

CHUNK_ROWS = 10_000  # rows held at a time
MAX_GROUP_ROWS = 1 << 31  # rows of a group; a larger number is damage
TAIL_BYTES = 64 << 10  # bytes at a block's end that are read at once: mostly all its footer

# What Arrow raises for bytes that are not what they should be; a size that no memory could hold
# is one of them. S3's errors are ours, and pass.
DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError, RuntimeError, MemoryError)


class Group(NamedTuple):
    """A group of rows: it belongs to the range in which the byte `start` lies."""

    start: int
    # The number of its first row in the file.
    row: int
    rows: int


class Container(NamedTuple):
    """An opened block: its groups, its columns, and how a group's rows are read."""

    # What its format calls a group.
    noun: str
    # By number; at least those of the range that is read.
    groups: Mapping[int, Group]
    names: Sequence[str]
    # Yields the rows of a group, by its number, with the wanted columns.
    batches: Callable[[int, list[str]], Iterator[pa.RecordBatch]]
    # The places of rows count from the file's first one; else from their group's.
    is_numbered: bool = True


def placed(counts: Sequence[int], starts: Sequence[int], size: int) -> list[Group]:
    """Return groups whose starts rise and lie within the file, wherever they are said to be."""
    if len(counts) > size:
        raise Malformed("it has more groups of rows than bytes")

    groups = []
    row = 0
    least_start = 0
    for number, (count, named_start) in enumerate(zip(counts, starts, strict=True)):
        start = min(max(named_start, least_start), size - len(counts) + number)
        groups.append(Group(start, row, count))
        row += count
        least_start = start + 1
    return groups


def read_groups(container: Container, range_: Range, columns: Columns) -> Iterator[Rows]:
    """Yield the rows of the groups that start in a range, with the wanted columns.

    The first rows of the block bring what its header warns of.
    """
    numbers = [
        number
        for number, group in container.groups.items()
        if range_.start <= group.start < range_.end
    ]
    if not numbers:
        return

    warnings = check_header(container.names, columns)
    if min(numbers):  # the run that holds the block's first rows says it
        warnings = ()
    wanted = [name for name in container.names if name in set(columns.names)]
    for number in numbers:
        next_row = 0
        for rows in _read_group(container, number, wanted):
            positions = _positions(container, number, next_row, len(rows))
            next_row += len(rows)
            yield Rows(
                rows,
                PlaceKind.ROW,
                positions,
                is_text=False,
                warnings=warnings,
                verbatim=columns.verbatim,
            )
            warnings = ()


def _positions(
    container: Container, number: int, first_row: int, count: int
) -> Sequence[int] | Sequence[str]:
    """Return the positions of rows of a group, from one of its rows on."""
    rows = range(first_row, first_row + count)
    if not container.is_numbered:
        return [f"{row} of {container.noun} {number}" for row in rows]

    group_row = container.groups[number].row
    return range(group_row + rows.start, group_row + rows.stop)


def _read_group(
    container: Container, number: int, wanted: list[str]
) -> Iterator[pa.RecordBatch | list[dict[str, Any] | str]]:
    """Yield as many rows as a group has; those that cannot be read are the reason."""
    unread = container.groups[number].rows
    reason = f"the {container.noun} ends early"
    try:
        if wanted and unread:
            for batch in container.batches(number, wanted):
                for first_row in range(0, batch.num_rows, CHUNK_ROWS):
                    rows = batch.slice(first_row, min(CHUNK_ROWS, unread))
                    yield rows
                    unread -= len(rows)
    except DAMAGE as error:
        reason = f"the {container.noun} is damaged: {error}"

    while unread:
        chunk = min(unread, CHUNK_ROWS)
        yield [reason] * chunk if wanted else [{} for _ in range(chunk)]
        unread -= chunk


class S3File(io.RawIOBase):
    """A block as a file to seek in; each read is one request for just that range.

    The end of the block is asked for once.
    """

    def __init__(self, store: Opener, block: Block | Range) -> None:
        self._store = store
        self._block = block
        self._offset = 0
        self._tail_start = max(block.size - TAIL_BYTES, 0)
        self._tail = b""
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._block.size}
        self._offset = bases[whence] + offset
        return self._offset

    def read(self, size: int = -1) -> bytes:
        end = self._block.size if size < 0 else min(self._offset + size, self._block.size)
        if end <= self._offset:
            return b""

        data = self.between(self._offset, end)
        self._offset = end
        return data

    def between(self, start: int, end: int) -> bytes:
        """Return the bytes from start to end (exclusive) of the block."""
        if start >= end:  # S3 has no request for no bytes
            return b""
        if start < self._tail_start:
            return self._get(start, end)

        self._tail = self._tail or self._get(self._tail_start, self._block.size)
        return self._tail[start - self._tail_start : end - self._tail_start]

    def _get(self, start: int, end: int) -> bytes:
        body = self._store.open(self._block.key, self._block.etag, start, end)
        try:
            data = body.read()
        finally:
            body.close()
        self.bytes_read += len(data)
        return data
