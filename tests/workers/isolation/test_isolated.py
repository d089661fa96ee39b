"""An item that kills, hangs or bloats its worker becomes a dead letter, and costs itself alone."""

import ctypes
import os
import signal
import socket
import time

import msgspec
import numpy as np
import pandas as pd
import pytest

from tests.support.pipeline import event
from workers import steps
from workers.contributions.fields import Latest, LatestBy, Max, Sum, SumBy
from workers.dealt import ShareReference
from workers.declare import Number, Time, rows
from workers.declare.task import Observe, Task
from workers.errors import Refused
from workers.isolation import isolated as isolation
from workers.isolation import trial
from workers.isolation.isolated import Isolated, Limits
from workers.isolation.trial import EndedWorker, try_call
from workers.isolation.watch import Memory
from workers.ledger.dead_letters import DeadLetterKind
from workers.ledger.records import WorkerProcess
from workers.ledger.shares import MAX_PLAIN
from workers.ledger.workers import is_gone

# What forks in these tests is a copy of pytest's process, whose threads it does not need.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
LIMITS = Limits(seconds_per_item=1e-6, bytes=200 << 20)


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """Let nothing be waited for as long as in earnest."""
    monkeypatch.setattr(isolation, "LEAST_SECONDS", 1.5)
    monkeypatch.setattr(isolation, "QUICK_SECONDS", 1.5)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def crash():
    ctypes.string_at(0)


def leave():
    os._exit(3)


def loop():
    while True:
        pass


def bloat():
    hoard = [np.ones(50 << 17) for _ in range(20)]
    time.sleep(len(hoard))


DEADLY = {"kill": kill, "crash": crash, "leave": leave, "loop": loop, "bloat": bloat}


def tried(call, seconds=0.4):
    return try_call(call, seconds, LIMITS.bytes)


# Trials


def test_a_trial_returns_what_its_call_does():
    assert tried(lambda: b"x" * 3_000_000) == b"x" * 3_000_000


def test_a_trial_of_a_call_that_raises_returns_none():
    assert tried(lambda: 1 / 0) is None


@pytest.mark.parametrize(
    ("call", "kind", "how"),
    [
        (kill, "killed", "ended the worker with signal 9"),
        (crash, "killed", "ended the worker with signal 11"),
        (leave, "killed", "ended the worker with exit code 3"),
        (exit, "killed", "ended the worker with exit code 1"),
        (loop, "stuck", "took longer than 0 s"),
        (lambda: bytearray(1 << 60), "killed", "ran out of memory"),
    ],
)
def test_a_trial_says_how_its_call_ended_the_process(call, kind, how):
    with pytest.raises(EndedWorker, match=how) as raised:
        tried(call)
    assert raised.value.kind == kind


def test_a_trial_that_takes_too_much_memory_is_ended():
    with pytest.raises(EndedWorker, match="took more than 200 MB of memory"):
        tried(bloat, seconds=60)


def test_a_trial_whose_parent_is_gone_ends_by_itself(monkeypatch, tmp_path):
    monkeypatch.setattr(trial, "ALARM_SECONDS", 0.1)

    def orphan():
        (tmp_path / "pid").write_text(str(os.getpid()))
        os.kill(os.getppid(), signal.SIGKILL)
        loop()

    parent = os.fork()
    if not parent:
        try_call(orphan, 0.2, 0)
        os._exit(0)
    os.waitpid(parent, 0)

    worker = WorkerProcess(host=socket.gethostname(), pid=int((tmp_path / "pid").read_text()))
    deadline = time.monotonic() + 10
    while not is_gone(worker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Tasks


class Word(msgspec.Struct):
    user: str
    does: str = ""
    amount: Number = Number("nan")
    at: Time = Time(0)


FIELDS = {
    "items": Sum(),
    "amounts": Sum(float),
    "by": SumBy(),
    "greatest": Max(float),
    "last": Latest(str),
    "last_by": LatestBy(int),
}


def contributions(items):
    for does in items["does"]:
        if does in DEADLY:
            DEADLY[does]()
        if does == "raise":
            raise ValueError("no such word")
    return {
        "items": rows(items["user"]),
        "amounts": rows(items["user"], items["amount"].fillna(0.1)),
        "by": rows(items["user"], key=items["does"]),
        "greatest": rows(items["user"], items["amount"].fillna(0.5)),
        "last": rows(items["user"], items["does"], at=items["at"]),
        "last_by": rows(items["user"], 1, key=items["does"], at=items["at"]),
    }


TASK = Task(item=Word, fields=FIELDS, contributions=contributions, by_item=True)


def frame(*words):
    return pd.DataFrame(
        {
            "user": pd.Series(["ann"] * len(words), dtype="str"),
            "does": pd.Series(words, dtype="str"),
            "amount": np.arange(len(words), dtype="float64"),
            "at": np.arange(len(words), dtype="int64"),
        }
    )


def test_contributions_come_out_of_a_process_apart_as_they_are():
    items = frame("a", "b", "a", "\N{GRINNING FACE}", "")
    expected = TASK.contribute(items)
    actual = Isolated(TASK, "b", LIMITS).contribute(items)
    assert actual.keys() == expected.keys()
    for name in expected:
        pd.testing.assert_frame_equal(actual[name], expected[name])


def test_no_contributions_come_out_as_none():
    assert Isolated(TASK, "b", LIMITS).contribute(frame()) == {}


def test_an_error_of_the_task_comes_out_as_it_is():
    with pytest.raises(ValueError, match="no such word"):
        Isolated(TASK, "b", LIMITS).contribute(frame("a", "raise"))


def test_one_item_is_tried_once_more_before_it_is_believed(monkeypatch):
    answers = iter([EndedWorker("killed", "by chance"), None])
    seconds = []

    def answer(_call, its_seconds, _bytes):
        seconds.append(its_seconds)
        if isinstance(said := next(answers), Exception):
            raise said

    monkeypatch.setattr(isolation, "try_call", answer)
    Isolated(TASK, "b", LIMITS).contribute(frame("a"))
    assert seconds == [1.5, 2 * 1.5]


def test_a_task_that_ends_its_worker_on_every_item_is_given_up_after_a_few():
    apart = Isolated(TASK, "b1", LIMITS)
    for _ in range(isolation.MAX_ENDED_WITH_NONE_USED - 1):
        with pytest.raises(EndedWorker):
            apart.contribute(frame("leave"))
    with pytest.raises(Refused, match="ended its worker on each of 5 items, with no item that"):
        apart.contribute(frame("leave"))


def test_a_task_that_is_slow_with_everything_condemns_nothing(monkeypatch):
    monkeypatch.setattr(isolation, "QUICK_SECONDS", 0.01)

    def slow(items):
        time.sleep(0.05 * len(items))
        return contributions(items)

    apart = Isolated(Task(item=Word, fields=FIELDS, contributions=slow), "b", LIMITS)
    assert len(apart.contribute(frame("a"))["items"]) == 1
    assert len(apart.contribute(frame("a", "b"))["items"]) == 2  # it has learned to wait


# Tasks that observe


class Seen(msgspec.Struct):
    user: str
    at: Time
    amount: Number
    words: list[str]


def look(items, known):
    answers = []
    for item, of_profile in zip(items, known, strict=True):
        if item.does in DEADLY:
            DEADLY[item.does]()
        if item.does == "raise":
            raise ValueError("all of them")
        words = [*of_profile.get("words", []), item.does]
        seen = Seen(item.user, Time(1_500), Number(0.1), words)
        answers.append({"none": None, "error": KeyError("x")}.get(item.does, seen))
    return answers


OBSERVE = Observe(
    profile_id=lambda item: item.user, known_fields=["words"], observation=Seen, observe=look
)


def observed(*words):
    items = [Word("ann", word) for word in words]
    return Isolated(TASK, "b", LIMITS).observe(OBSERVE, items, [{"words": ["w"]}] * len(items))


def test_observations_come_out_of_a_process_apart_as_they_are():
    seen, nothing, error = observed("a", "none", "error")
    assert seen == Seen("ann", Time(1_500), Number(0.1), ["w", "a"])
    assert (type(seen.at), type(seen.amount)) == (Time, Number)
    assert nothing is None
    assert (type(error).__name__, str(error)) == ("KeyError", "'x'")


def test_an_item_whose_observation_ends_the_worker_costs_itself_alone():
    answers = observed("a", "b", "kill", "c", "d")
    assert [getattr(answer, "kind", "seen") for answer in answers] == [
        *("seen", "seen", "killed", "seen", "seen")
    ]


def test_an_error_of_a_whole_observation_is_raised():
    with pytest.raises(ValueError, match="all of them"):
        observed("a", "raise")


# Batches


@pytest.fixture
def put_deadly(pipeline, monkeypatch):
    """Puts a day of 20 events with deadly ones among them, for a task that does what they say."""
    real = Task.contribute
    here = os.getpid()

    def contribute(task, frame):
        for does in frame["item"]:
            if does in DEADLY:
                assert os.getpid() != here
                DEADLY[does]()
        return real(task, frame)

    def put(*deadly):
        items = [event("ann", item=f"i{number}") for number in range(20)]
        for number, does in enumerate(deadly):
            items[1 + 4 * number] = event("bob", item=does)
        pipeline.put(items)
        return pipeline.tolerant(count=len(deadly))

    monkeypatch.setattr(Task, "contribute", contribute)
    monkeypatch.setattr("workers.share.memory_of_slots", lambda: Memory(LIMITS.bytes, 0, False))
    return put


def isolated_run(pipeline, work):
    reference = ShareReference(run=work.plans[0].run, is_isolated=True)
    steps.run_batch(*pipeline.four, reference, list(work.to_run))


def fold(pipeline, work):
    reconciled = pipeline.reconcile(work)
    return pipeline.publish(reconciled, pipeline.fold(reconciled))


def test_items_that_end_their_worker_become_dead_letters_and_the_rest_counts(put_deadly):
    pipeline = put_deadly(*DEADLY)
    work = pipeline.plan()
    isolated_run(pipeline, work)
    summary = fold(pipeline, work)
    assert (summary["items_used"], summary["dead_letters"]) == (15, 5)

    (block,) = pipeline.store.list("events/")
    body = pipeline.store.get(block.key)
    letters = pipeline.ledger.dead_letters.find(pipeline.asset.name)
    told = {
        msgspec.json.decode(body[letter.place.position :].split(b"\n")[0])["item"]: (
            letter.kind.value,
            letter.reason,
        )
        for letter in letters
    }
    assert told == {
        "kill": ("killed", "ended the worker with signal 9"),
        "crash": ("killed", "ended the worker with signal 11"),
        "leave": ("killed", "ended the worker with exit code 3"),
        "loop": ("stuck", "took longer than 3 s"),
        "bloat": ("killed", "took more than 200 MB of memory"),
    }


def test_verify_leaves_out_what_would_end_it_too(put_deadly):
    pipeline = put_deadly("leave")
    work = pipeline.plan()
    isolated_run(pipeline, work)
    fold(pipeline, work)
    assert pipeline.verify().match


def test_a_redrive_of_what_ends_its_worker_ends_nothing_else(put_deadly):
    pipeline = put_deadly("leave")
    work = pipeline.plan()
    isolated_run(pipeline, work)
    fold(pipeline, work)

    again = pipeline.plan(is_redrive=True)
    isolated_run(pipeline, again)
    fold(pipeline, again)
    (letter,) = pipeline.ledger.dead_letters.find(pipeline.asset.name)
    assert (letter.kind, letter.attempts) == (DeadLetterKind.KILLED, 2)


def test_an_item_that_is_mended_counts_after_its_redrive(put_deadly, monkeypatch):
    pipeline = put_deadly("leave")
    work = pipeline.plan()
    isolated_run(pipeline, work)
    fold(pipeline, work)

    monkeypatch.delitem(DEADLY, "leave")
    again = pipeline.plan(is_redrive=True)
    isolated_run(pipeline, again)
    assert fold(pipeline, again)["items_redriven"] == 1
    assert pipeline.verify().match


def test_a_batch_that_ended_two_workers_is_run_in_processes_apart(put_deadly):
    pipeline = put_deadly("leave")
    work = pipeline.plan()
    for _ in range(MAX_PLAIN):
        pipeline.ledger.begin(*work.to_run)
    (answer,) = steps.run_batch(
        *pipeline.four, ShareReference(run=work.plans[0].run), list(work.to_run)
    )
    assert answer.dead == 1


def test_a_batch_that_stood_still_once_is_run_in_processes_apart(put_deadly):
    pipeline = put_deadly("leave")
    work = pipeline.plan()
    pipeline.ledger.begin(*work.to_run)
    pipeline.ledger.shares.note(list(work.to_run), "it stood still for 60 s")
    (answer,) = steps.run_batch(
        *pipeline.four, ShareReference(run=work.plans[0].run), list(work.to_run)
    )
    assert answer.dead == 1


def test_a_batch_that_ended_workers_of_an_earlier_run_is_run_in_processes_apart(put_deadly):
    pipeline = put_deadly("leave")
    work = pipeline.plan()
    for _ in range(MAX_PLAIN + 2):
        pipeline.ledger.begin(*work.to_run)
    again = pipeline.plan()
    (answer,) = steps.run_batch(
        *pipeline.four, ShareReference(run=again.plans[0].run), list(again.to_run)
    )
    assert answer.dead == 1
