"""Containers (Parquet, ORC, Avro, Arrow) as bytes, and what our readers make of them."""

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import fastavro
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import orc

from workers.sources.formats.containers.kinds import READERS
from workers.sources.formats.header import Columns
from workers.sources.formats.rows import Rows
from workers.sources.items import ItemReader
from workers.values import Block, ByteRange, Place

AVRO_MARKER = b"marker of a test"  # else each file has one of its own


class Shelf:
    """A store of one block, which counts what it is asked for."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.asked: list[tuple[int, int]] = []

    def open(self, key: str, etag: str, start: int, end: int) -> io.BytesIO:
        assert 0 <= start < end <= len(self.body)
        self.asked.append((start, end))
        return io.BytesIO(self.body[start:end])

    def open_whole(self, key: str) -> io.BytesIO:
        return io.BytesIO(self.body)


# Writing


def parquet_body(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **{"row_group_size": 100} | options)
    return file.getvalue()


def orc_body(table: pa.Table, **options: Any) -> bytes:
    """Return ORC with stripes of about 1,000 rows."""
    file = io.BytesIO()
    orc.write_table(table, file, **{"stripe_size": 1, "batch_size": 1_000} | options)
    return file.getvalue()


def arrow_body(table: pa.Table, chunk_rows: int = 100, compression: str | None = None) -> bytes:
    file = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(file, table.schema, options=options) as writer:
        writer.write_table(table, chunk_rows)
    return file.getvalue()


def avro_body(
    schema: dict[str, Any],
    records: Sequence[dict[str, Any]],
    codec: str = "null",
    block_bytes: int = 1_000,
) -> bytes:
    file = io.BytesIO()
    fastavro.writer(
        file, schema, records, codec=codec, sync_interval=block_bytes, sync_marker=AVRO_MARKER
    )
    return file.getvalue()


def avro_schema(**types: Any) -> dict[str, Any]:
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    return {"type": "record", "name": "Item", "fields": fields}


ARROW_BODIES: dict[str, Callable[[pa.Table], bytes]] = {
    "parquet": parquet_body,
    "orc": orc_body,
    "arrow": arrow_body,
}


# Reading


def block_of(body: bytes) -> Block:
    return Block(key="block", etag="e", size=len(body))


def runs_of(
    kind: str, body: bytes, columns: Columns, start: int = 0, end: int | None = None
) -> Iterator[Rows]:
    range_ = ByteRange(
        key="block",
        etag="e",
        size=len(body),
        start=start,
        end=len(body) if end is None else end,
        items=1,
    )
    return READERS[kind](Shelf(body), range_, columns)


def rows_by_place(
    kind: str, body: bytes, names: Sequence[str], edges: Sequence[int] = ()
) -> dict[Place, dict[str, Any] | str]:
    """Return the rows of a block that is cut at some edges, by their places: no two have one."""
    rows: dict[Place, dict[str, Any] | str] = {}
    for start, end in pairwise([0, *sorted(edges), len(body)]):
        for run in runs_of(kind, body, Columns(tuple(names)), start, end):
            for number, row in enumerate(run.rows):
                assert run.place(number) not in rows
                rows[run.place(number)] = row
    return rows


def items_of(kind: str, body: bytes, item: type[msgspec.Struct]) -> tuple[list[Any], list[str]]:
    """Return the items of a block, and why others are none."""
    reader = ItemReader(item)
    items: list[Any] = []
    reasons: list[str] = []
    for run in runs_of(kind, body, reader.columns):
        items += reader.items(run, lambda _place, _raw, reason: reasons.append(reason)).items
    return items, reasons
