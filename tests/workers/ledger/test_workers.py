"""Who is at work: entering once, beating, being asked to stop, being lost."""

import os
import signal
import subprocess
import threading
import time

import pytest

from workers.ledger import heartbeat as heartbeats
from workers.ledger import workers as at_work
from workers.ledger.heartbeat import heartbeat
from workers.ledger.ledger import Ledger


@pytest.fixture
def ledger(database):
    return Ledger(database)


def test_a_worker_enters_once(ledger):
    assert ledger.workers.enter("run/step/0", run="run", step="step")
    assert not ledger.workers.enter("run/step/0", run="run", step="step")


def test_a_worker_that_was_asked_to_stop_before_it_began_does_not_begin(ledger):
    ledger.workers.ask_to_stop("w")
    assert not ledger.workers.enter("w")
    assert not ledger.workers.enter("w")


def test_a_worker_that_has_not_begun_is_not_there(ledger):
    ledger.workers.ask_to_stop("w")
    assert ledger.workers.get("w") is None


def test_a_worker_that_beats_is_alive_and_says_what_it_is_at(ledger):
    ledger.workers.enter("w", run="r", step="s")
    assert ledger.workers.beat("w", "batch 1")
    (worker,) = ledger.workers.alive(["w", "nobody"])
    assert (worker.run, worker.step, worker.at, worker.pid) == ("r", "s", "batch 1", os.getpid())


def test_a_worker_that_has_ended_is_not_alive(ledger):
    ledger.workers.enter("w")
    ledger.workers.end("w")
    assert ledger.workers.alive(["w"]) == []


def test_a_worker_that_is_not_heard_of_is_not_alive(ledger, monkeypatch):
    ledger.workers.enter("w")
    monkeypatch.setattr(at_work, "LOST_SECONDS", -1)
    assert ledger.workers.alive(["w"]) == []


def test_a_worker_whose_process_is_gone_is_not_alive(ledger):
    ledger.workers.enter("w")
    ended = subprocess.Popen(["true"])
    ended.wait()
    ledger.database["workers"].update_one({"_id": "w"}, {"$set": {"pid": ended.pid}})
    assert ledger.workers.alive(["w"]) == []


def test_a_worker_whose_process_is_a_zombie_is_not_alive(ledger):
    ledger.workers.enter("w")
    with subprocess.Popen(["true"]) as ended:
        time.sleep(0.2)
        ledger.database["workers"].update_one({"_id": "w"}, {"$set": {"pid": ended.pid}})
        assert ledger.workers.alive(["w"]) == []


def test_a_worker_of_another_machine_is_alive_while_it_is_heard_of(ledger):
    ledger.workers.enter("w")
    elsewhere = {"$set": {"host": "elsewhere", "pid": 0}}
    ledger.database["workers"].update_one({"_id": "w"}, elsewhere)
    assert [worker.id for worker in ledger.workers.alive(["w"])] == ["w"]


def test_a_heartbeat_ends_with_its_worker(ledger):
    ledger.workers.enter("w")
    with heartbeat(ledger, "w"):
        assert "heartbeat" in {thread.name for thread in threading.enumerate()}
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}
    assert ledger.workers.get("w").ended


@pytest.fixture
def interruptible():
    """Whoever runs the tests behind a shell's `&` has them ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_worker_that_is_asked_to_stop_is_interrupted(ledger, monkeypatch, interruptible):
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.05)
    ledger.workers.enter("w")
    with pytest.raises(KeyboardInterrupt), heartbeat(ledger, "w") as heart:
        ledger.workers.ask_to_stop("w")
        time.sleep(30)
    assert heart.is_asked_to_stop
