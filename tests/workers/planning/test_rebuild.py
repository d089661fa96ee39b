"""Rebuild: all profiles anew beside the old ones, and in their place at the end."""

import pytest

from tests.support.pipeline import DAY, event, fragile
from workers.errors import Refused
from workers.planning.rebuild import (
    begin_rebuild,
    drop_leftovers,
    finish_swap,
    partitions_to_rebuild,
    swap,
)

DAYS = ["1998-04-01", "1998-04-02", "1998-04-03", "1998-04-04"]


@pytest.fixture
def closed(pipeline):
    """A pipeline whose first two days are closed, with a late block in the first."""
    pipeline = pipeline.changed(open_partitions=1)
    for day in DAYS:
        pipeline.put([event("ann"), event(day)], day)
    pipeline.run(*DAYS)

    pipeline.put([event("bo")], DAYS[0], "late.jsonl")
    with pytest.raises(Refused, match="`fanfold rebuild user_profiles`"):
        pipeline.run(*DAYS)

    return pipeline


def rebuilt(pipeline, *days):
    """Rebuild in a single run; return the new generation and the summary."""
    todo = partitions_to_rebuild(*pipeline.four, drop_removed=False)
    generation = begin_rebuild(pipeline.asset, pipeline.ledger)
    summary = pipeline.run(*(days or todo), generation=generation)
    return generation, summary


def test_a_closed_partition_takes_up_its_late_block_and_finished_batches_are_reused(closed):
    generation, summary = rebuilt(closed)
    assert (summary["batches"], summary["batches_reused"]) == (5, 4)
    assert closed.profile("bo") is None
    swap(closed.asset, closed.ledger, generation)
    assert closed.profile("bo")["events"] == 1
    assert closed.verify().match
    assert closed.run(*DAYS)["partitions_unchanged"] == 2


def test_with_changed_code_a_rebuild_reads_the_raw_blocks(closed, monkeypatch):
    fragile(monkeypatch, lambda user: False, version="newer")
    generation, summary = rebuilt(closed)
    assert summary["batches_reused"] == 0
    swap(closed.asset, closed.ledger, generation)
    assert closed.verify().match


def test_profiles_that_no_block_mentions_any_more_are_gone_after_the_swap(closed):
    closed.put([event("cy")], DAYS[1])
    generation, _ = rebuilt(closed)
    swap(closed.asset, closed.ledger, generation)
    assert closed.profile(DAYS[1]) is None
    assert closed.verify().match


def test_indexes_that_people_made_are_there_after_the_swap(closed):
    closed.profiles.create_index([("last_seen", -1)], name="seen", sparse=True)
    generation, _ = rebuilt(closed)
    swap(closed.asset, closed.ledger, generation)
    assert closed.profiles.index_information()["seen"]["sparse"]


def test_a_run_that_folds_while_a_rebuild_swaps_is_refused_and_leaves_no_trace(closed):
    closed.put([event("dee")], DAYS[3], "late.jsonl")
    slow = closed.plan(DAYS[3])
    closed.work(slow)
    claimed = closed.reconcile(slow)

    closed.remove(f"events/dt={DAYS[3]}/late.jsonl")
    generation, _ = rebuilt(closed)
    swap(closed.asset, closed.ledger, generation)

    with pytest.raises(Refused, match="a rebuild has replaced the profiles"):
        closed.fold(claimed)
    assert closed.verify().match


def test_a_write_of_the_old_generation_that_comes_late_does_not_count(closed):
    entry = {"partition": DAY, "epoch": 9, "fields": {}}
    old = {"version": 7, "generation": 0, "base": {}, "open": {DAY: entry}}

    generation, _ = rebuilt(closed)
    swap(closed.asset, closed.ledger, generation)

    closed.profiles.insert_one({"_id": "eve", "events": 5, "_fold": old})
    closed.put([event("eve")], DAYS[3], "late.jsonl")
    closed.run(DAYS[3])

    assert closed.profile("eve")["events"] == 1
    assert closed.verify().match


def test_a_swap_that_was_cut_off_is_finished_by_the_next_run(closed, monkeypatch):
    generation, _ = rebuilt(closed)
    assert closed.ledger.claims.enter(closed.asset.name, generation)  # and killed right here
    finish_swap(closed.asset, closed.ledger)
    finish_swap(closed.asset, closed.ledger)
    assert closed.verify().match


def test_of_two_rebuilds_the_later_one_stays(closed):
    first, _ = rebuilt(closed)
    second, _ = rebuilt(closed)
    swap(closed.asset, closed.ledger, second)
    with pytest.raises(Refused, match="another rebuild was finished"):
        swap(closed.asset, closed.ledger, first)
    assert closed.verify().match
    assert drop_leftovers(closed.asset, closed.ledger) == [f"user_profiles.rebuild_{first}"]


def test_partitions_whose_blocks_are_all_gone_are_dropped_only_on_purpose(closed):
    closed.remove(f"events/dt={DAYS[1]}/a.jsonl")
    with pytest.raises(Refused, match=f"{DAYS[1]}.*--drop-removed"):
        rebuilt(closed)
    todo = partitions_to_rebuild(*closed.four, drop_removed=True)
    assert todo == [DAYS[0], *DAYS[2:]]
