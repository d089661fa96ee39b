"""Runs side by side, in any order of their calls to MongoDB, killed anywhere."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.interleaving import Actor, ledger_of, perform
from tests.support.pipeline import event
from workers.declare.task import load_task
from workers.folding.fold import fold_profiles
from workers.folding.publish import record_folded
from workers.folding.reconcile import reconcile_plans

SAYS = {  # what three runs know of two days: two of the same day, one of another
    "old": ("1998-04-01", {"ann": 2, "bo": 1}),
    "new": ("1998-04-01", {"ann": 1, "cy": 3}),
    "other": ("1998-04-02", {"ann": 5, "bo": 1, "dee": 1}),
}
anything = settings(
    max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


def turns(actors):
    """An order of turns: stretches of one actor, long and short."""
    stretch = st.tuples(st.integers(0, actors - 1), st.sampled_from([1, 1, 2, 3, 5, 9, 25, 40]))
    return st.lists(stretch, max_size=25).map(
        lambda parts: [actor for actor, length in parts for _ in range(length)]
    )


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Two profiles at a time, so that there is more to interleave."""
    monkeypatch.setattr("workers.folding.fold.CHUNK_PROFILES", 2)


def planned(pipeline):
    """Plan and work all three, each over its own blocks, over profiles that are there before."""
    for day in ("1998-04-01", "1998-04-02"):
        pipeline.put([event(user) for user in ("ann", "bo", "eve")], day)
    pipeline.run("1998-04-01", "1998-04-02")
    plans = {}
    for name, (day, says) in SAYS.items():
        pipeline.put([event(user) for user, times in says.items() for _ in range(times)], day)
        work = pipeline.plan(day)
        pipeline.work(work)
        plans[name] = work.plans[0].id
    return plans


def fold(pipeline, actor, plan_id, zombie=False):
    """Do what reconcile, fold_shard and publish do, a turn for each call.

    A zombie is an op that Dagster gave up and that folds once more after all that.
    """
    ledger, of_asset = ledger_of(actor, pipeline.ledger), load_task(pipeline.asset.task)
    found = reconcile_plans(ledger, pipeline.asset, [plan_id])
    for _ in range(1 + zombie):
        folded = [
            fold_profiles(shard, pipeline.asset, of_asset, ledger, pipeline.store)
            for shard in found.shards
        ]
        record_folded(ledger, pipeline.asset, found, folded)


def reset(pipeline):
    for collection in ("plans", "batches", "dead_letters", "assets", pipeline.asset.name):
        pipeline.database[collection].delete_many({})


def held(pipeline):
    return Counter(
        {doc["_id"]: doc["events"] for doc in pipeline.profiles.find({"events": {"$gt": 0}})}
    )


@anything
@given(order=turns(3))
def test_of_two_runs_of_one_partition_the_newer_is_left_whole_and_others_undisturbed(
    pipeline, order
):
    reset(pipeline)
    plans = planned(pipeline)
    actors = [Actor(None) for _ in plans]
    bodies = [
        lambda actor=actor, plan=plan: fold(pipeline, actor, plan, zombie=True)
        for actor, plan in zip(actors, plans.values(), strict=True)
    ]
    perform(actors, bodies, order)
    assert held(pipeline) == Counter(SAYS["new"][1]) + Counter(SAYS["other"][1])
    assert pipeline.ledger.plan(plans["new"])["state"] == "folded"
    assert pipeline.ledger.plan(plans["other"])["state"] == "folded"


@anything
@given(
    order=turns(3),
    deaths=st.tuples(*[st.one_of(st.none(), st.integers(1, 30)) for _ in SAYS]),
)
def test_whatever_was_killed_where_a_new_run_leaves_the_profiles_exact(pipeline, order, deaths):
    reset(pipeline)
    plans = planned(pipeline)
    actors = [Actor(dies_at) for dies_at in deaths]
    bodies = [
        lambda actor=actor, plan=plan: fold(pipeline, actor, plan)
        for actor, plan in zip(actors, plans.values(), strict=True)
    ]
    perform(actors, bodies, order)
    pipeline.run("1998-04-01", "1998-04-02")
    assert held(pipeline) == Counter(SAYS["new"][1]) + Counter(SAYS["other"][1])
    assert pipeline.verify().match
    assert pipeline.ledger.plans.count_documents({"state": {"$in": ["planned", "folding"]}}) == 0


@anything
@given(
    order=turns(4),
    deaths=st.tuples(*[st.one_of(st.none(), st.integers(1, 40)) for _ in range(3)]),
)
def test_runs_that_come_in_while_another_is_mended_lose_nothing(pipeline, order, deaths):
    """A fourth run, of both days as they are now, goes on at the same time and to the end."""
    reset(pipeline)
    plans = list(planned(pipeline).values())
    actors = [Actor(dies_at) for dies_at in (*deaths, None)]
    both = pipeline.plan("1998-04-01", "1998-04-02")

    def last():
        ledger, of_asset = ledger_of(actors[3], pipeline.ledger), load_task(pipeline.asset.task)
        ids = [plan.id for plan in both.plans]
        found = reconcile_plans(ledger, pipeline.asset, ids)
        folded = [
            fold_profiles(shard, pipeline.asset, of_asset, ledger, pipeline.store)
            for shard in found.shards
        ]
        record_folded(ledger, pipeline.asset, found, folded)

    bodies = [
        lambda actor=actor, plan=plan: fold(pipeline, actor, plan)
        for actor, plan in zip(actors, plans, strict=False)
    ]
    perform(actors, [*bodies, last], order)
    pipeline.run("1998-04-01", "1998-04-02")
    assert held(pipeline) == Counter(SAYS["new"][1]) + Counter(SAYS["other"][1])
    assert pipeline.verify().match
