"""What a run thinks of its steps, by what the ledger and the broker say: without workers."""

import os
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._grpc.types import ExecuteStepArgs

from pipelines.celery import handler as handlers
from pipelines.celery.handler import STEP, CeleryStepHandler
from tests.support.waiting import job_named
from workers.errors import Unavailable
from workers.ledger import workers as at_work
from workers.ledger.ledger import Ledger
from workers.planning.slots import SERVES

RUN = "some-run"
STEP_KEY = "wait"
ATTEMPT = f"{RUN}/{STEP_KEY}/0"


class Broker:
    """A queue that a test fills, empties, and takes away."""

    def __init__(self):
        self.sent = []
        self.waiting = 0
        self.away_since = None
        self.trouble = "ConnectionError"

    def send(self, step_id, message):
        self.check()
        self.sent.append(step_id)
        self.waiting += 1

    def is_empty(self):
        self.check()
        return not self.waiting

    def check(self):
        if self.away_since is not None:
            raise Unavailable("away")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class Case:
    """A handler with a step that it has sent, and hands to move time and others."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.broker = Broker()
        self.clock = Clock()
        self.said = []
        self.handler = CeleryStepHandler(self.broker, ledger)
        reconstructable = dg.build_reconstructable_job(
            "tests.support.waiting", "job_named", reconstructable_kwargs={"name": "waiting"}
        )
        args = ExecuteStepArgs(
            job_origin=reconstructable.get_python_origin(),
            run_id=RUN,
            step_keys_to_execute=[STEP_KEY],
            instance_ref=None,
            known_state=KnownExecutionState(),
        )
        say = SimpleNamespace(report_engine_event=lambda text, _run: self.said.append(text))
        self.context = SimpleNamespace(execute_step_args=args, instance=say, dagster_run=None)

    def launch(self):
        list(self.handler.launch_step(self.context))

    def looks(self, seconds=0.0, times=1):
        """Look at the step's health after some seconds, so many times; return the last reason."""
        for _ in range(times):
            self.clock.now += seconds
            health = self.handler.check_step_health(self.context)
        assert health.is_healthy == (health.unhealthy_reason is None)
        return health.unhealthy_reason

    def take(self):
        """Let a worker take the message and begin."""
        self.broker.waiting -= 1
        return self.ledger.workers.enter(ATTEMPT, RUN, STEP)

    def event(self, kind, pid=None):
        flags = dict.fromkeys(
            ("is_step_success", "is_step_failure", "is_step_up_for_retry", "is_successful_output"),
            False,
        )
        pid = pid or os.getppid()
        return SimpleNamespace(step_key=STEP_KEY, pid=pid, **(flags | {f"is_{kind}": True}))


@pytest.fixture
def case(database, monkeypatch):
    case = Case(Ledger(database))
    monkeypatch.setattr(handlers, "time", case.clock)
    case.handler = CeleryStepHandler(case.broker, case.ledger)
    case.launch()
    return case


def test_a_step_is_sent_by_the_name_of_its_attempt(case):
    assert case.broker.sent == [ATTEMPT]
    assert job_named("waiting").name == "waiting"


def test_a_step_that_waits_in_the_queue_is_well(case):
    assert case.looks(seconds=20) is None
    assert case.broker.sent == [ATTEMPT]


def test_a_step_that_waits_long_is_sent_again_ever_more_rarely(case):
    for _ in range(60):
        case.ledger.workers.enter(f"other/{case.clock.now}", "other", STEP)  # others are at work
        case.looks(seconds=10)
    assert len(case.broker.sent) == 4  # at once, and after 60, 60 + 120 and 60 + 120 + 240 seconds


def test_a_step_that_nobody_began_while_the_queue_is_empty_is_sent_again(case):
    case.broker.waiting = 0
    case.looks(seconds=3)
    case.looks(seconds=9)
    assert case.broker.sent == [ATTEMPT]
    case.looks(seconds=3)
    assert case.broker.sent == [ATTEMPT] * 2


def test_a_step_whose_worker_is_alive_is_well_however_long_it_takes(case):
    case.take()
    assert case.looks(seconds=100, times=100) is None
    assert case.broker.sent == [ATTEMPT]


def test_a_worker_is_lost_once_two_looks_found_it_gone(case, monkeypatch):
    case.take()
    assert case.looks() is None
    monkeypatch.setattr(at_work, "LOST_SECONDS", -1)
    assert case.looks(seconds=3) is None
    why = case.looks(seconds=3)
    assert why.startswith(f"its worker, process {os.getpid()} on ")
    assert "is gone, killed or cut off; it was last heard of at" in why


def test_a_worker_that_ended_without_a_word_is_lost_too(case):
    case.take()
    case.ledger.workers.end(ATTEMPT)
    assert case.looks(seconds=3) is None
    assert "ended without a word" in case.looks(seconds=3)


def test_a_worker_that_is_lost_is_asked_to_stop_should_it_wake(case, monkeypatch):
    case.take()
    monkeypatch.setattr(at_work, "LOST_SECONDS", -1)
    assert case.looks(seconds=3, times=2)
    assert not case.ledger.workers.beat(ATTEMPT)


def test_a_step_is_lost_only_once(case, monkeypatch):
    case.take()
    monkeypatch.setattr(at_work, "LOST_SECONDS", -1)
    assert case.looks(seconds=3, times=2)
    assert case.looks(seconds=3) is None


def test_workers_have_a_while_to_be_heard_of_after_the_ledger_was_away(case, monkeypatch):
    case.take()
    alive = case.ledger.workers.alive
    monkeypatch.setattr(case.ledger.workers, "alive", away)
    assert case.looks(seconds=60) is None
    monkeypatch.setattr(case.ledger.workers, "alive", alive)
    monkeypatch.setattr(at_work, "LOST_SECONDS", -1)
    assert case.looks(seconds=3, times=4) is None
    assert "is gone" in case.looks(seconds=10, times=2)


def test_a_ledger_that_stays_away_fails_what_waits_for_it(case, monkeypatch):
    monkeypatch.setattr(case.ledger.workers, "alive", away)
    assert case.looks(seconds=3) is None
    assert "MongoDB is away" in case.looks(seconds=130)


def away(*_):
    raise Unavailable("MongoDB is away")


def test_a_broker_that_is_away_for_a_moment_gets_its_steps_later(database, monkeypatch):
    case = Case(Ledger(database))
    monkeypatch.setattr(handlers, "time", case.clock)
    case.broker.away_since = case.clock.now
    case.launch()
    assert case.looks(seconds=60) is None
    case.broker.away_since = None
    assert case.looks(seconds=3) is None
    assert case.broker.sent == [ATTEMPT]


def test_a_broker_that_stays_away_fails_the_steps_that_wait_for_it(case):
    case.broker.away_since = case.clock.now
    why = case.looks(seconds=130)
    assert why == (
        "the broker has not answered for 130 s (ConnectionError); check FANFOLD_BROKER and that "
        "it runs"
    )


def test_a_run_whose_steps_nobody_takes_says_so_once_and_fails_in_the_end(case):
    case.looks(seconds=20, times=3)
    (said,) = case.said
    assert said == "No worker has taken a step for 40 s: is `fanfold worker` running?"
    assert case.looks(seconds=300) == ("no worker took it for 360 s: is `fanfold worker` running?")


def test_workers_that_take_no_step_of_the_run_are_asked_for_their_settings(case):
    case.ledger.workers.enter("server", step=SERVES, slots=2)
    case.looks(seconds=40)
    assert "1 of `fanfold worker` run and are idle; do they have the FANFOLD_BROKER" in case.said[0]


def test_a_run_waits_while_workers_are_at_work_for_others(case):
    case.ledger.workers.enter("other/step/0", "other", STEP)
    assert case.looks(seconds=100, times=10) is None
    assert case.said == []


def test_what_was_stopped_before_it_began_does_not_begin(case):
    list(case.handler.terminate_step(case.context))
    assert not case.take()


def test_the_end_of_a_step_counts_once(case):
    case.take()
    mine = os.getpid()
    assert case.handler.counts(case.event("step_success", mine))
    assert not case.handler.counts(case.event("step_success", mine))
    assert not case.handler.counts(case.event("step_up_for_retry", mine))


def test_a_worker_that_was_lost_and_wakes_says_nothing_of_the_next_attempt(case):
    """Another process has entered the attempt that the step is at."""
    case.take()
    stale = os.getppid()
    assert not case.handler.counts(case.event("step_failure", stale))
    assert not case.handler.counts(case.event("successful_output", stale))
    assert case.handler.counts(case.event("step_success", os.getpid()))


def test_what_a_lost_worker_says_before_the_next_attempt_began_does_not_count(case):
    assert not case.handler.counts(case.event("step_success"))


def test_events_that_end_nothing_count(case):
    assert case.handler.counts(case.event("step_start", pid=1))


def test_nobody_says_whether_an_event_counts_while_the_ledger_is_away(case, monkeypatch):
    monkeypatch.setattr(case.ledger.workers, "get", away)
    with pytest.raises(Unavailable):
        case.handler.counts(case.event("step_success"))
    monkeypatch.undo()
    case.take()
    assert case.handler.counts(case.event("step_success", os.getpid()))
