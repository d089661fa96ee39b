"""A worker that stands still, or is about to take all memory, ends by itself and says so."""

import ctypes
import os
import signal
import time

import pytest

from workers.errors import Unavailable
from workers.isolation import watch as watching
from workers.isolation.watch import Memory, watch

# What forks in these tests is a copy of pytest's process, whose threads it does not need.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
PLENTY = Memory(slot_bytes=0, limit_bytes=0, is_container=False)


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(watching, "LEAST_SECONDS", 0.1)
    monkeypatch.setattr(watching, "STDERR", os.open(os.devnull, os.O_WRONLY))


def ended(work, allowed=lambda: 0.2, memory=PLENTY):
    """Return how a process ends that does some work under a watch, and what it has noted."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:

        def note(ids, why):
            os.write(writing, f"{ids}: {why}".encode())

        with watch(memory, note) as watched, watched.over(["b1"], allowed):
            work()
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as noted:
        return os.waitstatus_to_exitcode(status), noted.read().decode()


def test_a_worker_that_stands_still_notes_its_batches_and_ends():
    assert ended(lambda: time.sleep(60)) == (-signal.SIGKILL, "['b1']: it stood still for 0 s")


def test_a_worker_within_its_time_goes_on():
    assert ended(lambda: time.sleep(0.3), allowed=lambda: 60) == (0, "")


def test_a_worker_goes_on_while_nobody_can_say_how_long_it_may_take():
    def unknown():
        raise Unavailable("MongoDB is away")

    assert ended(lambda: time.sleep(0.3), allowed=unknown) == (0, "")


def test_a_worker_whose_threads_get_no_turn_ends_too(monkeypatch):
    monkeypatch.setattr(watching, "DEAD_SECONDS", 0.5)

    def hold_the_lock():
        time.sleep(0.2)  # until the watch has looked once
        ctypes.PyDLL(None).sleep(60)

    assert ended(hold_the_lock, allowed=lambda: 60) == (1, "")


def test_a_worker_that_holds_more_than_its_share_ends_once_hardly_any_memory_is_left():
    crowded = Memory(slot_bytes=1, limit_bytes=1, is_container=True)
    code, noted = ended(lambda: time.sleep(60), allowed=lambda: 60, memory=crowded)
    assert code == -signal.SIGKILL
    assert "and hardly any memory was left" in noted


@pytest.mark.parametrize(
    ("available", "slot_bytes", "is_short"),
    [(0, 1, True), (1 << 20, 1, False), (0, 1 << 60, False), (0, 0, False)],
)
def test_memory_is_short_for_who_holds_more_than_its_share(
    tmp_path, available, slot_bytes, is_short
):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 1048576 kB\nMemAvailable: {available} kB\n")
    assert Memory(slot_bytes, 1 << 30, is_container=False).is_short(meminfo) == is_short
