"""Compressed bytes to plain ones, a chunk at a time.

Members and frames one after another read as one stream. What ends early gives all that was good
first, and then says so; what is damaged gives what came before the damaged step.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pyarrow as pa

from workers.errors import Malformed
from workers.store import Bytes

CHUNK_BYTES = 2 << 20  # bytes read, and decompressed, at a time: bounds a worker's memory
# Compressed bytes taken in one step; it is fixed, as where damage is noticed depends on it.
STEP_BYTES = 64 << 10
MAX_XZ_BYTES = 512 << 20  # bytes an xz stream may ask for; `xz -9` needs 65 MB
SUFFIXES = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
# OSError is what bz2 and Arrow raise for bytes that are not theirs; S3's errors are ours.
BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, pa.ArrowException)


class Decoder(Protocol):
    """What bz2 and lzma offer: decompresses one member."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Gzip:
    """A decoder of one gzip member."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        plain = self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)
        self.needs_input = len(plain) < max_length
        return plain


DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": Gzip,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_BYTES),
}


def decompress(body: Bytes, compression: str = "") -> Iterator[bytes]:
    """Yield what a body holds, decompressed, and close it; Malformed where it breaks off."""
    try:
        if compression in DECODERS:
            yield from _members(body, DECODERS[compression])
        else:
            read = _zstd(body) if compression else body.read
            while chunk := read(CHUNK_BYTES):
                yield chunk
    except BROKEN as error:
        raise Malformed(f"the {compression} stream breaks off: {error}") from error
    finally:
        body.close()


def _members(body: Bytes, new_decoder: Callable[[], Decoder]) -> Iterator[bytes]:
    """Yield the plain bytes of every member; zeros behind one are padding.

    Anything else behind one is damage. (BZ2File and LZMAFile take it for the end, in silence.)
    """
    decoder: Decoder | None = None
    is_first = True
    while data := body.read(STEP_BYTES):
        while data or (decoder and not decoder.needs_input):
            if decoder is None:
                data = data if is_first else data.lstrip(b"\0")
                if not data:
                    break
                decoder = new_decoder()
                is_first = False

            if plain := decoder.decompress(data, CHUNK_BYTES):
                yield plain
            data = b""
            if decoder.eof:
                data = decoder.unused_data
                decoder = None

    if decoder:
        raise EOFError("it ends early")


def _zstd(body: Any) -> Callable[[int], bytes]:
    # Arrow notices a frame that ends early. It fills what it is asked for, and what it had so far
    # is lost with an error, hence small reads.
    stream = pa.CompressedInputStream(pa.PythonFile(body, mode="r"), "zstd")
    return lambda size: bytes(stream.read(min(size, STEP_BYTES)))
