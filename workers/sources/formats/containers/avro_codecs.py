"""The codecs of Avro: the plain bytes of one block of records, bounded."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

import pyarrow as pa

from workers.errors import Malformed
from workers.sources.formats.plain.compression import BROKEN, MAX_XZ_BYTES

CHECKSUM_BYTES = 4  # bytes behind what Snappy compressed, of what it was


class Decoder(Protocol):
    """What bz2 and lzma offer: decompresses one stream."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def plain_data(data: bytes, codec: str, most: int) -> bytes:
    """Return what a codec compressed; Malformed where it is damaged, or more than so many bytes."""
    if codec == "null":
        return data

    try:
        plain = CODECS[codec](data, most + 1)
    except BROKEN as error:
        raise Malformed(f"its {codec} data cannot be read: {error}") from error
    if len(plain) > most:
        raise Malformed(f"it holds more than {most >> 20} MB")
    return plain


def _deflate(data: bytes, most: int) -> bytes:
    decoder = zlib.decompressobj(wbits=-15)
    # Some writers, fastavro one of them, leave a part of zlib's checksum behind.
    return _whole(decoder, decoder.decompress(data, most), most, CHECKSUM_BYTES)


def _bzip2(data: bytes, most: int) -> bytes:
    decoder = bz2.BZ2Decompressor()
    return _whole(decoder, decoder.decompress(data, most), most)


def _xz(data: bytes, most: int) -> bytes:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_BYTES)
    return _whole(decoder, decoder.decompress(data, most), most)


def _whole(
    decoder: "Decoder | zlib._Decompress", plain: bytes, most: int, spare_bytes: int = 0
) -> bytes:
    """Return plain bytes that are all there is; EOFError where they end early."""
    is_complete = decoder.eof and len(decoder.unused_data) <= spare_bytes
    if len(plain) < most and not is_complete:
        raise EOFError("it does not end where it should")
    return plain


def _snappy(data: bytes, most: int) -> bytes:
    body = data[:-CHECKSUM_BYTES]
    length = _snappy_length(body)
    if length >= most:
        return bytes(most)

    plain = bytes(pa.decompress(body, length, "snappy"))
    if zlib.crc32(plain).to_bytes(CHECKSUM_BYTES, "big") != data[-CHECKSUM_BYTES:]:
        raise OSError("its checksum is another")
    return plain


def _snappy_length(data: bytes) -> int:
    """Return how long data are, plain: the number that Snappy begins with."""
    length = 0
    for number, byte in enumerate(data[:5]):
        length |= (byte & 127) << 7 * number
        if byte < 128:
            return length
    raise OSError("it does not say how long it is")


def _zstandard(data: bytes, most: int) -> bytes:
    with pa.input_stream(pa.BufferReader(data), compression="zstd") as stream:
        return bytes(stream.read(most))


CODECS: dict[str, Callable[[bytes, int], bytes]] = {
    "null": lambda data, _: data,
    "deflate": _deflate,
    "bzip2": _bzip2,
    "xz": _xz,
    "snappy": _snappy,
    "zstandard": _zstandard,
}
