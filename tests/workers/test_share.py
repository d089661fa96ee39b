"""A worker's share of batches: run whole, helped where it is slow, and nothing twice."""

import threading
import time
import uuid
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.pipeline import event
from workers import share as shares
from workers import steps
from workers.batch import Worker, run_begun
from workers.dealt import ShareReference
from workers.declare.task import Task, load_task
from workers.errors import Refused, Unavailable
from workers.small import run_together

DAYS = [f"1998-04-{day:02}" for day in range(1, 13)]
DEAD_PID = 2**22 + 1  # no process has a number as high


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(shares, "LOOK_SECONDS", 0.01)


class Run:
    """A run whose batches are dealt to two workers."""

    def __init__(self, pipeline):
        self.pipeline = pipeline
        self.id = uuid.uuid4().hex
        listed = pipeline.list_blocks(*DAYS)
        sliced = [steps.slice_blocks(*pipeline.four, group) for group in listed.groups]
        queued = steps.queue_batches(*pipeline.four, self.id, listed, sliced, 1)
        self.work = queued.work
        self.slow, self.fast = queued.shares

    def worker(self, batch_ids, is_last=True):
        reference = ShareReference(run=self.id, is_last=is_last)
        return steps.run_batch(*self.pipeline.four, reference, batch_ids)

    def runner(self):
        return shares.ShareRunner(*self.pipeline.four, ShareReference(run=self.id), steps.log)

    def attempts(self):
        batches = self.pipeline.ledger.batches_by_id([*self.slow, *self.fast])
        return {batch_id: batch.attempts for batch_id, batch in batches.items()}

    def end(self):
        reconciled = self.pipeline.reconcile(self.work)
        self.pipeline.publish(reconciled, self.pipeline.fold(reconciled))
        assert self.pipeline.verify().match


@pytest.fixture
def run(pipeline):
    for day in DAYS:
        pipeline.put([event("ann"), event(f"user of {day}")], day)
    return Run(pipeline)


def one_by_one(monkeypatch):
    """Let no batch count as small."""
    monkeypatch.setattr(shares, "SMALL_BATCH_BYTES", -1)


def sizes_of_calls(monkeypatch):
    """Return a list of how many items each call of the task gets from here on."""
    sizes = []
    real = Task.contribute

    def counted(task, items):
        sizes.append(len(items))
        return real(task, items)

    monkeypatch.setattr(Task, "contribute", counted)
    return sizes


def answered(answers):
    return {answer.batch for answer in answers if not answer.error}


def test_results_of_small_batches_are_written_side_by_side(run, monkeypatch):
    together = threading.Barrier(len(run.slow), timeout=30)
    store = run.pipeline.store
    put = store.put

    def meeting(*args):
        together.wait()
        put(*args)

    monkeypatch.setattr(store, "put", meeting)
    assert answered(run.worker(run.slow)) == set(run.slow)


def test_small_batches_are_done_only_once_their_results_are_in_s3(run, monkeypatch):
    store, ledger = run.pipeline.store, run.pipeline.ledger
    bad = run.slow[1]
    put = store.put

    def fails(key, body):
        if bad in key:
            raise Unavailable("S3 is away")
        put(key, body)

    with monkeypatch.context() as patch:
        patch.setattr(store, "put", fails)
        with pytest.raises(Unavailable):
            run.worker(run.slow, is_last=False)
    batches = ledger.batches_by_id(run.slow)
    assert {each for each, batch in batches.items() if not batch.is_done} == {bad}
    assert batches[bad].error == "S3 is away"

    assert answered(run.worker(run.slow)) == set(run.slow)
    run.worker(run.fast)
    run.end()


def test_small_batches_together_have_the_results_that_each_has_alone(run, monkeypatch):
    run.worker(run.slow)
    together = run.pipeline.ledger.batches_by_id(run.slow)

    one_by_one(monkeypatch)
    run.pipeline.ledger.batches.update_many({}, {"$set": {"state": "planned"}})
    run.worker(run.slow)
    alone = run.pipeline.ledger.batches_by_id(run.slow)
    for batch_id, batch in together.items():
        assert alone[batch_id].finished_outcome.digest == batch.finished_outcome.digest


def test_items_of_small_batches_contribute_in_one_call(run, monkeypatch):
    sizes = sizes_of_calls(monkeypatch)
    run.worker(run.slow)
    assert sizes == [2 * len(run.slow)]


def test_a_task_that_makes_no_promise_gets_the_items_of_one_batch_alone(run, monkeypatch):
    task = replace(load_task("user_profiles"), by_item=False)
    monkeypatch.setattr("workers.batch.load_task", lambda _: task)
    sizes = sizes_of_calls(monkeypatch)
    run.worker(run.slow)
    assert sizes == [2] * len(run.slow)


def test_where_one_item_fails_in_the_task_each_small_batch_contributes_by_itself(run, monkeypatch):
    real = Task.contribute

    def fails(task, items):
        if f"user of {DAYS[1]}" in items["user"].tolist():
            raise ValueError("not this one")
        return real(task, items)

    monkeypatch.setattr(Task, "contribute", fails)
    run.worker(run.slow)
    run.worker(run.fast)
    batches = run.pipeline.ledger.batches_by_id([*run.slow, *run.fast]).values()
    dead = {batch.partition: batch.finished_outcome.dead for batch in batches}
    assert dead == {day: int(day == DAYS[1]) for day in DAYS}
    run.end()


def test_of_two_attempts_at_small_batches_the_first_that_is_done_counts(run):
    ledger, store = run.pipeline.ledger, run.pipeline.store
    slow = ledger.shares.begin(run.slow)
    fast = ledger.shares.begin(run.slow)
    assert {batch.attempts for batch in slow.values()} == {1}

    first = run_together(ledger, store, list(fast.values()), True)
    assert run_together(ledger, store, list(slow.values()), True) == first
    kept = {block.key for block in store.list("_fanfold/results/")}
    assert kept == {outcome.result for outcome in first.values()}


def test_batches_of_a_task_that_observes_run_one_by_one(run):
    runner = run.runner()
    assert runner._group(run.slow) == run.slow
    runner.may_crowd = False
    assert runner._group(run.slow) == run.slow[:1]


def test_a_large_batch_runs_by_itself(run, monkeypatch):
    one_by_one(monkeypatch)
    runner = run.runner()
    assert runner._group(run.slow) == run.slow[:1]


def test_a_worker_that_is_done_takes_batches_of_a_slow_one_and_no_batch_is_run_twice(
    run, monkeypatch
):
    one_by_one(monkeypatch)
    slow_begins = threading.Event()
    fast_is_done = threading.Event()

    def slowly(*args):
        if threading.current_thread().name == "slow":
            slow_begins.set()
            assert fast_is_done.wait(60)
        return run_begun(*args)

    monkeypatch.setattr(shares, "run_begun", slowly)
    answers = []
    slow = threading.Thread(name="slow", target=lambda: answers.extend(run.worker(run.slow)))
    slow.start()
    assert slow_begins.wait(60)
    fast = run.worker(run.fast)
    fast_is_done.set()
    slow.join(60)

    assert answered(fast) == {*run.fast, *run.slow[1:]}
    assert answered(answers) == set(run.slow)
    assert set(run.attempts().values()) == {1}
    run.end()


def test_a_worker_begins_no_batch_for_which_there_is_no_time(run, monkeypatch):
    one_by_one(monkeypatch)
    answers = iter([True, True, False])
    runner = run.runner()
    runner.has_time = lambda: next(answers)
    assert answered(runner.run(run.slow)) == set(run.slow[:2])


def test_a_worker_without_time_does_not_wait_for_another(run):
    begun_by_another(run, "dealt to it", run.slow[:1])
    runner = run.runner()
    runner.has_time = iter([True, True, False]).__next__
    assert answered(runner.run(run.slow)) == set(run.slow[1:])


def test_a_worker_begins_once_and_not_where_it_is_asked_to_stop(run):
    runner = run.runner()
    assert answered(runner.run(run.slow)) == set(run.slow)
    with pytest.raises(Refused, match="has begun before"):
        runner.run(run.fast)

    runner = run.runner()
    run.pipeline.ledger.workers.ask_to_stop(runner.worker)
    with pytest.raises(Refused, match="asked to stop"):
        runner.run(run.fast)
    assert {run.attempts()[batch_id] for batch_id in run.fast} == {0}


def test_nothing_is_taken_from_a_worker_that_has_yet_to_start(run):
    assert answered(run.worker(run.fast)) == set(run.fast)
    assert {run.attempts()[batch_id] for batch_id in run.slow} == {0}


def test_a_batch_whose_attempt_failed_stays_with_its_own_worker(run, monkeypatch):
    one_by_one(monkeypatch)
    ledger = run.pipeline.ledger
    ledger.begin(run.slow[0])
    ledger.begin(run.slow[1])
    ledger.fail(run.slow[1], "out of luck", is_final=False)
    assert answered(run.worker(run.fast)) == {*run.fast, *run.slow[2:]}


def test_what_goes_wrong_with_a_batch_of_another_is_left_to_that_one(run, monkeypatch):
    one_by_one(monkeypatch)
    run.pipeline.ledger.begin(run.slow[0])

    def fails(ledger, store, batch, *rest):
        if batch.id in run.slow:
            ledger.fail(batch.id, "S3 is away", is_final=False)
            raise Unavailable("S3 is away")
        return run_begun(ledger, store, batch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(shares, "run_begun", fails)
        assert answered(run.worker(run.fast, is_last=False)) == set(run.fast)
    assert answered(run.worker(run.slow)) == set(run.slow)
    run.end()


def begun_by_another(run, how, batch_ids):
    """Let another worker of this run begin batches; return its id."""
    ledger = run.pipeline.ledger
    ledger.workers.enter("another", run=run.id)
    if how == "dealt to it":
        assert ledger.shares.begin(batch_ids, "another")
    else:
        assert ledger.shares.take_over(batch_ids, "another", run.id)
    return "another"


@pytest.mark.parametrize("how", ["dealt to it", "taken over"])
@pytest.mark.parametrize("change", ["its process died", "its machine is silent", "it has ended"])
def test_a_batch_whose_worker_is_gone_is_run_by_the_one_it_was_dealt_to(run, change, how):
    worker = begun_by_another(run, how, run.slow[-1:])
    gone = {"pid": DEAD_PID}
    if change == "its machine is silent":
        gone = {"host": "elsewhere", "beat": datetime.now(UTC) - timedelta(hours=1)}
    if change == "it has ended":
        gone = {"ended": datetime.now(UTC)}
    run.pipeline.database["workers"].update_one({"_id": worker}, {"$set": gone})

    assert answered(run.worker(run.slow)) == set(run.slow)
    assert run.attempts()[run.slow[-1]] == 2
    run.worker(run.fast)
    run.end()


@pytest.mark.parametrize("how", ["dealt to it", "taken over"])
def test_a_worker_waits_for_a_batch_that_another_one_is_still_at(run, how):
    ledger, store = run.pipeline.ledger, run.pipeline.store
    begun_by_another(run, how, run.slow[:1])
    batch = ledger.batch(run.slow[0])

    def finish():
        time.sleep(0.3)
        run_begun(ledger, store, batch, True)

    other = threading.Thread(target=finish)
    other.start()
    assert answered(run.worker(run.slow)) == set(run.slow)
    other.join()
    assert run.attempts()[run.slow[0]] == 1


def test_a_worker_of_another_run_is_not_waited_for(run):
    begun_by_another(run, "dealt to it", run.slow[:1])
    run.pipeline.database["workers"].update_one({"_id": "another"}, {"$set": {"run": "earlier"}})
    assert answered(run.worker(run.slow)) == set(run.slow)
    assert run.attempts()[run.slow[0]] == 2


def end_workers(run, batch_id, times):
    """Let attempts at a batch end without a word, as those of killed workers do."""
    for _ in range(times):
        run.pipeline.ledger.begin(batch_id)


def test_a_batch_that_ended_its_worker_runs_alone_next(run):
    end_workers(run, run.slow[0], 1)
    runner = run.runner()
    assert runner._group(run.slow) == run.slow[:1]
    assert runner._group(run.slow[1:]) == run.slow[1:]


def test_a_batch_that_ends_worker_after_worker_fails_and_costs_the_others_nothing(run):
    bad = run.slow[1]
    end_workers(run, bad, shares.MAX_UNANSWERED)
    answers = run.worker(run.slow, is_last=False)
    assert answered(answers) == set(run.slow) - {bad}
    (error,) = [answer.error for answer in answers if answer.error]
    assert f"batch {bad} ended its worker 6 times" in error

    run.worker(run.fast)
    (refusal,) = run.pipeline.reconcile(run.work).refused
    assert "ended its worker 6 times" in refusal.why
    assert refusal.partitions == [run.pipeline.ledger.batch(bad).partition]


def test_a_partition_that_is_beyond_tolerance_stops_no_batch_of_others(pipeline, monkeypatch):
    monkeypatch.setattr(shares, "TOLERANCE_SECONDS", -1)
    one_by_one(monkeypatch)
    for name in "abc":
        pipeline.put([{"user": 1}] * 30, DAYS[0], f"{name}.jsonl")
        pipeline.put([event("ann")] * 30, DAYS[1], f"{name}.jsonl")
    run = Run(pipeline.sized(30, max_workers=2))
    for batch_ids in (run.slow, run.fast):
        run.worker(batch_ids)

    states = defaultdict(list)
    for batch in pipeline.ledger.batches_of_asset("user_profiles"):
        states[batch.partition].append(batch.state)
    assert sorted(states[DAYS[0]]) == ["done", "planned", "planned"]
    assert states[DAYS[1]] == ["done"] * 3


def test_attempts_that_say_why_they_failed_count_as_answered(run):
    for _ in range(shares.MAX_UNANSWERED + 1):
        end_workers(run, run.slow[0], 1)
        run.pipeline.ledger.fail(run.slow[0], "S3 is away", is_final=False)
    assert answered(run.worker(run.slow)) == set(run.slow)


def test_the_next_run_tries_a_batch_again_that_ended_its_workers(run):
    end_workers(run, run.slow[0], shares.MAX_UNANSWERED)
    again = Run(run.pipeline)
    assert answered(again.worker(again.slow)) == set(again.slow)


def test_a_worker_says_what_it_is_at(run, monkeypatch):
    one_by_one(monkeypatch)
    said = []
    monkeypatch.setattr("workers.ledger.heartbeat.Heartbeat.say", lambda _, at: said.append(at))
    run.worker(run.slow)
    block = run.pipeline.ledger.batch(run.slow[0]).ranges[0].key
    assert said[0] == f"batch {run.slow[0]}: 0 items so far, at {block}"


def test_of_two_that_begin_batches_at_once_one_has_each(run):
    shares_ = run.pipeline.ledger.shares
    first, second, third = run.slow[:3]
    assert shares_.begin([first], "a", run.id).keys() == {first}
    assert shares_.take_over([first, second], "b", run.id).keys() == {second}
    assert shares_.begin([second, third], "a", run.id).keys() == {third}
    assert shares_.take_over(run.slow[:3], "b", run.id) == {}


def test_a_batch_that_fails_beside_others_costs_them_nothing(run, monkeypatch):
    bad = run.slow[1]
    end = Worker.end

    def fails(worker):
        if worker.batch.id == bad:
            raise RuntimeError("out of luck")
        return end(worker)

    monkeypatch.setattr(Worker, "end", fails)
    with pytest.raises(RuntimeError, match="out of luck"):
        run.worker(run.slow, is_last=False)
    states = run.pipeline.ledger.batches_by_id(run.slow)
    assert {batch_id for batch_id, batch in states.items() if not batch.is_done} == {bad}
    assert states[bad].error == "RuntimeError: out of luck"
