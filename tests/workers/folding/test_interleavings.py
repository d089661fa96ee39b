"""Runs side by side, in any order of their calls to MongoDB, killed anywhere."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.folds import EVENTS, any_order, fold, planned, reset, start, turns
from tests.support.interleaving import Actor, perform, turn_taking_ledger
from tests.support.pipeline import Pipeline
from workers.folding.publish import record_folded
from workers.folding.reconcile import reconcile_plans
from workers.ledger.records import PlanState


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Two profiles at a time, so that there is more to interleave; an actor is one thread."""
    monkeypatch.setattr("workers.folding.writing.CHUNK_PROFILES", 2)
    monkeypatch.setattr("workers.folding.writing.CHUNKS_AT_ONCE", 1)


@pytest.fixture
def plans(pipeline):
    """The ids of the three plans by name, and what MongoDB holds where each example starts."""
    return start(pipeline, planned(pipeline))


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
