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
from workers.planning.whereabouts import declared_key

DAYS = ["1998-04-01", "1998-04-02", "1998-04-03", "1998-04-04"]


@pytest.fixture
def late(pipeline):
    """Four days that are folded, with a late block in the first."""
    for day in DAYS:
        pipeline.put([event("ann"), event(day)], day)
    pipeline.run(*DAYS)
    pipeline.put([event("bo")], DAYS[0], "late.jsonl")
    return pipeline


def rebuilt(pipeline, *days):
    """Rebuild in a single run; return the new generation and the summary."""
    todo = partitions_to_rebuild(*pipeline.four, drop_removed=False)
    generation = begin_rebuild(pipeline.asset, pipeline.ledger)
    summary = pipeline.run(*(days or todo), generation=generation)
    return generation, summary


def test_a_rebuild_takes_up_late_blocks_and_reuses_finished_batches(late):
    generation, summary = rebuilt(late)
    assert (summary["batches"], summary["batches_reused"]) == (5, 4)
    assert late.profile("bo") is None
    swap(late.asset, late.task, late.ledger, generation)
    assert late.profile("bo")["events"] == 1
    assert late.verify().match
    assert late.run(*DAYS)["batches_reused"] == 5


def test_with_changed_code_a_rebuild_reads_the_raw_blocks(late, monkeypatch):
    fragile(monkeypatch, lambda user: False, version="newer")
    generation, summary = rebuilt(late)
    assert summary["batches_reused"] == 0
    swap(late.asset, late.task, late.ledger, generation)
    assert late.verify().match


def test_profiles_that_no_block_mentions_any_more_are_gone_after_the_swap(late):
    late.put([event("cy")], DAYS[1])
    generation, _ = rebuilt(late)
    swap(late.asset, late.task, late.ledger, generation)
    assert late.profile(DAYS[1]) is None
    assert late.verify().match


def test_indexes_that_people_made_are_there_after_the_swap(late):
    late.profiles.create_index([("last_seen", -1)], name="seen", sparse=True)
    generation, _ = rebuilt(late)
    swap(late.asset, late.task, late.ledger, generation)
    assert late.profiles.index_information()["seen"]["sparse"]


def test_a_run_that_folds_while_a_rebuild_swaps_is_refused_and_leaves_no_trace(late):
    late.put([event("dee")], DAYS[3], "late.jsonl")
    slow = late.plan(DAYS[3])
    late.work(slow)
    claimed = late.reconcile(slow)

    late.remove(f"events/dt={DAYS[3]}/late.jsonl")
    generation, _ = rebuilt(late)
    swap(late.asset, late.task, late.ledger, generation)

    with pytest.raises(Refused, match="a rebuild has replaced the profiles"):
        late.fold(claimed)
    assert late.verify().match


def test_a_write_of_the_old_generation_that_comes_late_does_not_count(late):
    entry = {"partition": DAY, "epoch": 9, "fields": {}}
    old = {"version": 7, "generation": 0, "base": {}, "open": {DAY: entry}}

    generation, _ = rebuilt(late)
    swap(late.asset, late.task, late.ledger, generation)

    late.profiles.insert_one({"_id": "eve", "events": 5, "_fold": old})
    late.put([event("eve")], DAYS[3], "late.jsonl")
    late.run(DAYS[3])

    assert late.profile("eve")["events"] == 1
    assert late.verify().match


def test_a_swap_that_was_cut_off_is_finished_by_the_next_run(late, monkeypatch):
    generation, _ = rebuilt(late)
    where = declared_key(late.asset)
    assert late.ledger.claims.enter(late.asset.name, generation, where)  # and killed right here
    finish_swap(late.asset, late.task, late.ledger)
    finish_swap(late.asset, late.task, late.ledger)
    assert late.verify().match


def test_of_two_rebuilds_the_later_one_stays(late):
    first, _ = rebuilt(late)
    second, _ = rebuilt(late)
    swap(late.asset, late.task, late.ledger, second)
    with pytest.raises(Refused, match="another rebuild was finished"):
        swap(late.asset, late.task, late.ledger, first)
    assert late.verify().match
    assert drop_leftovers(late.asset, late.ledger) == [f"user_profiles.rebuild_{first}"]


def test_partitions_whose_blocks_are_all_gone_are_dropped_only_on_purpose(late):
    late.remove(f"events/dt={DAYS[1]}/a.jsonl")
    with pytest.raises(Refused, match=f"{DAYS[1]}.*--drop-removed"):
        rebuilt(late)
    todo = partitions_to_rebuild(*late.four, drop_removed=True)
    assert todo == [DAYS[0], *DAYS[2:]]
