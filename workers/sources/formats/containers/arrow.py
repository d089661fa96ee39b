"""Arrow's file format, which is also Feather of version 2: read record batches one at a time.

Its buffers carry no checksums, so each record batch is checked as a whole before a value of it is
taken. Streams of Arrow have no footer and Feather of version 1 is another format: both are refused.
"""

from collections.abc import Iterator

import pyarrow as pa

from workers.errors import Malformed
from workers.sources.formats.containers.arrow_footer import (
    BEGINNING_BYTES,
    BatchSpan,
    batch_rows,
    batch_spans,
    footer_bytes,
    has_columns,
    schema_end,
)
from workers.sources.formats.containers.arrow_values import validated
from workers.sources.formats.containers.groups import DAMAGE, Container, Group, S3File, read_groups
from workers.sources.formats.header import Columns
from workers.sources.formats.rows import Rows
from workers.store import Opener
from workers.values import Block, Place, Range

MAX_BATCH_BYTES = 512 << 20  # bytes of a record batch, which is held in memory whole
ENDING_BYTES = 10


def arrow_groups(store: Opener, block: Block | Range) -> list[Group]:
    """Return the record batches of a block; Malformed where it does not say where they are."""
    file = _File(store, block)
    groups = []
    row = 0
    for span in file.spans:
        rows = file.rows(span)
        groups.append(Group(span.start, row, rows))
        row += rows
    return groups


def read_arrow(store: Opener, range_: Range, columns: Columns) -> Iterator[Rows]:
    """Yield the rows of the record batches that start in a range, with the wanted columns.

    Rows are numbered in their record batch, so that the metadata of others need not be read.
    Malformed at a record batch that does not say how many rows it has; those behind it are not
    read then.
    """
    file = _File(store, range_)
    names = file.names()

    groups = {}
    broken = None
    for number, span in enumerate(file.spans):
        if not range_.start <= span.start < range_.end:
            continue
        try:
            groups[number] = Group(span.start, 0, file.rows(span))
        except Malformed as error:
            broken = error
            break

    container = Container("record batch", groups, names, file.batches, is_numbered=False)
    yield from read_groups(container, range_, columns)
    if broken:
        raise broken


class _File:
    """A block by its footer, and as Arrow opens it."""

    def __init__(self, store: Opener, block: Block | Range) -> None:
        size = block.size
        self._file = S3File(store, block)
        self._arrow_file = pa.PythonFile(self._file, mode="r")
        # With the wanted columns, once some are wanted.
        self._reader: pa.ipc.RecordBatchFileReader | None = None

        try:
            length = footer_bytes(self._file.between(max(size - ENDING_BYTES, 0), size), size)
            footer = self._file.between(size - length, size - ENDING_BYTES)
            start = schema_end(self._file.between(0, min(BEGINNING_BYTES, size)))
            self._has_columns = has_columns(footer)
            self.spans = batch_spans(footer, start, size - length)
        except (Malformed, *DAMAGE) as error:
            raise Malformed(f"not an Arrow file: {error}", Place.rest(0)) from error

    def names(self) -> list[str]:
        """Return the names of its columns; Malformed where Arrow cannot open it."""
        try:
            names: list[str] = pa.ipc.open_file(self._arrow_file).schema.names
        except DAMAGE as error:
            raise Malformed(f"not an Arrow file: {error}", Place.rest(0)) from error
        return names

    def rows(self, span: BatchSpan) -> int:
        """Return the rows of a record batch; Malformed, with its place, where nobody can know."""
        metadata = self._file.between(span.start, span.start + span.metadata_bytes)
        try:
            return batch_rows(metadata, span, self._has_columns)
        except Malformed as error:
            raise Malformed(error.reason, Place.rest(span.start)) from error

    def batches(self, number: int, wanted: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield a record batch, checked; ValueError where it is too large to be held."""
        span = self.spans[number]
        if span.body_bytes > MAX_BATCH_BYTES:
            raise ValueError(f"{span.body_bytes} bytes in one record batch: write smaller ones")

        if self._reader is None:
            names = self.names()
            indices = [index for index, name in enumerate(names) if name in wanted]
            options = pa.ipc.IpcReadOptions(included_fields=indices)
            self._reader = pa.ipc.open_file(self._arrow_file, options=options)
        yield validated(self._reader.get_batch(number))
