"""A call tried in a process of its own: it may crash, hang or take all memory at nobody's cost."""

import faulthandler
import os
import resource
import select
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NoReturn

from workers.memory import held_bytes

LOOK_SECONDS = 0.05  # between looks at the memory of a trial
ALARM_SECONDS = 5  # after its time, when a trial ends itself, should its parent be gone
READ_BYTES = 1 << 20  # of what a trial returns, at once
# How what a trial says begins.
RETURNED, RAISED, OUT_OF_MEMORY = b"+", b"-", b"m"


class EndedWorker(Exception):
    """A call that ended the process which made it, or would not end."""

    def __init__(self, kind: Literal["killed", "stuck"], how: str) -> None:
        super().__init__(how)
        self.kind = kind


def try_call(call: Callable[[], bytes], seconds: float, growth_bytes: int) -> bytes | None:
    """Return what a call returns, made in a fork of this process; None where it raises.

    EndedWorker where the fork ends before it has said so, takes longer, or comes to hold so many
    bytes more than it began with (0 where any number will do).
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of threads, whose locks a fork finds as they were. What the call may need of
        # them (memory, imports, Arrow) sees to that itself, and what hangs is tried again.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        _make(call, writing, seconds)

    os.close(writing)
    try:
        said = _listen(pid, reading, seconds, growth_bytes)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # which no process that has ended minds
        _, status = os.waitpid(pid, 0)

    match said[:1]:
        case b"+":
            return said[1:]
        case b"-":
            return None
        case b"m":
            raise EndedWorker("killed", "ran out of memory")
    raise EndedWorker("killed", f"ended the worker with {_describe(status)}")


def _make(call: Callable[[], bytes], writing: int, seconds: float) -> NoReturn:
    """Make the call in the fork, say what became of it, and end."""
    code = 1
    try:
        _prepare(seconds)
        said = RETURNED + call()
        code = 0
    except MemoryError:
        said, code = OUT_OF_MEMORY, 0
    except Exception:  # noqa: BLE001  whoever asked makes the call once more, and meets it
        said, code = RAISED, 0
    except SystemExit as error:
        said, code = b"", error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  nothing of this process may go on behind a fork
        said = b""
    with suppress(BaseException):
        _write(writing, said)
    os._exit(code)


def _prepare(seconds: float) -> None:
    """Let a fork end by itself should nobody end it, before any other process, and leave no core.

    The alarm reaches also what holds Python's lock.
    """
    faulthandler.disable()  # it tells of each crash in a page, and this one is told of in a line
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds + ALARM_SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _write(writing: int, said: bytes) -> None:
    left = memoryview(said)
    while left:
        left = left[os.write(writing, left) :]


def _listen(pid: int, reading: int, seconds: float, growth_bytes: int) -> bytes:
    """Return all that a fork says before it ends; EndedWorker where that takes too much."""
    deadline = time.monotonic() + seconds
    most = held_bytes() + growth_bytes
    said = bytearray()
    while True:
        if select.select([reading], [], [], LOOK_SECONDS)[0]:
            part = os.read(reading, READ_BYTES)
            if not part:
                return bytes(said)
            said += part

        if time.monotonic() > deadline:
            raise EndedWorker("stuck", f"took longer than {seconds:.0f} s")
        if growth_bytes and held_bytes(pid) > most:
            raise EndedWorker("killed", f"took more than {growth_bytes >> 20:,} MB of memory")


def _describe(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"
