"""A worker watches itself: one that stands still, or is about to take all memory, ends.

Whoever hears of it tries again: nothing that it was at has been said yet. What it stood still at is
noted, so that the next worker runs it with each call of its task in a process apart.
"""

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from workers.errors import FanfoldError
from workers.isolation.isolated import LEAST_SECONDS
from workers.memory import held_bytes

MEMINFO = Path("/proc/meminfo")
LOOK_SECONDS = 0.25  # between looks
# For which no thread of Python gets its turn before the process ends: C that never returns holds
# the lock that all of them need.
DEAD_SECONDS = 120
STDERR = 2  # where it then says at what it stood
LEFT_SHARE = 0.1  # of memory: a worker that takes more than its slot's ends before less is left

# Says how long what a worker is at may take; asked once that has taken the least.
Allowed = Callable[[], float]
# Notes in the ledger why batches have no outcome.
Note = Callable[[Sequence[str], str], None]

log = logging.getLogger(__name__)


class Memory(NamedTuple):
    """The memory that there is; 0 where nobody says."""

    slot_bytes: int
    limit_bytes: int
    # The limit is that of a container, within which the machine's own numbers say nothing.
    is_container: bool

    def is_short(self, meminfo: Path = MEMINFO) -> bool:
        """Tell whether this process holds more than its share, and hardly any memory is left."""
        held = held_bytes()
        if not self.slot_bytes or held <= self.slot_bytes:
            return False
        if self.is_container:
            return held > (1 - LEFT_SHARE) * self.limit_bytes
        try:
            lines = meminfo.read_text().splitlines()
        except OSError:
            return False
        left = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
        return bool(left) and left[0] < LEFT_SHARE * self.limit_bytes


class Watch:
    """What a worker is at, and since when."""

    def __init__(self, memory: Memory, note: Note) -> None:
        self.memory = memory
        self.note = note
        self._at: tuple[Sequence[str], float, Allowed] | None = None
        self._is_over = threading.Event()

    @contextmanager
    def over(self, batch_ids: Sequence[str], allowed: Allowed) -> Iterator[None]:
        """Watch over work at batches."""
        self._at = (batch_ids, time.monotonic(), allowed)
        try:
            yield
        finally:
            self._at = None

    def run(self) -> None:
        """Look again and again, until the worker has ended."""
        armed = 0.0
        while not self._is_over.wait(LOOK_SECONDS):
            if time.monotonic() - armed > DEAD_SECONDS / 4:
                armed = time.monotonic()
                faulthandler.dump_traceback_later(DEAD_SECONDS, exit=True, file=STDERR)
            if why := self._trouble():
                self._end(why)

    def stop(self) -> None:
        """Look no more."""
        self._is_over.set()
        faulthandler.cancel_dump_traceback_later()

    def _trouble(self) -> str:
        """Return why the process has to end; "" where it has not."""
        if self.memory.is_short():
            return f"its worker held {held_bytes() >> 20:,} MB, and hardly any memory was left"

        at = self._at
        if at is None or time.monotonic() - at[1] < LEAST_SECONDS:
            return ""
        try:
            allowed = at[2]()
        except FanfoldError:  # which the worker meets too
            return ""
        stood = time.monotonic() - at[1]
        return f"it stood still for {stood:.0f} s" if stood > allowed and at is self._at else ""

    def _end(self, why: str) -> None:
        """End the process, and let the next worker know why."""
        at = self._at
        log.error("%s; the worker ends, and another one takes its place", why)
        if at:
            with suppress(FanfoldError):
                self.note(at[0], why)
        if at is self._at:
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def watch(memory: Memory, note: Note) -> Iterator[Watch]:
    """Watch over a worker in this process."""
    watching = Watch(memory, note)
    thread = threading.Thread(target=watching.run, name="watch", daemon=True)
    thread.start()
    try:
        yield watching
    finally:
        watching.stop()
        thread.join()
