"""Compressed bytes to plain ones, a piece at a time.

Members and frames one after another read as one stream. What breaks off gives all that was good
first, and then says so.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from workers.blocks import Bytes
from workers.errors import Malformed

PIECE = 2 << 20  # bytes read, and decompressed, at a time: bounds a worker's memory
SUFFIXES = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
# OSError is what gzip, bz2 and Arrow raise for bytes that are not theirs; S3's errors are ours.
BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError)


def pieces(body: Bytes, compression: str = "") -> Iterator[bytes]:
    """Yield what a body holds, decompressed, and close it; Malformed where it breaks off."""
    try:
        read = READERS[compression](body)
        while piece := read(PIECE):
            yield piece
    except BROKEN as error:
        raise Malformed(f"the {compression} stream breaks off: {error}") from error
    finally:
        body.close()


def _zstd(body: Any) -> Callable[[int], bytes]:
    # Arrow notices a frame that ends early. It fills what it is asked for, and what it had so far
    # is lost with an error, hence small reads.
    stream = pa.CompressedInputStream(pa.PythonFile(body, mode="r"), "zstd")
    return lambda size: bytes(stream.read(min(size, 64 << 10)))


READERS: dict[str, Callable[[Any], Callable[[int], bytes]]] = {
    "": lambda body: body.read,
    "gzip": lambda body: gzip.GzipFile(fileobj=body).read1,
    "bz2": lambda body: bz2.BZ2File(body).read1,
    "xz": lambda body: lzma.LZMAFile(body).read1,  # noqa: SIM115  closed with its body
    "zstd": _zstd,
}
