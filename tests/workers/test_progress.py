"""How far a run is, from the ledger alone."""

import pymongo
import pytest

from tests.support.pipeline import DAY, event, fragile
from workers.batch import attempt_batch
from workers.ledger.claims import Fold
from workers.ledger.ledger import Ledger
from workers.progress import Figures, figures
from workers.values import BUCKETS

NEXT = "1998-04-02"


def figures_of(pipeline, work, partitions=2):
    return figures(pipeline.ledger, work.plans[0].run, partitions)


@pytest.fixture
def two_days(pipeline):
    """Two days of a hundred items and one batch each."""
    for day in (DAY, NEXT):
        pipeline.put([event(f"user{n}") for n in range(100)], day)
    return pipeline


def test_a_run_is_listing_until_the_plan_of_each_partition_is_written(two_days):
    work = two_days.plan(DAY)
    assert figures_of(two_days, work) == Figures(partitions=2)
    assert figures(two_days.ledger, "not there", 2).stage == "listing"


def test_a_run_goes_through_its_stages_in_order(two_days):
    work = two_days.plan(DAY, NEXT)
    steps = [figures_of(two_days, work)]

    for batch in work.to_run:
        attempt_batch(two_days.ledger, two_days.store, batch)
        steps.append(figures_of(two_days, work))

    reconciled = two_days.reconcile(work)
    steps.append(figures_of(two_days, work))

    for claim, counts in zip(reconciled.claims, reconciled.counts, strict=True):
        two_days.ledger.claims.mark_folded([Fold(claim, counts, [])])
        steps.append(figures_of(two_days, work))

    stages = [(step.stage, step.finished, step.folded) for step in steps]
    assert stages == [
        ("working", 0, 0),
        ("working", 1, 0),
        ("folding", 2, 0),
        ("folding", 2, 0),
        ("publishing", 2, 1),
        ("checking", 2, 2),
    ]

    assert {step.batches for step in steps} == {2}
    assert (steps[-1].items_done, steps[-1].items) == (200, 200)


def test_items_are_estimates_until_workers_have_counted_them(two_days):
    work = two_days.plan(DAY, NEXT)
    estimated = sum(plan.items for plan in work.plans)
    before = figures_of(two_days, work)
    assert (before.items_done, before.items) == (0, estimated)

    first, *_ = work.to_run
    outcome = attempt_batch(two_days.ledger, two_days.store, first)
    now = figures_of(two_days, work)
    assert now.items_done == outcome.items

    planned = two_days.ledger.batch(first).items
    assert now.items == estimated - planned + outcome.items


def test_a_reused_batch_counts_as_done(two_days):
    two_days.run(DAY)
    work = two_days.plan(DAY, NEXT)
    now = figures_of(two_days, work)
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
    good = next(batch for batch in work.to_run if tolerant.ledger.batch(batch).partition == DAY)
    (bad,) = set(work.to_run) - {good}

    attempt_batch(tolerant.ledger, tolerant.store, good)
    tolerant.ledger.fail(bad, "out of luck")

    now = figures_of(tolerant, work)
    assert (now.finished, now.failed, now.dead, now.items_done, now.items) == (2, 1, 2, 3, 6)

    fragile(monkeypatch, lambda user: user == "bo1", version="newer")
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
    assert figures_of(strict, work, 1).stage == "refused"


def test_the_work_left_is_estimated_from_what_finished_batches_took_by_item_and_set_up(two_days):
    work = two_days.plan(DAY, NEXT)
    # Of items nothing is known yet.
    assert figures_of(two_days, work).work_left == pytest.approx(2 * 0.06)

    first, second = work.to_run
    attempt_batch(two_days.ledger, two_days.store, first)
    two_days.ledger.batches.update_one({"_id": first}, {"$set": {"outcome.seconds": 10.06}})

    now = figures_of(two_days, work)
    assert now.work_done == pytest.approx(10.06)

    items_left = two_days.ledger.batch(second).items
    assert now.work_left == pytest.approx(0.06 + items_left * 0.1)


def test_figures_cost_two_requests_whatever_the_run_is_made_of(two_days, servers):
    work = two_days.plan(DAY, NEXT)
    sent = []

    class Commands(pymongo.monitoring.CommandListener):
        def started(self, event):
            sent.append(event.command_name)

        def succeeded(self, event):
            pass

        def failed(self, event):
            pass

    with pymongo.MongoClient(servers.mongodb_uri, event_listeners=[Commands()]) as client:
        ledger = Ledger(client[two_days.database.name])
        figures(ledger, work.plans[0].run, 2)

    assert [name for name in sent if not name.startswith(("sasl", "end"))] == ["find", "aggregate"]


def test_a_long_fold_tells_how_many_profiles_are_folded(two_days, monkeypatch):
    monkeypatch.setattr("workers.folding.fold.TELL_SECONDS", -1)
    for module in ("fold", "writing"):
        monkeypatch.setattr(f"workers.folding.{module}.CHUNK_PROFILES", 30)
    work = two_days.plan(DAY, NEXT)
    two_days.work(work)
    reconciled = two_days.reconcile(work)
    assert figures_of(two_days, work).profiles == 0
    two_days.fold(reconciled)
    now = figures_of(two_days, work)
    assert (now.stage, now.profiles_folded, now.profiles) == ("folding", 100, 100)


def test_the_profiles_of_shards_that_did_not_begin_are_estimated(two_days):
    work = two_days.plan(DAY, NEXT)
    plan = work.plans[0].id
    two_days.ledger.folded.record_progress(plan, 0, BUCKETS // 4, 10, 40)
    assert figures_of(two_days, work).profiles == 160
    two_days.ledger.folded.record_progress(plan, BUCKETS // 4, BUCKETS, 0, 130)
    now = figures_of(two_days, work)
    assert (now.profiles_folded, now.profiles) == (10, 170)
