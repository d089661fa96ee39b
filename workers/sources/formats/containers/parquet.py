"""Parquet: read row groups through ranged requests, a few thousand rows at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from workers.errors import Malformed
from workers.sources.formats.containers.groups import (
    CHUNK_ROWS,
    DAMAGE,
    Container,
    Group,
    S3File,
    read_groups,
)
from workers.sources.formats.containers.parquet_footer import footer_bytes, read_footer
from workers.sources.formats.header import Columns
from workers.sources.formats.rows import Rows
from workers.store import Opener
from workers.values import Block, Place, Range

BUFFER_BYTES = 1 << 20  # bytes of a column that Arrow asks for at a time
# Spark's and Impala's times of 96 bits, which reach beyond the years 1677 to 2262 of nanoseconds:
# there Arrow wraps them around in silence.
INT96_UNIT = "us"


class Parquet(NamedTuple):
    """An opened block: Arrow's reader, and the row groups that its footer says it has."""

    file: pq.ParquetFile
    groups: list[Group]


def open_parquet(store: Opener, block: Block | Range) -> Parquet:
    """Open a block by its footer; Malformed where there is none that can be right."""
    size = block.size
    raw = S3File(store, block)

    try:
        ending = raw.between(max(size - 8, 0), size)
        footer = raw.between(size - footer_bytes(ending, size), size)
        groups = read_footer(footer, size)
        file = pq.ParquetFile(
            pa.PythonFile(raw, mode="r"),
            buffer_size=BUFFER_BYTES,
            coerce_int96_timestamp_unit=INT96_UNIT,
            page_checksum_verification=True,
        )
    except (Malformed, *DAMAGE) as error:
        raise Malformed(f"not Parquet: {error}", Place.rest(0)) from error
    return Parquet(file, groups)


def parquet_groups(store: Opener, block: Block | Range) -> list[Group]:
    """Return the row groups of a block; Malformed where its footer cannot be right."""
    return open_parquet(store, block).groups


def read_parquet(store: Opener, range_: Range, columns: Columns) -> Iterator[Rows]:
    """Yield the rows of the row groups that start in a range, with the wanted columns."""
    file, groups = open_parquet(store, range_)

    def batches(number: int, wanted: list[str]) -> Iterator[pa.RecordBatch]:
        yield from file.iter_batches(CHUNK_ROWS, row_groups=[number], columns=wanted)

    container = Container("row group", dict(enumerate(groups)), file.schema_arrow.names, batches)
    yield from read_groups(container, range_, columns)
