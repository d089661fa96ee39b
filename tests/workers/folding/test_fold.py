"""What a fold leaves of profiles, whatever came before it and whoever else folds."""

import time

import pytest

from tests.support.pipeline import DAY, event
from workers.errors import Refused
from workers.folding import renewing
from workers.folding.publish import record_folded
from workers.ledger.profile_writes import write_all

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


def test_a_profile_keeps_no_more_of_a_year_than_of_a_day(pipeline):
    days = pipeline.asset.partitions.between("1998-04-01", "1998-04-06")
    for number, day in enumerate(days):
        pipeline.put([event("ann", ts=f"{day}T00:00:00Z", item=f"film {number}")], day)
        pipeline.run(day)

    document = pipeline.profiles.find_one({"_id": "ann"})
    assert document["events"] == 6
    assert list(document["_fold"]["open"]) == days[-1:]
    assert pipeline.verify().match
    assert pipeline.verify(*days).match
    assert pipeline.verify(days[1]).match


def test_a_range_leaves_its_epochs_only_until_the_next_write(pipeline):
    days = pipeline.asset.partitions.between("1998-04-01", "1998-04-06")
    for day in days:
        pipeline.put([event("ann"), event(day)], day)
    pipeline.run(*days)
    assert list(pipeline.profiles.find_one({"_id": "ann"})["_fold"]["open"]) == days
    assert list(pipeline.profiles.find_one({"_id": days[2]})["_fold"]["open"]) == [days[2]]

    pipeline.put([event("ann")], "1998-04-07")
    pipeline.run("1998-04-07")
    assert list(pipeline.profiles.find_one({"_id": "ann"})["_fold"]["open"]) == ["1998-04-07"]
    assert pipeline.verify().match


def test_folding_what_has_not_changed_writes_nothing(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    before = list(pipeline.profiles.find())
    again = pipeline.run()
    assert (again["profiles"], again["batches_reused"]) == (2, 1)
    assert list(pipeline.profiles.find()) == before


def test_a_late_block_is_merged_without_a_look_at_what_other_days_said(pipeline, monkeypatch):
    pipeline.put([event("ann"), event("bo")])
    pipeline.put([event("ann")], NEXT)
    pipeline.run(DAY, NEXT)
    before = pipeline.profiles.find_one({"_id": "bo"})

    monkeypatch.setattr(renewing, "_renew", None)
    pipeline.put([event("ann"), event("cy")], name="late.jsonl")
    pipeline.run()

    assert pipeline.profile("ann")["events"] == 3
    assert pipeline.profiles.find_one({"_id": "bo"}) == before
    assert pipeline.verify().match


def test_a_block_that_has_grown_is_exchanged_without_a_look_at_other_days(pipeline, monkeypatch):
    pipeline.put([event("ann", topics=["tea"]), event("bo")])
    pipeline.put([event("ann", topics=["tea"])], NEXT)
    pipeline.run(DAY, NEXT)

    monkeypatch.setattr(renewing, "_renew", None)
    pipeline.put([event("ann", topics=["tea"]), event("ann"), *[event("bo")] * 3])
    pipeline.run()

    assert pipeline.profile("ann")["events"] == 3
    monkeypatch.undo()
    assert pipeline.verify().match


def test_what_a_replaced_block_alone_had_said_is_gone(pipeline):
    pipeline.put([event("ann", item="film 1", topics=["tea"], ts="1998-04-01T05:00:00Z")])
    pipeline.put([event("ann", item="film 2", topics=["jam"])], NEXT)
    pipeline.run(DAY, NEXT)
    pipeline.put([event("ann", item="film 3", ts="1998-04-01T07:00:00Z")])
    pipeline.run()

    ann = pipeline.profile("ann")
    assert (ann["liked"], list(ann["topics"]), ann["first_seen"].hour) == (
        ["film 2", "film 3"],
        ["jam"],
        0,
    )
    assert pipeline.verify().match


def test_fields_that_others_changed_are_computed_anew(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    pipeline.profiles.update_one({"_id": "ann"}, {"$set": {"events": 7}})
    pipeline.profiles.update_one({"_id": "bo"}, {"$unset": {"topics": 1}})

    pipeline.put([event("ann"), event("bo", topics=["tea"])], NEXT)
    pipeline.run(NEXT)
    assert pipeline.profile("ann")["events"] == 2
    assert pipeline.verify().match


def test_a_profile_that_a_person_deleted_comes_back_whole_with_a_late_block(pipeline):
    pipeline.put([event("ann")])
    pipeline.run()
    pipeline.profiles.delete_one({"_id": "ann"})
    pipeline.put([event("ann")], name="late.jsonl")
    pipeline.run()
    assert pipeline.profile("ann")["events"] == 2
    assert pipeline.verify().match


def test_profiles_that_hold_what_each_partition_said_go_on_as_totals(pipeline):
    """What versions before totals wrote."""
    pipeline.put([event("ann")])
    pipeline.put([event("ann", item="film 2")], NEXT)
    pipeline.run(DAY, NEXT)
    part = {"partition": DAY, "epoch": 1, "fields": {"events": 1}}
    fold = {"generation": 0, "version": 3, "base": {}, "open": {DAY: part, NEXT: part}}
    pipeline.profiles.update_one({"_id": "ann"}, {"$set": {"_fold": fold}})

    pipeline.put([event("ann")], "1998-04-03")
    pipeline.run("1998-04-03")
    assert pipeline.profile("ann")["events"] == 3
    assert "base" not in pipeline.profiles.find_one({"_id": "ann"})["_fold"]
    assert pipeline.verify().match


def test_a_replaced_block_whose_old_result_is_gone_is_taken_back_all_the_same(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.put([event("bo")], NEXT)
    pipeline.run(DAY, NEXT)
    for block in pipeline.store.list(f"_fanfold/results/user_profiles/{DAY}"):
        pipeline.store.delete(block.key)

    pipeline.put([event("ann"), event("cy")])
    pipeline.run()
    assert pipeline.profile("bo")["events"] == 1
    assert pipeline.verify().match


def test_several_old_results_that_are_gone_are_taken_back_too(pipeline):
    pipeline = pipeline.sized(1)
    pipeline.put([event("ann"), event("bo"), event("dee")])
    pipeline.put([event("bo"), event("dee")], NEXT)
    pipeline.run(DAY, NEXT)
    for block in pipeline.store.list(f"_fanfold/results/user_profiles/{DAY}"):
        pipeline.store.delete(block.key)

    pipeline.put([event("ann"), event("cy")])
    pipeline.run()
    assert pipeline.profile("dee")["events"] == 1
    assert pipeline.verify().match


def test_where_results_of_other_days_are_gone_a_replaced_block_is_refused_with_the_way_out(
    pipeline,
):
    pipeline.put([event("ann"), event("bo")])
    pipeline.put([event("bo")], NEXT)
    pipeline.run(DAY, NEXT)
    for block in pipeline.store.list(f"_fanfold/results/user_profiles/{NEXT}"):
        pipeline.store.delete(block.key)

    pipeline.put([event("ann"), event("cy")])
    with pytest.raises(Refused, match=r"no longer in S3 .*`fanfold rebuild user_profiles`"):
        pipeline.run()
    assert pipeline.profile("bo")["events"] == 2


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
    assert reconciled.claims == []

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
    summary = pipeline.publish(reconciled, pipeline.fold(reconciled))
    assert (summary["partitions_folded"], summary["partitions_failed"]) == ([NEXT], [DAY])
    assert summary["refused"][0]["why"].startswith("another run took over 1998-04-01 ")
    assert pipeline.ledger.plan(slow.plans[0].id).why == (
        f"user_profiles: {summary['refused'][0]['why']}"
    )
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

    monkeypatch.setattr("workers.folding.writing.write_all", meddle)
    pipeline.fold(claimed)
    assert pipeline.profile("ann")["events"] == 2
