"""Parquet: read row groups through ranged requests, a few thousand rows at a time.

A row group belongs to the range in which its first byte lies. The footer says how many rows there
are, so that each row of a damaged row group is accounted for; the other row groups are still read.
"""

import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from workers.errors import Malformed
from workers.sources.formats.parquet_footer import Group, footer_bytes, read_footer
from workers.sources.formats.rows import Rows
from workers.store import BlockStore
from workers.values import Place, PlaceKind, Range

CHUNK_ROWS = 10_000  # rows held at a time
TAIL_BYTES = 64 << 10  # bytes at a block's end that are read at once: mostly all its footer
BUFFER_BYTES = 1 << 20  # bytes of a column that Arrow asks for at a time

# What Arrow raises for bytes that are not what they should be; a size that no memory could hold
# is one of them. S3's errors are ours, and pass.
DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError, RuntimeError, MemoryError)


class S3File(io.RawIOBase):
    """A block as a file to seek in; each read is one request for just that range.

    The end of the block is asked for once.
    """

    def __init__(self, store: BlockStore, range_: Range) -> None:
        self._store = store
        self._range = range_
        self._offset = 0
        self._tail_start = max(range_.size - TAIL_BYTES, 0)
        self._tail = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._range.size}
        self._offset = bases[whence] + offset
        return self._offset

    def read(self, size: int = -1) -> bytes:
        end = self._range.size if size < 0 else min(self._offset + size, self._range.size)
        if end <= self._offset:
            return b""

        data = self.between(self._offset, end)
        self._offset = end
        return data

    def between(self, start: int, end: int) -> bytes:
        """Return the bytes from start to end (exclusive) of the block."""
        if start < self._tail_start:
            return self._get(start, end)

        self._tail = self._tail or self._get(self._tail_start, self._range.size)
        return self._tail[start - self._tail_start : end - self._tail_start]

    def _get(self, start: int, end: int) -> bytes:
        body = self._store.open(self._range.key, self._range.etag, start, end)
        try:
            return body.read()
        finally:
            body.close()


class Parquet(NamedTuple):
    """An opened block: Arrow's reader, and the row groups that its footer says it has."""

    file: pq.ParquetFile
    groups: list[Group]


def open_parquet(store: BlockStore, range_: Range) -> Parquet:
    """Open a range's block by its footer; Malformed where there is none that can be right."""
    size = range_.size
    raw = S3File(store, range_)

    try:
        ending = raw.between(max(size - 8, 0), size)
        footer = raw.between(size - footer_bytes(ending, size), size)
        groups = read_footer(footer, size)
        file = pq.ParquetFile(
            pa.PythonFile(raw, mode="r"),
            buffer_size=BUFFER_BYTES,
            page_checksum_verification=True,
        )
    except (Malformed, *DAMAGE) as error:
        raise Malformed(f"not Parquet: {error}", Place.rest(0)) from error
    return Parquet(file, groups)


def read_parquet(store: BlockStore, range_: Range, columns: Sequence[str]) -> Iterator[Rows]:
    """Yield the rows of the row groups that start in a range, with the wanted columns."""
    file, groups = open_parquet(store, range_)
    wanted = [name for name in file.schema_arrow.names if name in set(columns)]

    for number, group in enumerate(groups):
        if not range_.start <= group.start < range_.end:
            continue
        first_row = group.row
        for rows in _read_group(file, number, group.rows, wanted):
            next_row = first_row + len(rows)
            yield Rows(rows, PlaceKind.ROW, range(first_row, next_row), is_text=False)
            first_row = next_row


def _read_group(
    file: pq.ParquetFile, number: int, count: int, wanted: list[str]
) -> Iterator[list[dict[str, Any] | str]]:
    """Yield `count` rows; those that cannot be read are the reason."""
    unread = count
    reason = "the row group ends early"
    try:
        if wanted:
            for batch in file.iter_batches(CHUNK_ROWS, row_groups=[number], columns=wanted):
                rows = _values(batch)[:unread]
                yield rows
                unread -= len(rows)
    except DAMAGE as error:
        reason = f"the row group is damaged: {error}"

    while unread:
        chunk = min(unread, CHUNK_ROWS)
        yield [reason] * chunk if wanted else [{} for _ in range(chunk)]
        unread -= chunk


def _values(batch: pa.RecordBatch) -> list[dict[str, Any] | str]:
    """Return rows as Python's values; what has none, such as the year 10000, is the reason."""
    try:
        rows: list[dict[str, Any] | str] = batch.to_pylist()
    except Exception as error:  # noqa: BLE001  whatever converting raises concerns these values
        if len(batch) == 1:
            return [f"{type(error).__name__}: {error}"]
        half = len(batch) // 2
        return _values(batch.slice(0, half)) + _values(batch.slice(half))
    return rows
