"""Compressed bytes to plain ones, a chunk at a time.

Members and frames one after another read as one stream. What ends early gives all that was good
first, and then says so; what is damaged gives what came before the damaged step.
"""

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import cramjam
import pyarrow as pa

from workers.errors import Malformed, Refused
from workers.sources.formats.plain.buffered import Buffered
from workers.sources.formats.plain.snappy import JAVA_START, STREAM_START, snappy_chunks
from workers.store import Bytes

CHUNK_BYTES = 2 << 20  # bytes read, and decompressed, at a time: bounds a worker's memory
# Compressed bytes taken in one step; it is fixed, as where damage is noticed depends on it.
STEP_BYTES = 64 << 10
# Plain bytes asked of Arrow at a time: what of them was good is lost with an error.
ARROW_BYTES = 1 << 10
MAX_XZ_BYTES = 512 << 20  # bytes an xz stream may ask for; `xz -9` needs 65 MB
SUFFIXES = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bz2",
    ".xz": "xz",
    ".lz4": "lz4",
    ".snappy": "snappy",
    ".sz": "snappy",
}
COMPRESSIONS = tuple(dict.fromkeys(SUFFIXES.values()))
# OSError is what bz2 and Arrow raise for bytes that are not theirs; S3's errors are ours.
BROKEN = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    pa.ArrowException,
    cramjam.DecompressionError,
)

# First bytes by which compressed ones are known. Where magic bytes could begin a text, what has to
# follow them counts too: gzip's flags, bz2's first block, the version in lz4's.
MAGIC = {
    "gzip": rb"\x1f\x8b\x08[\x00-\x1f]",
    "zstd": rb"\x28\xb5\x2f\xfd",
    "bz2": rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90)",
    "xz": rb"\xfd7zXZ\x00",
    "lz4": rb"\x04\x22\x4d\x18[\x40-\x7f]|\x02\x21\x4c\x18",
    "snappy": re.escape(STREAM_START) + b"|" + re.escape(JAVA_START),
}
LZ4_FRAME = b"\x04\x22\x4d\x18"
LEGACY_LZ4 = b"\x02\x21\x4c\x18"
# A frame to pass over, which zstd and lz4 share; its length follows.
SKIPPABLE_FRAME = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")


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


def compression_of(head: bytes) -> str:
    """Return how a block is compressed, by its first bytes; "" where they are of none.

    Raw snappy and Hadoop's have no magic bytes: see snappy_kind.
    """
    skipped = False
    while SKIPPABLE_FRAME.match(head) and len(head) >= 8:
        head = head[8 + int.from_bytes(head[4:8], "little") :]
        skipped = True

    for compression, magic in MAGIC.items():
        if re.match(magic, head, re.DOTALL):
            return compression
    return "zstd" if skipped else ""


def decompress(body: Bytes, compression: str = "") -> Iterator[bytes]:
    """Yield what a body holds, decompressed, and close it; Malformed where it breaks off."""
    try:
        if compression in DECODERS:
            yield from _members(body, DECODERS[compression])
        elif compression in ("zstd", "lz4"):
            yield from _frames(Buffered(body, STEP_BYTES), compression)
        elif compression == "snappy":
            yield from snappy_chunks(Buffered(body, STEP_BYTES))
        elif compression:
            known = ", ".join(COMPRESSIONS)
            raise Refused(f"compression={compression} is none that can be read: {known}")
        else:
            while chunk := body.read(CHUNK_BYTES):
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


def _frames(source: Buffered, compression: str) -> Iterator[bytes]:
    """Yield the plain bytes of zstd's or lz4's frames; Arrow notices one that ends early."""
    head = source.peek(len(LEGACY_LZ4))
    if compression == "lz4" and head == LEGACY_LZ4:
        raise Malformed("the block is of lz4's legacy format: write it as frames, without `lz4 -l`")
    if compression == "lz4" and head and head != LZ4_FRAME and not SKIPPABLE_FRAME.match(head):
        raise Malformed("the block has no lz4 frames; those of Hadoop's codec are not read")

    stream = pa.CompressedInputStream(pa.PythonFile(source, mode="r"), compression)
    pieces = []
    try:
        while piece := stream.read(ARROW_BYTES):
            pieces.append(piece)
            if len(pieces) * ARROW_BYTES >= min(CHUNK_BYTES, STEP_BYTES):
                yield b"".join(pieces)
                pieces = []
    except BROKEN:
        if pieces:
            yield b"".join(pieces)
        raise
    if pieces:
        yield b"".join(pieces)
