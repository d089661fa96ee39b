"""Runs side by side, in any order of their calls to MongoDB, killed anywhere."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.interleaving import Actor, perform, turn_taking_ledger
from tests.support.pipeline import Pipeline, event
from workers.folding.publish import record_folded
from workers.folding.reconcile import reconcile_plans
from workers.ledger.records import PlanState

# What three runs know of two days: two of the same day, one of another.
EVENTS = {
    "old": ("1998-04-01", {"ann": 2, "bo": 1}),
    "new": ("1998-04-01", {"ann": 1, "cy": 3}),
    "other": ("1998-04-02", {"ann": 5, "bo": 1, "dee": 1}),
}
any_order = settings(
    max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


def turns(actors):
    """Return an order of turns: stretches of the same actor, long and short."""
    stretch = st.tuples(st.integers(0, actors - 1), st.sampled_from([1, 1, 2, 3, 5, 9, 25, 40]))
    return st.lists(stretch, max_size=25).map(
        lambda parts: [actor for actor, length in parts for _ in range(length)]
    )


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Two profiles at a time, so that there is more to interleave; an actor is one thread."""
    monkeypatch.setattr("workers.folding.writing.CHUNK_PROFILES", 2)
    monkeypatch.setattr("workers.folding.writing.CHUNKS_AT_ONCE", 1)


def planned(pipeline):
    """Plan and work all three, each over its own blocks, over profiles that are there before."""
    for day in ("1998-04-01", "1998-04-02"):
        pipeline.put([event(user) for user in ("ann", "bo", "eve")], day)
    pipeline.run("1998-04-01", "1998-04-02")

    plans = {}
    for name, (day, events) in EVENTS.items():
        pipeline.put([event(user) for user, times in events.items() for _ in range(times)], day)
        work = pipeline.plan(day)
        pipeline.work(work)
        plans[name] = work.plans[0].id
    return plans


def fold(pipeline, actor, plan_id, zombie=False):
    """Do what reconcile, fold_shard and publish do, a turn for each call.

    A zombie is an op that Dagster gave up and that folds once more after all that.
    """
    ledger = turn_taking_ledger(actor, pipeline.ledger)
    run = Pipeline(pipeline.store, pipeline.database, ledger)
    reconciled = reconcile_plans(run.asset, ledger, [plan_id])

    for _ in range(1 + zombie):
        record_folded(run.asset, ledger, reconciled, run.fold(reconciled))


@pytest.fixture
def plans(pipeline):
    """The ids of the three plans by name, and what MongoDB holds where each example starts."""
    ids = planned(pipeline)
    names = pipeline.database.list_collection_names()
    return ids, {name: list(pipeline.database[name].find()) for name in names}


def reset(pipeline, plans):
    """Bring MongoDB back to where all three are planned and worked; return the plans' ids.

    The blocks and their results in S3 stay: no example changes those.
    """
    ids, documents = plans
    for name in pipeline.database.list_collection_names():
        pipeline.database[name].delete_many({})
        if documents.get(name):
            pipeline.database[name].insert_many(documents[name])
    return ids


def events_of_profiles(pipeline):
    profiles = pipeline.profiles.find({"events": {"$gt": 0}})
    return Counter({profile["_id"]: profile["events"] for profile in profiles})


@any_order
@given(order=turns(3))
def test_of_two_runs_of_one_partition_the_newer_is_left_whole_and_others_undisturbed(
    pipeline, plans, order
):
    ids = reset(pipeline, plans)
    actors = [Actor(None) for _ in ids]
    scripts = [
        lambda actor=actor, plan=plan: fold(pipeline, actor, plan, zombie=True)
        for actor, plan in zip(actors, ids.values(), strict=True)
    ]

    perform(actors, scripts, order)

    assert events_of_profiles(pipeline) == Counter(EVENTS["new"][1]) + Counter(EVENTS["other"][1])
    assert pipeline.ledger.plan(ids["new"]).state is PlanState.FOLDED
    assert pipeline.ledger.plan(ids["other"]).state is PlanState.FOLDED


@any_order
@given(
    order=turns(3),
    deaths=st.tuples(*[st.one_of(st.none(), st.integers(1, 30)) for _ in EVENTS]),
)
def test_whatever_was_killed_where_a_new_run_leaves_the_profiles_exact(
    pipeline, plans, order, deaths
):
    ids = reset(pipeline, plans)
    actors = [Actor(last_call) for last_call in deaths]
    scripts = [
        lambda actor=actor, plan=plan: fold(pipeline, actor, plan)
        for actor, plan in zip(actors, ids.values(), strict=True)
    ]

    perform(actors, scripts, order)
    pipeline.run("1998-04-01", "1998-04-02")

    assert events_of_profiles(pipeline) == Counter(EVENTS["new"][1]) + Counter(EVENTS["other"][1])
    assert pipeline.verify().match
    assert pipeline.ledger.plans.count_documents({"state": {"$in": ["planned", "folding"]}}) == 0


@any_order
@given(
    order=turns(4),
    deaths=st.tuples(*[st.one_of(st.none(), st.integers(1, 40)) for _ in range(3)]),
)
def test_runs_that_come_in_while_another_is_finished_lose_nothing(pipeline, plans, order, deaths):
    """A fourth run, of both days as they are now, goes on at the same time and to the end."""
    ids = reset(pipeline, plans)
    actors = [Actor(last_call) for last_call in (*deaths, None)]
    both = pipeline.plan("1998-04-01", "1998-04-02")

    def last():
        ledger = turn_taking_ledger(actors[3], pipeline.ledger)
        run = Pipeline(pipeline.store, pipeline.database, ledger)
        reconciled = reconcile_plans(run.asset, ledger, [plan.id for plan in both.plans])
        record_folded(run.asset, ledger, reconciled, run.fold(reconciled))

    scripts = [
        lambda actor=actor, plan=plan: fold(pipeline, actor, plan)
        for actor, plan in zip(actors, ids.values(), strict=False)
    ]

    perform(actors, [*scripts, last], order)
    pipeline.run("1998-04-01", "1998-04-02")

    assert events_of_profiles(pipeline) == Counter(EVENTS["new"][1]) + Counter(EVENTS["other"][1])
    assert pipeline.verify().match
