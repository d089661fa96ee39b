"""A worker of an older run gives way to a newer partition, and goes on whatever happens."""

import pytest

from tests.support.pipeline import DAY, event
from workers import giving_way, steps
from workers.dealt import ShareReference
from workers.giving_way import GivingWay
from workers.share import ShareRunner

NEXT = "1998-04-02"


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(giving_way, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(giving_way, "PAUSE_SECONDS", 0.05)


@pytest.fixture
def plans(pipeline):
    """Two runs that are planned: of a day, and of the next."""
    for day in (DAY, NEXT):
        pipeline.put([event("ann")], day)
    return pipeline.plan(DAY), pipeline.plan(NEXT)


def said_by(pipeline, work):
    said = []
    run = work.plans[0].run
    GivingWay(pipeline.ledger, pipeline.asset.name, run, steps.log).pause(said.append)
    return set(said)


def test_an_older_run_gives_way_to_a_newer_partition_that_is_at_work(pipeline, plans):
    older, newer = plans
    assert said_by(pipeline, older) == {f"giving way to {NEXT}, a newer partition that is at work"}
    assert said_by(pipeline, newer) == set()


def test_a_run_gives_way_to_nobody_who_has_folded(pipeline, plans):
    older, newer = plans
    pipeline.finish(newer)
    assert said_by(pipeline, older) == set()


def test_a_run_gives_way_to_nobody_whose_workers_are_gone(pipeline, plans, monkeypatch):
    older, _ = plans
    monkeypatch.setattr("workers.ledger.ledger.JUST_MADE_SECONDS", 0)
    assert said_by(pipeline, older) == set()


def test_a_run_gives_way_while_workers_of_the_newer_one_are_heard_of(pipeline, plans, monkeypatch):
    older, newer = plans
    monkeypatch.setattr("workers.ledger.ledger.JUST_MADE_SECONDS", 0)
    pipeline.ledger.workers.enter("w1", newer.plans[0].run)
    assert said_by(pipeline, older)
    pipeline.ledger.workers.end("w1")
    assert said_by(pipeline, older) == set()


def test_a_worker_that_gives_way_goes_on_after_a_while(pipeline, plans):
    older, _ = plans
    reference = ShareReference(run=older.plans[0].run)
    (answer,) = steps.run_batch(*pipeline.four, reference, list(older.to_run))
    assert answer.items == 1


def test_the_log_of_the_run_tells_once_to_what_it_gives_way(pipeline, plans, caplog):
    caplog.set_level("INFO")
    older, _ = plans
    said_by(pipeline, older)
    (told,) = [each for each in caplog.messages if "giving way" in each]
    assert told == f"giving way to {NEXT}, a newer partition that is at work"


def test_a_worker_whose_time_is_bounded_loses_none_of_it(pipeline, plans):
    older, _ = plans
    reference = ShareReference(run=older.plans[0].run)
    runner = ShareRunner(*pipeline.four, reference, steps.log, has_time=lambda: True)
    assert runner.giving_way is None


def test_a_worker_asks_only_now_and_then(pipeline, plans, monkeypatch):
    older, _ = plans
    way = GivingWay(pipeline.ledger, pipeline.asset.name, older.plans[0].run, steps.log)
    way.pause(lambda _: None)
    monkeypatch.setattr(pipeline.ledger, "newer_at_work", None)
    way.pause(lambda _: None)
