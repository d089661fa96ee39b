"""A process of its own that reads stripes of ORC with Arrow, and may die of damaged bytes.

    python -P orc_child.py

Its parent is orc_process. It imports nothing of the project, so that it starts fast. Messages are
a letter, eight bytes of length, and a body. It is asked (A, JSON) for the columns of a stripe; it
asks (R, JSON) for bytes of the file, which come back (D); it gives batches (B, a stream of Arrow),
and ends with Z, or with E and the reason.
"""

import io
import json
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import orc

MAX_MEMORY_BYTES = 4 << 30  # what a stripe may take, plain; a damaged length may ask for more


class ParentFile(io.RawIOBase):
    """The file, of which the parent is asked for bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._offset = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size}
        self._offset = bases[whence] + offset
        return self._offset

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._offset + size, self._size)
        if end <= self._offset:
            return b""

        send(b"R", json.dumps([self._offset, end]).encode())
        _, data = receive()
        self._offset = end
        return data


def send(kind: bytes, body: bytes) -> None:
    """Write a message to the parent."""
    sys.stdout.buffer.write(kind + len(body).to_bytes(8, "little") + body)
    sys.stdout.buffer.flush()


def receive() -> tuple[bytes, bytes]:
    """Return the parent's next message; the process ends where there is no parent any more."""
    head = sys.stdin.buffer.read(9)
    body = sys.stdin.buffer.read(int.from_bytes(head[1:], "little"))
    if len(head) < 9:
        sys.exit()
    return head[:1], body


def answer(request: dict[str, Any]) -> None:
    """Send the wanted columns of a stripe, so many rows at a time."""
    file = orc.ORCFile(pa.PythonFile(ParentFile(request["size"]), mode="r"))
    stripe = file.read_stripe(request["stripe"], columns=request["columns"])
    for first_row in range(0, stripe.num_rows, request["rows"]):
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, stripe.schema) as writer:
            writer.write_batch(stripe.slice(first_row, request["rows"]))
        send(b"B", sink.getvalue())


def main() -> None:
    """Answer until the parent is gone."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    with suppress(OSError):  # where memory is short all the same, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    pa.set_cpu_count(1)

    while True:
        _, body = receive()
        try:
            answer(json.loads(body))
        except Exception as error:  # noqa: BLE001  whatever reading raises concerns this stripe
            send(b"E", str(error).encode(errors="replace"))
        else:
            send(b"Z", b"")


if __name__ == "__main__":
    main()
