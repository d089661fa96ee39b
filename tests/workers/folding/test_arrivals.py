"""Blocks that come, change and go in any order of days leave what a run from nothing leaves."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.anew import forget
from tests.support.pipeline import Pipeline, event
from workers.ledger.ledger import Ledger

DAYS = ("1997-10-01", "1998-01-15", "1998-04-01", "1998-04-02")  # long over, and new
SECONDS = {"1997-10-01": 875_664_000, "1998-01-15": 884_822_400}
NAMES = ("a.jsonl", "b.jsonl.gz")
USERS = ("ann", "bo", "cy", "dee")

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(USERS),
        st.sampled_from(["like", "dislike", "view"]),
        st.integers(0, 3),  # the second
        st.sampled_from(["x", "y"]),  # the item
        st.sampled_from([None, *USERS]),  # the author
    ),
    max_size=5,  # of none: the block goes
)
# What happens to some blocks, and the days that are run then; of no day: nothing yet.
ARRIVALS = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.sampled_from(DAYS), st.sampled_from(NAMES), EVENTS),
            min_size=1,
            max_size=3,
        ),
        st.sets(st.sampled_from(DAYS)),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture
def from_nothing(pipeline):
    """The same bucket, with a database of its own."""
    database = pipeline.database.client[f"{pipeline.database.name}_anew"]
    yield Pipeline(pipeline.store, database, Ledger(database))
    pipeline.database.client.drop_database(database.name)


def put(pipeline: Pipeline, day: str, name: str, events: Sequence[tuple]) -> None:
    """Put a block, or take it away where it holds nothing."""
    if not events:
        return pipeline.remove(f"events/dt={day}/{name}")
    start = SECONDS.get(day, 891_388_800)
    items = [
        event(user, action, start + second, item=item, topics=[item], author=author)
        for user, action, second, item, author in events
    ]
    return pipeline.put(items, day, name)


def documents(pipeline: Pipeline) -> list[dict]:
    return list(pipeline.profiles.find({"events": {"$exists": True}}, {"_fold": 0}).sort("_id", 1))


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ARRIVALS)
def test_whatever_came_when_profiles_are_those_of_a_run_from_nothing(
    pipeline, from_nothing, arrivals
):
    forget(pipeline)
    forget(from_nothing)
    for blocks, days in arrivals:
        for day, name, events in blocks:
            put(pipeline, day, name, events)
        if days:
            pipeline.run(*sorted(days), drop_removed=True)
    pipeline.run(*DAYS, drop_removed=True)
    assert pipeline.verify().match

    from_nothing.run(*DAYS)
    assert documents(pipeline) == documents(from_nothing)
