"""Avro's Object Container Files: blocks of records between markers, cut anywhere.

A block of records belongs to the range in which it starts. Where one is damaged, its number of
records may be too, and all that follows is unknown. A block of records is held in memory whole.
"""

import io
from collections.abc import Iterator
from typing import Any

from workers.errors import Malformed
from workers.sources.formats.containers.avro_codecs import plain_data
from workers.sources.formats.containers.avro_framing import (
    HEAD_BYTES,
    MAX_BLOCK_BYTES,
    AvroBlock,
    Window,
    block_at,
    first_start,
    header_of,
    parsed_block,
    parsed_header,
)
from workers.sources.formats.containers.avro_schema import AvroSchema, schema_of
from workers.sources.formats.containers.groups import CHUNK_ROWS
from workers.sources.formats.header import Columns, check_header
from workers.sources.formats.rows import Rows
from workers.store import Opener
from workers.values import Place, PlaceKind, Range

MAX_EMPTY_RECORDS = 1 << 20  # records of a block that take no bytes; more are damage
# Plain bytes of a compressed one, where a sample does not reach the end of a block of records.
GUESSED_RATIO = 4.0


def read_avro(store: Opener, range_: Range, columns: Columns) -> Iterator[Rows]:
    """Yield the records of the blocks that start in a range, with the wanted columns.

    Malformed where a block of records contradicts itself, or does not end with the marker.
    """
    data = Window(store, range_)
    header = header_of(data)
    start = first_start(data, header, range_)
    if start >= range_.end:
        return

    try:
        schema = schema_of(header.schema, columns)
    except Malformed as error:
        raise Malformed(f"not Avro: {error}", Place.rest(0)) from error
    warnings = check_header(schema.names, columns)
    if range_.start > header.bytes:  # the range with the block's first records says it
        warnings = ()

    while start < range_.end:
        block = block_at(data, start, header)
        for first, rows in _read_block(data, block, header.codec, schema):
            positions = [f"{first + n} of the block at byte {start}" for n in range(len(rows))]
            yield Rows(rows, PlaceKind.ROW, positions, is_text=False, warnings=warnings)
            warnings = ()
        start = block.end


def avro_density(head: bytes) -> tuple[float, float]:
    """Return the items and the plain bytes of a byte of a file, from its first bytes.

    Where they hold no whole block of records, plain bytes are a guess; 0 and 1 where they hold
    no beginning of one.
    """
    items = 0
    plain_bytes = 0.0
    block_bytes = 0
    try:
        header = parsed_header(head)
        end = header.bytes
        while end < len(head):
            block = parsed_block(head[end : end + HEAD_BYTES], end)
            if block.end > len(head) and items:
                break
            items += block.records
            block_bytes += block.end - end
            plain_bytes += _plain_bytes(head, block, header.codec)
            end = block.end
    except (Malformed, EOFError):
        pass  # for the worker to say
    return items / max(block_bytes, 1), plain_bytes / block_bytes if block_bytes else 1.0


def _plain_bytes(head: bytes, block: AvroBlock, codec: str) -> float:
    if codec == "null":
        return block.records_bytes
    if block.end > len(head):
        return block.records_bytes * GUESSED_RATIO
    return len(plain_data(head[block.data_start : block.data_end], codec, MAX_BLOCK_BYTES))


def _read_block(
    data: Window, block: AvroBlock, codec: str, schema: AvroSchema
) -> Iterator[tuple[int, list[dict[str, Any] | str]]]:
    """Yield the records of a block, some at a time, each time with the number of the first."""
    first = 0
    rows: list[dict[str, Any] | str] = []
    try:
        for row in _records(data, block, codec, schema):
            rows.append(row)
            if len(rows) == CHUNK_ROWS:
                yield first, rows
                first += len(rows)
                rows = []
    except Malformed:
        if rows:
            yield first, rows
        raise
    if rows:
        yield first, rows


def _records(
    data: Window, block: AvroBlock, codec: str, schema: AvroSchema
) -> Iterator[dict[str, Any] | str]:
    """Yield the records of a block.

    Malformed where its data cannot be decoded, or is that of another number of records than it
    says: either may be at fault, so nobody knows how many there were.
    """
    try:
        plain = plain_data(data.between(block.data_start, block.data_end), codec, MAX_BLOCK_BYTES)
    except Malformed as error:
        raise _damaged(block, error.reason) from error
    _check_count(block, len(plain), schema)

    stream = io.BytesIO(plain)
    for read in range(block.records):
        if schema.least_bytes and stream.tell() == len(plain):
            raise _damaged(block, f"it says that it has {block.records} records, and has {read}")
        try:
            row = _record(stream, schema)
        except Exception as error:  # whatever decoding raises concerns these bytes
            raise _damaged(block, f"{type(error).__name__}: {error}") from error
        yield row

    if stream.tell() < len(plain):
        raise _damaged(block, f"it says that it has {block.records} records, and has more")


def _damaged(block: AvroBlock, why: str) -> Malformed:
    return Malformed(f"the block of records is damaged: {why}", Place.rest(block.start))


def _check_count(block: AvroBlock, plain_bytes: int, schema: AvroSchema) -> None:
    """Refuse a number of records that cannot be in so many bytes."""
    most = plain_bytes // schema.least_bytes if schema.least_bytes else MAX_EMPTY_RECORDS
    if block.records > most:
        why = f"it says that it has {block.records} records, in {plain_bytes} bytes"
        raise _damaged(block, why)


def _record(stream: io.BytesIO, schema: AvroSchema) -> dict[str, Any] | str:
    """Return the next record, or why a value of it cannot be had; any error where it is damaged."""
    start = stream.tell()
    try:
        record = schema.read(stream, schema.values, None)
    except Exception as error:  # noqa: BLE001  a value that Python does not have, or damage
        stream.seek(start)
        schema.read(stream, schema.bare, None)
        return f"{type(error).__name__}: {error}"
    return {name: record[name] for name in schema.wanted}
