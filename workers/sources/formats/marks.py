"""The first bytes by which containers, and what is not read, are known."""

from workers.sources.formats.format import Kind

CONTAINER_MARKS: dict[bytes, Kind] = {
    b"PAR1": "parquet",
    b"ORC": "orc",
    b"Obj\x01": "avro",
    b"ARROW1": "arrow",
}
NAMES = {"parquet": "Parquet", "orc": "ORC", "avro": "Avro", "arrow": "Arrow", "w3c": "W3C"}
UNPACK = (
    "which is not read, as items in it would have no place: put its files into S3 by themselves"
)
CONVERT = "which is not read: write it as Parquet or as JSON lines"
# What is not read, and what to do about it.
REFUSED_MARKS = {
    b"PK\x03\x04": f"a zip archive, {UNPACK}",
    b"PK\x05\x06": f"a zip archive, {UNPACK}",
    b"7z\xbc\xaf\x27\x1c": f"a 7z archive, {UNPACK}",
    b"Rar!\x1a\x07": f"a rar archive, {UNPACK}",
    b"%PDF-": f"a PDF, {CONVERT}",
    b"SQLite format 3\x00": f"an SQLite database, {CONVERT}",
    b"\x89HDF\r\n\x1a\n": f"HDF5, {CONVERT}",
    b"FEA1": f"Feather of version 1, {CONVERT}",
    b"SEQ\x06": f"a Hadoop sequence file, {CONVERT}",
    b"PARE": "encrypted Parquet, which is not read: write it without its own encryption",
    b"\x1f\x9d": "compressed by compress (.Z), which is not read: use gzip or zstd",
    b"\x02\x21\x4c\x18": "lz4 of the legacy format, which is not read: use lz4 frames or zstd",
}
TAR_MARK = (257, b"ustar")
CONTROLS = bytes({*range(32)} - set(b"\t\n\r\f\x1b"))
MAX_CONTROL_RATE = 0.1  # of control characters; what has more is no text
MARKED_BYTES = 256  # bytes behind a mark that tell a container from text that begins like it


def container_mark(head: bytes) -> Kind | None:
    """Return the kind of container that bytes begin; text may begin with the same letters."""
    kind = next((kind for mark, kind in CONTAINER_MARKS.items() if head.startswith(mark)), None)
    return kind if kind and _has_controls(head) else None


def refused_mark(head: bytes) -> str:
    """Return what bytes begin that is not read, and what to do about it; "" where it is none."""
    name = next((name for mark, name in REFUSED_MARKS.items() if head.startswith(mark)), "")
    return name if name and _has_controls(head) else ""


def is_tar(head: bytes) -> bool:
    """Tell whether bytes begin a tar archive."""
    start, mark = TAR_MARK
    return head.startswith(mark, start)


def is_binary(text: bytes) -> bool:
    """Tell whether bytes are no text, by how many control characters they have."""
    controls = len(text) - len(text.translate(None, CONTROLS))
    return controls > MAX_CONTROL_RATE * len(text)


def _has_controls(head: bytes) -> bool:
    """Tell whether control characters, or bytes that no text in UTF-8 has, are among the first."""
    start = head[:MARKED_BYTES]
    return start.translate(None, CONTROLS) != start or not start.isascii()
