"""The promises, shown by running partitions as plain calls."""

import gzip
import time
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.pipeline import DAY, event, lines
from workers.batch import attempt_batch
from workers.declare import Tolerance
from workers.declare.asset import Partitions, Sizes
from workers.declare.task import Task, load_task
from workers.errors import Refused, Unavailable
from workers.folding.fold import Folder
from workers.folding.publish import record_folded
from workers.settings import read_settings
from workers.store import open_store

NEXT = "1998-04-02"


def test_items_of_plain_and_gzip_blocks_become_profiles_that_verify(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.put([event("ann")], name="b.jsonl.gz")
    summary = pipeline.run()
    assert summary["items"] == summary["items_used"] == 3
    assert summary["profiles"] == 2
    assert pipeline.profile("ann")["events"] == 2
    assert pipeline.verify().match


def test_a_block_cut_into_many_batches_counts_each_item_once(pipeline):
    pipeline.put([event(f"user{n % 7}", item=f"film {n}") for n in range(3_000)])
    summary = pipeline.sized(500).run()
    assert summary["batches"] >= 6
    assert summary["items_used"] == 3_000
    assert pipeline.verify().match


def test_the_profiles_do_not_depend_on_how_the_work_was_cut(pipeline):
    pipeline.put([event(f"user{n % 7}", ts=n, item=f"film {n % 50}") for n in range(2_000)])
    pipeline.sized(300).run()
    digest = pipeline.verify().digest

    pipeline.profiles.drop()
    pipeline.ledger.plans.drop()
    pipeline.ledger.batches.drop()

    pipeline.sized(2_000).run()
    assert pipeline.verify().digest == digest


def test_several_shards_fold_to_the_same_profiles_as_one(pipeline):
    pipeline.put([event(f"user{n}") for n in range(300)])
    pipeline.put([event(f"user{n}") for n in range(200)], NEXT)

    many = pipeline.sized(1_000, rows_per_shard=100)
    work = many.plan(DAY, NEXT)
    many.work(work)

    assert len(many.reconcile(work).shards) > 5
    assert many.run(DAY, NEXT)["profiles"] == 300
    assert pipeline.verify().match


def test_an_empty_partition_succeeds_with_zero(pipeline):
    summary = pipeline.run()
    assert (summary["blocks"], summary["batches"], summary["items"]) == (0, 0, 0)
    assert pipeline.profiles.count_documents({}) == 0


def test_an_empty_block_and_a_folder_object_hold_no_items(pipeline):
    pipeline.store.put(f"events/dt={DAY}/", b"")
    pipeline.store.put(f"events/dt={DAY}/empty.jsonl", b"")
    pipeline.put([event()])
    summary = pipeline.run()
    assert (summary["blocks"], summary["items"]) == (2, 1)


def test_bad_items_become_dead_letters_and_the_rest_counts(pipeline):
    key = pipeline.put([event(), b"nonsense", b"[]", {"user": "bo"}, event(user=7), event("bo")])

    summary = pipeline.run()
    assert (summary["items"], summary["items_used"], summary["dead_letters"]) == (6, 2, 4)

    letters = pipeline.letters()
    assert {letter["block"] for letter in letters} == {key}
    assert letters[0]["place"].startswith("byte ")
    assert {"nonsense", "[]"} < {letter["item"] for letter in letters}
    assert all(letter["reason"] and letter["state"] == "open" for letter in letters)
    assert pipeline.verify().match


def test_a_truncated_gzip_counts_what_could_be_read_and_is_one_dead_letter(pipeline):
    body = gzip.compress(lines([event(f"user{n}", item=str(hash(n))) for n in range(5_000)]))
    pipeline.store.put(f"events/dt={DAY}/a.jsonl.gz", body[:-5_000])

    summary = pipeline.run()
    assert summary["dead_letters"] == 1
    assert 0 < summary["items_used"] < 5_000

    (letter,) = pipeline.letters()
    assert "gzip stream breaks off" in letter["reason"]
    assert letter["place"].endswith("to the end")
    assert pipeline.verify().match


def test_a_finished_batch_is_reused_by_a_later_run(pipeline):
    pipeline.put([event()])
    pipeline.run()
    assert pipeline.run()["batches_reused"] == 1
    (batch,) = pipeline.ledger.batches.find()
    assert batch["attempts"] == 1


def test_a_new_block_adds_a_batch_and_leaves_the_finished_ones(pipeline):
    pipeline.put([event()])
    pipeline.run()
    before = [batch["_id"] for batch in pipeline.ledger.batches.find()]

    pipeline.put([event("bo")], name="late.jsonl")
    summary = pipeline.run()
    assert (summary["batches"], summary["batches_reused"]) == (2, 1)
    assert before[0] in [batch["_id"] for batch in pipeline.ledger.batches.find()]
    assert pipeline.verify().match


def test_the_plan_of_unchanged_blocks_stays_when_sizes_change(pipeline):
    pipeline.put([event(f"user{n}") for n in range(1_000)])
    first = pipeline.sized(100).plan()
    pipeline.work(first)
    assert pipeline.sized(1_000).plan().plans[0].batches == first.plans[0].batches


def test_a_result_that_is_gone_from_s3_is_made_again(pipeline):
    pipeline.put([event()])
    pipeline.run()
    (batch,) = pipeline.ledger.batches.find()
    pipeline.remove(batch["outcome"]["result"])
    assert pipeline.run()["batches_reused"] == 0
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
    pipeline.run(DAY)
    assert pipeline.profile("bo") is None
    assert pipeline.profile("ann")["events"] == 1
    assert pipeline.verify().match


def test_a_block_replaced_between_plan_and_read_fails_its_batch_by_name(pipeline):
    pipeline.asset = msgspec.structs.replace(pipeline.asset, tolerance=Tolerance(rate=0.01))
    key = pipeline.put([event()])
    work = pipeline.plan()
    pipeline.put([event(), event()])

    with pytest.raises(Refused, match=f"{key} was replaced after it was planned"):
        pipeline.work(work)
    with pytest.raises(Refused, match=rf"about 1 items of 1 failed.*{key} was replaced"):
        pipeline.reconcile(work)

    assert pipeline.run()["items"] == 2


def test_reconcile_names_a_batch_that_never_ran_and_folds_nothing(pipeline):
    pipeline.put([event()])
    pipeline.put([event()], NEXT)
    work = pipeline.plan(DAY, NEXT)
    first, second = work.to_run
    attempt_batch(pipeline.ledger, pipeline.store, first)
    with pytest.raises(Refused, match=f"1 of 2 planned.*{second} of {NEXT}: is planned"):
        pipeline.reconcile(work)
    assert pipeline.run(DAY, NEXT)["batches_reused"] == 1


def test_reconcile_finds_a_batch_missing_from_the_ledger(pipeline):
    pipeline.put([event()])
    work = pipeline.plan()
    pipeline.work(work)
    pipeline.ledger.batches.drop()
    with pytest.raises(Refused, match="is unknown"):
        pipeline.reconcile(work)


def test_a_batch_planned_for_other_code_is_refused(pipeline):
    pipeline.put([event()])
    work = pipeline.plan()
    pipeline.ledger.batches.update_many({}, {"$set": {"version": "older"}})
    with pytest.raises(Refused, match="version older"):
        pipeline.work(work)


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


def test_a_closed_partition_is_left_as_it_is_and_refuses_changed_blocks(pipeline):
    pipeline.asset = msgspec.structs.replace(pipeline.asset, open_partitions=1)
    days = pipeline.asset.partitions.between("1998-04-01", "1998-04-04")
    for day in days:
        pipeline.put([event("ann")], day)
    pipeline.run(*days)

    summary = pipeline.run(*days)
    assert summary["partitions_unchanged"] == 2
    assert summary["profiles"] == 1

    pipeline.put([event("bo")], days[0], "late.jsonl")
    with pytest.raises(Refused, match="partition 1998-04-01 is closed"):
        pipeline.run(*days)
    assert pipeline.run(*days[2:])["items"] == 2


def test_a_block_that_changes_there_and_back_finds_its_finished_batch(pipeline):
    pipeline.put([event("ann")])
    pipeline.run()
    pipeline.put([event("bo")])
    pipeline.run()
    pipeline.put([event("ann")])
    assert pipeline.run()["batches_reused"] == 1
    assert pipeline.verify().match


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


def test_a_plan_that_is_written_after_a_newer_one_was_folded_is_abandoned(pipeline):
    """A run frozen while it plans, and woken when all is done."""
    pipeline.put([event("ann")])
    listed = pipeline.list_blocks()
    pipeline.put([event("bo")], name="b.jsonl")
    time.sleep(0.01)
    pipeline.run()

    late = pipeline.queue(listed)
    assert pipeline.ledger.plan(late.plans[0].id).state == "abandoned"
    assert pipeline.ledger.last_plan("user_profiles", DAY).state == "folded"
    assert pipeline.run()["batches_reused"] == 1


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
    original = Folder._all_written
    meddled = []

    def meddle(self, writes):
        if not meddled:
            meddled.append(
                pipeline.profiles.update_one({"_id": "ann"}, {"$inc": {"_fold.version": 1}})
            )
        return original(self, writes)

    monkeypatch.setattr(Folder, "_all_written", meddle)
    pipeline.fold(claimed)
    assert pipeline.profile("ann")["events"] == 2


def test_any_text_is_a_key_of_a_map(pipeline):
    odd = ["a.b", "$set", "nul\0", "%2E", "", "Ünï", "x" * 2_000]
    pipeline.put([event(topics=odd, item="a.b\0$")])
    pipeline.run()

    profile = pipeline.profile("ann")
    assert len(profile["topics"]) == len(odd)
    assert profile["liked"] == ["a.b\0$"]
    assert {preference["topic"] for preference in profile["preferences"]} == set(odd)
    assert pipeline.verify().match


def test_verify_notices_a_profile_that_was_changed_lost_or_made_up(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    assert pipeline.verify().match

    pipeline.profiles.update_one({"_id": "ann"}, {"$inc": {"events": 1}})
    pipeline.profiles.delete_one({"_id": "bo"})
    pipeline.profiles.insert_one({"_id": "cy", "events": 1, "_fold": {}})

    verdict = pipeline.verify()
    assert not verdict.match
    assert verdict.differing == ["ann", "bo", "cy"]
    assert verdict.digest != verdict.expected_digest


def test_verify_of_a_range_compares_what_profiles_hold_of_it(pipeline):
    pipeline.put([event("ann")])
    pipeline.put([event("bo")], NEXT)
    pipeline.run(DAY)
    assert pipeline.verify(DAY).match
    assert not pipeline.verify(DAY, NEXT).match


def test_an_unreachable_s3_is_worth_a_retry_and_a_wrong_secret_is_not(pipeline):
    given = read_settings()
    for changed, kind in (
        ({"endpoint_url": "http://127.0.0.1:9"}, Unavailable),
        ({"aws_secret_access_key": "wrong"}, Refused),
    ):
        changed_settings = msgspec.structs.replace(given, s3=given.s3 | changed)
        store = open_store(changed_settings, patient=False)

        with pytest.raises(kind) as error:
            store.get("x")
        assert given.s3["aws_secret_access_key"] not in str(error.value)


def test_times_are_kept_to_the_millisecond(pipeline):
    pipeline.put([event(ts="1998-04-01T00:00:00.1239Z")])
    pipeline.run()
    seen = pipeline.profile("ann")["first_seen"]
    assert seen == datetime(1998, 4, 1, 0, 0, 0, 124_000, UTC)


def test_many_small_blocks_are_sliced_by_several_slicers_and_packed(pipeline):
    for number in range(60):
        pipeline.put([event(f"user{number}")] * 3, name=f"{number:03}.jsonl")
    several = pipeline.sized(50, blocks_per_slicer=25)

    queued = several.preview()
    assert queued.summary["slicers"] == 3
    assert 3 <= len(queued.work.plans[0].batches) <= 6

    assert several.run()["items_used"] == 180
    assert pipeline.verify().match


def test_after_two_runs_the_size_of_batches_meets_the_target(pipeline, monkeypatch):
    """A task with a known cost: each item sleeps a millisecond."""
    task = load_task("user_profiles")

    def slow(items):
        time.sleep(len(items) * 0.001)
        return task.contributions(items)

    changed = Task(task.item, task.fields, slow, task.derive)
    changed.__dict__["version"] = task.version
    monkeypatch.setattr("workers.tasks.user_profiles.task", changed)

    sizes = Sizes(min_items=20, max_items=100_000, target_seconds=0.5, seconds_per_item=0.01)
    pipeline.asset = msgspec.structs.replace(pipeline.asset, sizes=sizes)

    days = pipeline.asset.partitions.between("1998-04-01", "1998-04-03")
    for day in days:
        pipeline.put([event(f"user{n % 9}") for n in range(2_000)], day)
    pipeline.run(days[0])
    pipeline.run(days[1])

    work = pipeline.plan(days[2])
    assert work.sizing.learned_from > 10
    for batch in work.new[:-1]:  # the last takes what is left
        assert 0.25 <= batch.items * 0.001 <= 1.0


def test_hourly_blocks_with_unpadded_hours_are_told_apart(pipeline):
    """GH Archive's layout: the key of hour 1 begins like those of hours 10 to 19."""
    pipeline.asset = msgspec.structs.replace(
        pipeline.asset,
        partitions=Partitions(every="hour", start="1998-01-01-00:00"),
        template="gh/{YYYY}-{MM}-{DD}-{H}.json.gz",
    )

    for hour in (1, 10, 11):
        body = gzip.compress(lines([event(f"user{hour}", ts=891388800 + hour * 3600)]))
        pipeline.store.put(f"gh/1998-04-01-{hour}.json.gz", body)

    assert pipeline.run("1998-04-01-01:00")["items"] == 1
    assert pipeline.verify("1998-04-01-01:00").match
    assert pipeline.run("1998-04-01-10:00", "1998-04-01-11:00")["items"] == 2
    assert pipeline.verify().match
    assert pipeline.verify().profiles == 3


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(sizes=st.lists(st.integers(50, 2_000), min_size=2, max_size=4), seed=st.integers())
def test_a_plan_is_stable_whatever_size_history_asks_for_later(pipeline, sizes, seed):
    day = pipeline.asset.partitions.shift(DAY, seed % 1_000)
    for name in ("a.jsonl", "b.jsonl.gz"):
        pipeline.put([event(f"user{n}") for n in range(1_500)], day, name)

    before: set[str] = set()
    for number, size in enumerate(sizes):
        planned = set(pipeline.sized(size).plan(day).plans[0].batches)
        assert before <= planned
        before = planned
        pipeline.put([event("late")] * 100, day, f"late{number}.jsonl")

    ranges = []
    for batch in pipeline.ledger.batches.find({"partition": day}):
        ranges += batch["ranges"]

    for key in {range_["key"] for range_ in ranges}:
        of_block = [range_ for range_ in ranges if range_["key"] == key]
        cuts = sorted((range_["start"], range_["end"], range_["size"]) for range_ in of_block)
        assert [end for _, end, _ in cuts] == [*(start for start, _, _ in cuts[1:]), cuts[0][2]]
