"""Write bytes in every compression that Fanfold reads."""

import bz2
import gzip
import lzma

import cramjam
import pyarrow as pa

HADOOP_PIECE_BYTES = 200_000
JAVA_HEADER = b"\x82SNAPPY\0\0\0\0\1\0\0\0\1"


def framed_snappy(plain: bytes) -> bytes:
    """Return a framed stream; an empty one has only its start."""
    return bytes(cramjam.snappy.compress(plain)) or b"\xff\x06\x00\x00sNaPpY"


def raw_snappy(plain: bytes) -> bytes:
    """Return one piece."""
    return bytes(cramjam.snappy.compress_raw(plain))


def hadoop_snappy(plain: bytes, block_bytes: int = HADOOP_PIECE_BYTES * 2) -> bytes:
    """Return blocks of at most two pieces each, as Hadoop's codec writes them."""
    body = b""
    for start in range(0, len(plain), block_bytes):
        block = plain[start : start + block_bytes]
        body += len(block).to_bytes(4, "big")
        step = max(block_bytes // 2, 1)
        for piece in range(0, len(block), step):
            body += _sized(block[piece : piece + step])
    return body or bytes(4)


def java_snappy(plain: bytes, piece_bytes: int = 32_768) -> bytes:
    """Return a stream as snappy-java's output stream writes it."""
    pieces = range(0, len(plain), piece_bytes)
    return JAVA_HEADER + b"".join(_sized(plain[start : start + piece_bytes]) for start in pieces)


def lz4_frame(plain: bytes) -> bytes:
    """Return one frame, with a checksum of all it holds."""
    return bytes(cramjam.lz4.compress(plain))


def _sized(piece: bytes) -> bytes:
    compressed = raw_snappy(piece)
    return len(compressed).to_bytes(4, "big") + compressed


# By the compression's name, and what is special about the bytes.
COMPRESS = {
    "gzip": gzip.compress,
    "zstd": lambda plain: pa.compress(plain, "zstd", asbytes=True),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lz4": lz4_frame,
    "snappy framed": framed_snappy,
    "snappy hadoop": hadoop_snappy,
    "snappy java": java_snappy,
    "snappy raw": raw_snappy,
}
# Those that may follow one another in a body.
JOINABLE = tuple(name for name in COMPRESS if name != "snappy raw")
