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
from workers.values import Range

ROWS = 10_000  # rows held at a time
TAIL = 64 << 10  # bytes at the end of a block that are asked for at once: mostly all its footer

# What Arrow raises for bytes that are not what they should be; a size that no memory could hold
# is one of them. S3's errors are ours, and pass.
DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError, RuntimeError, MemoryError)


class S3File(io.RawIOBase):
    """A block as a file to seek in; each read is one request for just that range.

    The end of the block is asked for once.
    """

    def __init__(self, store: BlockStore, cut: Range) -> None:
        self._store, self._cut, self._at = store, cut, 0
        self._tail_start = max(cut.size - TAIL, 0)
        self._tail = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._cut.size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._cut.size if size < 0 else min(self._at + size, self._cut.size)
        if end <= self._at:
            return b""
        data = self.between(self._at, end)
        self._at = end
        return data

    def between(self, start: int, end: int) -> bytes:
        """Return the bytes from start to end (exclusive) of the block."""
        if start < self._tail_start:
            return self._get(start, end)
        self._tail = self._tail or self._get(self._tail_start, self._cut.size)
        return self._tail[start - self._tail_start : end - self._tail_start]

    def _get(self, start: int, end: int) -> bytes:
        body = self._store.open(self._cut.key, self._cut.etag, start, end)
        try:
            return body.read()
        finally:
            body.close()


class Parquet(NamedTuple):
    """An opened block: Arrow's reader, and the row groups that its footer says it has."""

    file: pq.ParquetFile
    groups: list[Group]


def open_parquet(store: BlockStore, cut: Range) -> Parquet:
    """Open a block by its footer; Malformed where there is none, or one that cannot be right."""
    raw = S3File(store, cut)
    try:
        ending = raw.between(max(cut.size - 8, 0), cut.size)
        tail = raw.between(cut.size - footer_bytes(ending, cut.size), cut.size)
        groups = read_footer(tail, cut.size)
        file = pa.PythonFile(raw, mode="r")
        return Parquet(
            pq.ParquetFile(file, buffer_size=1 << 20, page_checksum_verification=True), groups
        )
    except (Malformed, *DAMAGE) as error:
        raise Malformed(f"byte 0 to the end: not Parquet: {error}") from error


def row_groups(opened: Parquet) -> list[Group]:
    """Return (first byte, first row, rows) of each row group."""
    return opened.groups


def read_parquet(store: BlockStore, cut: Range, columns: Sequence[str]) -> Iterator[Rows]:
    """Yield the rows of the row groups that start in a range, with the wanted columns."""
    file, groups = open_parquet(store, cut)
    wanted = [name for name in file.schema_arrow.names if name in set(columns)]
    for number, group in enumerate(groups):
        if not cut.start <= group.start < cut.end:
            continue
        done = 0
        for rows in _read_group(file, number, group.rows, wanted):
            first = group.row + done
            places = [f"row {row}" for row in range(first, first + len(rows))]
            yield Rows(rows, places, is_text=False)
            done += len(rows)


def _read_group(
    file: pq.ParquetFile, number: int, count: int, wanted: list[str]
) -> Iterator[list[dict[str, Any] | str]]:
    """Yield `count` rows; those that cannot be read are the reason."""
    left, why = count, "the row group ends early"
    try:
        if wanted:
            for batch in file.iter_batches(ROWS, row_groups=[number], columns=wanted):
                rows = _values(batch)[:left]
                yield rows
                left -= len(rows)
    except DAMAGE as error:
        why = f"the row group is damaged: {error}"
    while left:
        some = min(left, ROWS)
        yield [why] * some if wanted else [{} for _ in range(some)]
        left -= some


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
