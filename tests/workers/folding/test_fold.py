"""What a fold leaves of profiles, whatever came before it and whoever else folds."""

import time

import msgspec
import pytest

from tests.support.pipeline import DAY, event
from workers.errors import Refused
from workers.folding.publish import record_folded
from workers.ledger.profiles import write_all

NEXT = "1998-04-02"


def test_several_shards_fold_to_the_same_profiles_as_one(pipeline):
    pipeline.put([event(f"user{n}") for n in range(300)])
    pipeline.put([event(f"user{n}") for n in range(200)], NEXT)

    many = pipeline.sized(1_000, rows_per_shard=100)
    work = many.plan(DAY, NEXT)
    many.work(work)

    assert len(many.reconcile(work).shards) > 5
    assert many.run(DAY, NEXT)["profiles"] == 300
    assert pipeline.verify().match


def test_a_replaced_block_takes_back_what_it_had_contributed(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    pipeline.put([event("ann"), event("ann"), event("cy")])
    pipeline.run()
    assert pipeline.profile("bo") is None
    assert pipeline.profile("ann")["events"] == 2
    assert pipeline.verify().match


def test_a_removed_block_takes_back_its_contributions_and_other_days_keep_theirs(pipeline):
    key = pipeline.put([event("ann"), event("bo")])
    pipeline.put([event("ann")], NEXT)
    pipeline.run(DAY, NEXT)
    pipeline.remove(key)
    pipeline.run(DAY, drop_removed=True)
    assert pipeline.profile("bo") is None
    assert pipeline.profile("ann")["events"] == 1
    assert pipeline.verify().match


def test_old_partitions_merge_into_the_base_and_count_on(pipeline):
    pipeline.asset = msgspec.structs.replace(pipeline.asset, open_partitions=2)
    days = pipeline.asset.partitions.between("1998-04-01", "1998-04-06")
    for number, day in enumerate(days):
        pipeline.put([event("ann", ts=f"{day}T00:00:00Z", item=f"film {number}")], day)
        pipeline.run(day)

    document = pipeline.profiles.find_one({"_id": "ann"})
    assert document["events"] == 6
    # The last run closed 1998-04-03; it merges when the profile is next written.
    assert document["_fold"]["merged"] == ["1998-04-01", "1998-04-02"]
    assert sorted(document["_fold"]["open"]) == days[2:]

    assert pipeline.verify().match
    assert pipeline.verify(*days).match
    assert pipeline.verify(*days[3:]).match

    with pytest.raises(Refused, match="1998-04-01 to 1998-04-02"):
        pipeline.verify(days[1])


def test_a_slower_run_of_the_same_partition_cannot_undo_a_newer_one(pipeline):
    key = pipeline.put([event("ann"), event("bo")])
    slow = pipeline.plan()
    pipeline.work(slow)
    claimed = pipeline.reconcile(slow)

    pipeline.remove(key)
    pipeline.put([event("ann")], name="b.jsonl")
    pipeline.run()

    pipeline.fold(claimed)

    assert pipeline.profile("ann")["events"] == 1
    assert pipeline.profile("bo") in (None, {"_id": "bo"})
    assert pipeline.verify().match


def test_a_run_that_listed_before_another_and_comes_after_it_is_refused(pipeline):
    pipeline.put([event("ann")])
    slow = pipeline.plan()
    pipeline.work(slow)

    pipeline.put([event("bo")], name="b.jsonl")
    time.sleep(0.01)
    pipeline.run()

    reconciled = pipeline.reconcile(slow)
    assert (reconciled.claims, reconciled.overtaken) == ([], [DAY])

    with pytest.raises(Refused, match="another run took over 1998-04-01"):
        record_folded(pipeline.asset, pipeline.ledger, reconciled, pipeline.fold(reconciled))
    assert pipeline.profile("bo")["events"] == 1
    assert pipeline.verify().match


def test_of_a_run_over_several_days_only_the_overtaken_one_is_left_out(pipeline):
    pipeline.put([event("ann")])
    pipeline.put([event("cy")], NEXT)
    slow = pipeline.plan(DAY, NEXT)
    pipeline.work(slow)

    pipeline.put([event("bo")], name="b.jsonl")
    time.sleep(0.01)
    pipeline.run(DAY)

    reconciled = pipeline.reconcile(slow)
    with pytest.raises(Refused, match="another run took over 1998-04-01 "):
        record_folded(pipeline.asset, pipeline.ledger, reconciled, pipeline.fold(reconciled))
    assert pipeline.verify().match


def test_a_run_that_died_halfway_through_its_fold_is_undone_by_the_next(pipeline):
    pipeline.put([event("ann"), event("bo")])
    dead_run = pipeline.plan()
    pipeline.work(dead_run)
    pipeline.fold(pipeline.reconcile(dead_run))

    pipeline.put([event("cy")])
    pipeline.run()

    assert pipeline.verify().match
    assert {plan["state"] for plan in pipeline.ledger.plans.find()} == {"abandoned", "folded"}


def test_a_run_that_was_overtaken_is_refused_by_its_partition(pipeline):
    pipeline.put([event()])
    slow = pipeline.plan()
    pipeline.work(slow)
    claimed = pipeline.reconcile(slow)
    folded = pipeline.fold(claimed)
    pipeline.run()
    with pytest.raises(Refused, match="another run took over 1998-04-01"):
        record_folded(pipeline.asset, pipeline.ledger, claimed, folded)


def test_a_fold_that_lacks_a_shard_is_not_recorded_as_whole(pipeline):
    """Dagster's execution from a failure drops mapped steps that never started."""
    pipeline.put([event(f"user{n}") for n in range(300)])
    many = pipeline.sized(1_000, rows_per_shard=200)
    work = many.plan()
    many.work(work)

    reconciled = many.reconcile(work)
    folded = many.fold(reconciled)

    with pytest.raises(Refused, match="not every shard of the profiles was folded"):
        record_folded(many.asset, many.ledger, reconciled, folded[1:])
    assert pipeline.ledger.plans.find_one()["state"] == "folding"

    assert record_folded(many.asset, many.ledger, reconciled, folded).profiles == 300


def test_folding_again_after_a_retry_changes_nothing(pipeline):
    pipeline.put([event("ann")])
    work = pipeline.plan()
    pipeline.work(work)
    claimed = pipeline.reconcile(work)
    pipeline.fold(claimed)

    before = pipeline.profiles.find_one({"_id": "ann"})
    pipeline.fold(claimed)
    assert pipeline.profiles.find_one({"_id": "ann"}) == before


def test_a_profile_that_others_keep_writing_is_read_again_and_folded(pipeline, monkeypatch):
    pipeline.put([event("ann")])
    pipeline.run()

    pipeline.put([event("ann")], name="b.jsonl")
    work = pipeline.plan()
    pipeline.work(work)
    claimed = pipeline.reconcile(work)
    meddled = []

    def meddle(profiles, writes):
        if not meddled:
            meddled.append(
                pipeline.profiles.update_one({"_id": "ann"}, {"$inc": {"_fold.version": 1}})
            )
        return write_all(profiles, writes)

    monkeypatch.setattr("workers.folding.fold.write_all", meddle)
    pipeline.fold(claimed)
    assert pipeline.profile("ann")["events"] == 2
