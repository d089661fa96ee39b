"""Parquet: read row groups through ranged requests, a few thousand rows at a time.

A row group belongs to the range in which its first byte lies.
"""

import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from workers.blocks import BlockStore
from workers.errors import Malformed
from workers.items import Rows
from workers.model import Range

ROWS = 10_000  # rows held at a time


class S3File(io.RawIOBase):
    """A block as a file to seek in; each read is one request for just that range."""

    def __init__(self, store: BlockStore, cut: Range) -> None:
        self._store, self._cut, self._at = store, cut, 0

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
        body = self._store.open(self._cut.key, self._cut.etag, self._at, end)
        data = body.read()
        self._at = end
        return data


def open_parquet(store: BlockStore, cut: Range) -> pq.ParquetFile:
    """Open a block's footer; Malformed where there is none."""
    try:
        file = pa.PythonFile(S3File(store, cut), mode="r")
        return pq.ParquetFile(file, buffer_size=1 << 20)
    except (pa.ArrowInvalid, OSError) as error:
        raise Malformed(f"byte 0 to the end: not Parquet: {error}") from error


def row_groups(file: pq.ParquetFile) -> list[tuple[int, int, int]]:
    """Return (first byte, first row, rows) of each row group."""
    groups, row = [], 0
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        chunks = [group.column(c) for c in range(group.num_columns)]
        start = min(c.dictionary_page_offset or c.data_page_offset for c in chunks)
        groups.append((start, row, group.num_rows))
        row += group.num_rows
    return groups


def read(store: BlockStore, cut: Range, columns: Sequence[str]) -> Iterator[Rows]:
    """Yield the rows of the row groups that start in a range, with the wanted columns."""
    file = open_parquet(store, cut)
    wanted = [name for name in file.schema_arrow.names if name in set(columns)]
    for number, (start, row, _) in enumerate(row_groups(file)):
        if not cut.start <= start < cut.end:
            continue
        at = row
        try:
            for batch in file.iter_batches(ROWS, row_groups=[number], columns=wanted):
                rows = batch.to_pylist() if wanted else [{}] * len(batch)
                places = [f"row {at + n}" for n in range(len(rows))]
                yield Rows(rows, places, is_text=False)
                at += len(rows)
        except (pa.ArrowInvalid, OSError) as error:
            raise Malformed(f"row {at} to the end: {error}") from error
