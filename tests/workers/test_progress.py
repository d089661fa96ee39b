"""How far a run is, from the ledger alone."""

import pymongo
import pytest

from tests.support.pipeline import DAY, event, fragile
from workers.batch import attempt_batch
from workers.ledger.ledger import Ledger
from workers.progress import Figures, figures

NEXT = "1998-04-02"


def seen(pipeline, work, partitions=2):
    return figures(pipeline.ledger, work.plans[0].run, partitions)


@pytest.fixture
def two_days(pipeline):
    """Two days of a hundred items and one batch each."""
    for day in (DAY, NEXT):
        pipeline.put([event(f"user{n}") for n in range(100)], day)
    return pipeline


def test_a_run_is_listing_until_the_plan_of_each_partition_is_written(two_days):
    work = two_days.plan(DAY)
    assert seen(two_days, work) == Figures(partitions=2)
    assert figures(two_days.ledger, "not there", 2).stage == "listing"


def test_a_run_goes_through_its_stages_in_order(two_days):
    work = two_days.plan(DAY, NEXT)
    told = [seen(two_days, work)]
    for one in work.to_run:
        attempt_batch(one, two_days.ledger, two_days.store)
        told.append(seen(two_days, work))
    reconciled = two_days.reconcile(work)
    told.append(seen(two_days, work))
    for claim, counts in zip(reconciled.claims, reconciled.counts, strict=True):
        two_days.ledger.claims.folded(claim, counts, [])
        told.append(seen(two_days, work))
    stages = [(one.stage, one.finished, one.folded) for one in told]
    assert stages == [
        ("working", 0, 0),
        ("working", 1, 0),
        ("folding", 2, 0),
        ("folding", 2, 0),
        ("publishing", 2, 1),
        ("checking", 2, 2),
    ]
    assert {one.batches for one in told} == {2}
    assert (told[-1].items_done, told[-1].items) == (200, 200)


def test_items_are_estimates_until_workers_have_counted_them(two_days):
    work = two_days.plan(DAY, NEXT)
    estimated = sum(made.items for made in work.plans)
    assert (seen(two_days, work).items_done, seen(two_days, work).items) == (0, estimated)
    first, *_ = work.to_run
    outcome = attempt_batch(first, two_days.ledger, two_days.store)
    now = seen(two_days, work)
    assert now.items_done == outcome.items
    planned = two_days.ledger.batch(first)["items"]
    assert now.items == estimated - planned + outcome.items


def test_what_is_reused_counts_as_done(two_days):
    two_days.run(DAY)
    work = two_days.plan(DAY, NEXT)
    now = seen(two_days, work)
    assert (now.finished, now.batches, now.reused) == (1, 2, 1)
    assert now.items_done == 100


def test_dead_letters_failed_batches_and_redrives_are_counted_as_the_run_counts_them(
    pipeline, monkeypatch
):
    tolerant = pipeline.tolerant(10, 1.0)
    fragile(monkeypatch, lambda user: user.startswith("bo"))
    tolerant.put([event("ann"), event("bo1"), event("bo2")])
    tolerant.put([event("cy")] * 3, NEXT)
    work = tolerant.plan(DAY, NEXT)
    good = next(one for one in work.to_run if tolerant.ledger.batch(one)["partition"] == DAY)
    (bad,) = set(work.to_run) - {good}
    attempt_batch(good, tolerant.ledger, tolerant.store)
    tolerant.ledger.fail(bad, "out of luck")
    now = seen(tolerant, work)
    assert (now.finished, now.failed, now.dead, now.items_done, now.items) == (2, 1, 2, 3, 6)
    fragile(monkeypatch, lambda user: user == "bo1", version="mended")
    summary = tolerant.redrive(DAY)
    (plan,) = tolerant.ledger.plans.find({"partition": DAY, "state": "folded"})
    again = figures(tolerant.ledger, plan["run"], 1)
    assert (again.dead, again.items, again.items_done) == (1, 3, 3)
    assert (summary["dead_letters"], summary["items"], again.batches) == (1, 3, 2)


def test_a_run_beyond_tolerance_is_refused(pipeline):
    strict = pipeline.tolerant()
    strict.put([event("ann"), b"bad"])
    work = strict.plan()
    strict.work(work)
    with pytest.raises(Exception, match="nothing is folded"):
        strict.reconcile(work)
    assert seen(strict, work, 1).stage == "refused"


def test_the_work_left_is_what_the_finished_batches_took_by_item_and_set_up(two_days):
    work = two_days.plan(DAY, NEXT)
    assert seen(two_days, work).work_left == pytest.approx(2 * 0.06)  # of items nothing is known
    first, second = work.to_run
    attempt_batch(first, two_days.ledger, two_days.store)
    two_days.ledger.batches.update_one({"_id": first}, {"$set": {"outcome.seconds": 10.06}})
    now = seen(two_days, work)
    assert now.work_done == pytest.approx(10.06)
    left = two_days.ledger.batch(second)["items"]
    assert now.work_left == pytest.approx(0.06 + left * 0.1)


def test_a_look_costs_two_requests_whatever_the_run_is_made_of(two_days, servers):
    work = two_days.plan(DAY, NEXT)
    asked = []

    class Commands(pymongo.monitoring.CommandListener):
        def started(self, event):
            asked.append(event.command_name)

        def succeeded(self, event):
            pass

        def failed(self, event):
            pass

    with pymongo.MongoClient(servers.mongodb_uri, event_listeners=[Commands()]) as client:
        ledger = Ledger(client[two_days.database.name])
        figures(ledger, work.plans[0].run, 2)
    assert [name for name in asked if not name.startswith(("sasl", "end"))] == ["find", "aggregate"]
