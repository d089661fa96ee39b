"""Read stripes of ORC in a process of its own, which damaged bytes may end.

Arrow's reader of ORC follows lengths and offsets that it has not checked: of 4,000 damaged files
whose footers were whole, ten ended the process by a segmentation fault. Processes are kept for
the next stripe, as starting one takes about half a second.
"""

import atexit
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import tzdata

from workers.sources.formats.containers.arrow_values import validated
from workers.sources.formats.containers.groups import CHUNK_ROWS, S3File

CHILD = Path(__file__).with_name("orc_child.py")
# Arrow reads no times without a database of zones, which small machines and images lack.
ZONES = Path(tzdata.__file__).with_name("zoneinfo")
SILENT_SECONDS = 60  # seconds without a word in which a stripe is given up
READ_AHEAD_BYTES = 1 << 20  # bytes asked of S3 at once; Arrow asks for each stream by itself


class Died(OSError):
    """The process is gone, or says nothing."""


class Damaged(OSError):
    """Arrow says that the stripe cannot be read; the process goes on."""


class OrcProcess:
    """A process that reads stripes."""

    def __init__(self) -> None:
        # -P: the files beside the child's are no modules for it to import.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ | {"TZDIR": str(ZONES)},
        )

    def stripe(
        self, file: "Window", size: int, number: int, columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a stripe; Damaged where it cannot be read, Died where nothing comes."""
        request = {"size": size, "stripe": number, "columns": columns, "rows": CHUNK_ROWS}
        self._send(b"A", json.dumps(request).encode())

        while True:
            kind, body = self._receive()
            if kind == b"R":
                self._send(b"D", file.between(*json.loads(body)))
            elif kind == b"B":
                with pa.ipc.open_stream(body) as stream:
                    yield validated(stream.read_next_batch())
            elif kind == b"E":
                raise Damaged(body.decode(errors="replace"))
            else:
                return

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()

    def _send(self, kind: bytes, body: bytes) -> None:
        assert self._process.stdin
        message = memoryview(kind + len(body).to_bytes(8, "little") + body)
        try:
            while message:
                message = message[self._process.stdin.write(message) :]
        except BrokenPipeError:
            raise Died("Arrow's reader of ORC died of it") from None

    def _receive(self) -> tuple[bytes, bytes]:
        head = self._read(9)
        return head[:1], self._read(int.from_bytes(head[1:], "little"))

    def _read(self, count: int) -> bytes:
        assert self._process.stdout
        deadline = time.monotonic() + SILENT_SECONDS
        parts = []
        while count:
            is_ready, _, _ = select.select(
                [self._process.stdout], [], [], max(deadline - time.monotonic(), 0)
            )
            if not is_ready:
                raise Died(f"Arrow's reader of ORC said nothing for {SILENT_SECONDS} seconds")

            part = self._process.stdout.read(min(count, 1 << 20))
            if not part:
                raise Died("Arrow's reader of ORC died of it")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class Window:
    """The bytes of a file that were asked for last, and some behind them."""

    def __init__(self, file: S3File, size: int) -> None:
        self._file = file
        self._size = size
        self._start = 0
        self._data = b""

    def between(self, start: int, end: int) -> bytes:
        """Return the bytes from start to end (exclusive)."""
        if not self._start <= start <= end <= self._start + len(self._data):
            far_end = min(max(end, start + READ_AHEAD_BYTES), self._size)
            self._data = self._file.between(start, far_end)
            self._start = start
        return self._data[start - self._start : end - self._start]


# Processes that wait for a stripe, with the process that started them: a fork has its own.
_idle: list[tuple[int, OrcProcess]] = []


def read_stripe(
    file: Window, size: int, number: int, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a stripe, checked; OSError or Arrow's own error where it is damaged."""
    process = _take()
    is_good = False
    try:
        yield from process.stripe(file, size, number, columns)
        is_good = True
    except Damaged:
        is_good = True
        raise
    finally:
        if is_good:
            _idle.append((os.getpid(), process))
        else:
            process.end()


def _take() -> OrcProcess:
    while True:
        try:
            owner, process = _idle.pop()
        except IndexError:
            return OrcProcess()
        if owner == os.getpid():
            return process


@atexit.register
def end_processes() -> None:
    """End the processes that wait."""
    while _idle:
        owner, process = _idle.pop()
        if owner == os.getpid():
            process.end()
