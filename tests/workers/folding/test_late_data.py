"""Late data of any age: it costs what is late, not what is kept."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.anew import forget
from tests.support.pipeline import event
from workers.ledger import profile_writes

YEAR = 60  # days: long enough that no bound of days could hide
USERS = [f"user{number}" for number in range(20)]


@pytest.fixture
def year(pipeline):
    """A range of days in which each user does something now and then."""
    chosen = random.Random(7)
    days = pipeline.asset.partitions.between("1998-01-01", "1998-12-31")[:YEAR]
    for day in days:
        pipeline.put([event(user) for user in chosen.sample(USERS, 5)], day)
    pipeline.run(*days)
    return pipeline, days


def written(monkeypatch):
    """Return the profiles that are written from here on."""
    profiles = []
    real = profile_writes.write_all

    def counted(collection, writes):
        profiles.extend(write.profile for write in writes)
        return real(collection, writes)

    monkeypatch.setattr("workers.folding.writing.write_all", counted)
    return profiles


def test_a_block_that_is_added_to_an_old_day_costs_the_profiles_that_it_mentions(year, monkeypatch):
    pipeline, days = year
    pipeline.put([event("user1"), event("new")], days[3], "late.jsonl")
    profiles = written(monkeypatch)
    pipeline.run(days[3])
    assert sorted(profiles) == ["new", "user1"]
    assert pipeline.verify().match


def test_a_block_that_is_replaced_costs_the_profiles_that_it_mentioned_or_mentions(
    year, monkeypatch
):
    pipeline, days = year
    (batch,) = pipeline.ledger.batches_of_asset("user_profiles", days[3])
    before = {user for user in USERS if f'"{user}"'.encode() in body(pipeline, batch)}
    pipeline.put([event("user1")], days[3])
    profiles = written(monkeypatch)
    pipeline.run(days[3])
    assert set(profiles) == before | {"user1"}
    assert pipeline.verify().match


def body(pipeline, batch):
    return pipeline.store.get(batch.ranges[0].key)


def test_a_day_that_is_run_again_unchanged_writes_nothing(year, monkeypatch):
    pipeline, days = year
    profiles = written(monkeypatch)
    pipeline.run(*days)
    assert profiles == []


ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 5),  # the day
        st.sampled_from(["a.jsonl", "b.jsonl"]),
        st.lists(st.sampled_from(USERS[:4]), max_size=4),  # of nobody: the block goes
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ARRIVALS)
def test_blocks_may_come_change_and_go_in_any_order_of_days(pipeline, arrivals):
    forget(pipeline)

    days = pipeline.asset.partitions.between("1998-04-01", "1998-04-06")
    for number, name, users in arrivals:
        if users:
            pipeline.put([event(user) for user in users], days[number], name)
        else:
            pipeline.remove(f"events/dt={days[number]}/{name}")
        pipeline.run(days[number], drop_removed=True)
    assert pipeline.verify().match
