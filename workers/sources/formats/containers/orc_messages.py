"""Bytes of ORC: chunks that are compressed, and messages of Protocol Buffers."""

import zlib
from collections.abc import Iterator
from typing import Any

import cramjam
import pyarrow as pa

from workers.errors import Malformed
from workers.sources.formats.containers.groups import DAMAGE

# What reading bytes that are not what they should be raises.
UNREAD = (*DAMAGE, TypeError, AttributeError, zlib.error, cramjam.DecompressionError)


def decompressed(data: bytes, compression: str, chunk_bytes: int) -> bytes:
    """Return plain bytes of chunks, each behind three bytes of its length, and at most so long."""
    if compression == "none":
        return data

    plain = []
    offset = 0
    while offset < len(data):
        head = int.from_bytes(data[offset : offset + 3], "little")
        offset += 3
        chunk = data[offset : offset + (head >> 1)]
        if len(chunk) < head >> 1:
            raise Malformed("a chunk of it breaks off")
        offset += len(chunk)
        plain.append(chunk if head & 1 else _plain_chunk(chunk, compression, chunk_bytes))
    return b"".join(plain)


def _plain_chunk(chunk: bytes, compression: str, most: int) -> bytes:
    if compression == "zlib":
        return zlib.decompressobj(wbits=-15).decompress(chunk, most)
    if compression == "zstd":
        return bytes(pa.input_stream(pa.BufferReader(chunk), compression="zstd").read(most))

    if compression == "lz4":
        return bytes(cramjam.lz4.decompress_block(chunk, output_len=most))
    if compression == "snappy":
        # Its first bytes say how long it is.
        length = varint_at(chunk, 0)[0]
        if length > most:
            raise Malformed("a chunk of it is longer than it may be")
        return bytes(pa.decompress(chunk, length, "snappy"))
    raise Malformed(f"it is compressed with {compression}, which is not read")


def fields_of(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a message of Protocol Buffers: numbers, and the bytes of others."""
    offset = 0
    while offset < len(data):
        key, offset = varint_at(data, offset)
        kind = key & 7
        if kind == 0:
            value, offset = varint_at(data, offset)
            yield key >> 3, value
            continue

        if kind == 2:
            length, offset = varint_at(data, offset)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"field of kind {kind}")
        if offset + length > len(data):
            raise ValueError("field breaks off")
        yield key >> 3, data[offset : offset + length]
        offset += length


def varint_at(data: bytes, offset: int) -> tuple[int, int]:
    """Return the number at an offset, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[offset + shift // 7]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, offset + shift // 7 + 1
    raise ValueError("number of more than 64 bits")
