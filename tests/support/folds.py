"""Runs of two days that are planned and worked, and folded in turns: what interleavings need."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.interleaving import Actor, turn_taking_ledger
from tests.support.pipeline import Pipeline, event
from workers.folding.publish import record_folded
from workers.folding.reconcile import reconcile_plans
from workers.values import Document

# By name the ids of plans, and by collection the documents where each example starts.
Start = tuple[dict[str, str], dict[str, list[Document]]]

# What three runs know of two days: two of the same day, one of another.
EVENTS = {
    "old": ("1998-04-01", {"ann": 2, "bo": 1}),
    "new": ("1998-04-01", {"ann": 1, "cy": 3}),
    "other": ("1998-04-02", {"ann": 5, "bo": 1, "dee": 1}),
}
any_order = settings(
    max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


def turns(actors: int) -> st.SearchStrategy[list[int]]:
    """Return an order of turns: stretches of the same actor, long and short."""
    stretch = st.tuples(st.integers(0, actors - 1), st.sampled_from([1, 1, 2, 3, 5, 9, 25, 40]))
    return st.lists(stretch, max_size=25).map(
        lambda parts: [actor for actor, length in parts for _ in range(length)]
    )


def planned(pipeline: Pipeline) -> dict[str, str]:
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


def fold(pipeline: Pipeline, actor: Actor, plan_id: str, zombie: bool = False) -> None:
    """Do what reconcile, fold_shard and publish do, a turn for each call.

    A zombie is an op that Dagster gave up and that folds once more after all that.
    """
    ledger = turn_taking_ledger(actor, pipeline.ledger)
    run = Pipeline(pipeline.store, pipeline.database, ledger)
    reconciled = reconcile_plans(run.asset, ledger, [plan_id])

    for _ in range(1 + zombie):
        record_folded(run.asset, ledger, reconciled, run.fold(reconciled))


def start(pipeline: Pipeline, ids: dict[str, str]) -> Start:
    """Return what MongoDB holds, as the start of each example."""
    names = pipeline.database.list_collection_names()
    return ids, {name: list(pipeline.database[name].find()) for name in names}


def reset(pipeline: Pipeline, plans: Start) -> dict[str, str]:
    """Bring MongoDB back to where all three are planned and worked; return the plans' ids.

    The blocks and their results in S3 stay: no example changes those.
    """
    ids, documents = plans
    for name in {*pipeline.database.list_collection_names(), *documents}:
        pipeline.database[name].delete_many({})
        if documents.get(name):
            pipeline.database[name].insert_many(documents[name])
    return ids
