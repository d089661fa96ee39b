"""The promises, shown by running partitions as plain calls."""

import gzip
import time
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.world import DAY, event, lines
from workers import plan
from workers import task as tasks
from workers.batch import run_batch
from workers.errors import Refused, Unavailable
from workers.model import Partitions, Sizes
from workers.reconcile import settle

NEXT = "1998-04-02"


def test_items_of_plain_and_gzip_blocks_become_profiles_that_verify(world):
    world.put([event("ann"), event("bo")])
    world.put([event("ann")], name="b.jsonl.gz")
    summary = world.run()
    assert summary["items"] == summary["items_used"] == 3
    assert summary["profiles"] == 2
    assert world.profile("ann")["events"] == 2
    assert world.verify().match


def test_a_block_cut_into_many_batches_counts_each_item_once(world):
    world.put([event(f"user{n % 7}", item=f"film {n}") for n in range(3_000)])
    summary = world.sized(500).run()
    assert summary["batches"] >= 6
    assert summary["items_used"] == 3_000
    assert world.verify().match


def test_the_profiles_do_not_depend_on_how_the_work_was_cut(world):
    world.put([event(f"user{n % 7}", ts=n, item=f"film {n % 50}") for n in range(2_000)])
    world.sized(300).run()
    digest = world.verify().digest
    world.profiles.drop()
    world.ledger.plans.drop()
    world.ledger.batches.drop()
    world.sized(2_000).run()
    assert world.verify().digest == digest


def test_several_shards_fold_to_the_same_profiles_as_one(world):
    world.put([event(f"user{n}") for n in range(300)])
    world.put([event(f"user{n}") for n in range(200)], NEXT)
    many = world.sized(1_000, rows_per_shard=100)
    work = many.plan(DAY, NEXT)
    many.work(work)
    assert len(many.reconcile(work).shards) > 5
    assert many.run(DAY, NEXT)["profiles"] == 300
    assert world.verify().match


def test_an_empty_partition_succeeds_with_zero(world):
    summary = world.run()
    assert (summary["blocks"], summary["batches"], summary["items"]) == (0, 0, 0)
    assert world.profiles.count_documents({}) == 0


def test_an_empty_block_and_a_folder_object_hold_no_items(world):
    world.store.put(f"events/dt={DAY}/", b"")
    world.store.put(f"events/dt={DAY}/empty.jsonl", b"")
    world.put([event()])
    summary = world.run()
    assert (summary["blocks"], summary["items"]) == (2, 1)


def test_bad_items_become_dead_letters_and_the_rest_counts(world):
    key = world.put([event(), b"nonsense", b"[]", {"user": "bo"}, event(user=7), event("bo")])
    summary = world.run()
    assert (summary["items"], summary["items_used"], summary["dead_letters"]) == (6, 2, 4)
    letters = world.letters()
    assert {letter["block"] for letter in letters} == {key}
    assert letters[0]["place"].startswith("byte ")
    assert {"nonsense", "[]"} < {letter["item"] for letter in letters}
    assert all(letter["reason"] and letter["state"] == "open" for letter in letters)
    assert world.verify().match


def test_a_truncated_gzip_counts_what_could_be_read_and_is_one_dead_letter(world):
    body = gzip.compress(lines([event(f"user{n}", item=str(hash(n))) for n in range(5_000)]))
    world.store.put(f"events/dt={DAY}/a.jsonl.gz", body[:-5_000])
    summary = world.run()
    assert summary["dead_letters"] == 1
    assert 0 < summary["items_used"] < 5_000
    (letter,) = world.letters()
    assert "gzip stream breaks off" in letter["reason"]
    assert letter["place"].endswith("to the end")
    assert world.verify().match


def test_a_finished_batch_is_reused_by_a_later_run(world):
    world.put([event()])
    world.run()
    assert world.run()["batches_reused"] == 1
    (batch,) = world.ledger.batches.find()
    assert batch["attempts"] == 1


def test_a_new_block_adds_a_batch_and_leaves_the_finished_ones(world):
    world.put([event()])
    world.run()
    before = [batch["_id"] for batch in world.ledger.batches.find()]
    world.put([event("bo")], name="late.jsonl")
    summary = world.run()
    assert (summary["batches"], summary["batches_reused"]) == (2, 1)
    assert before[0] in [batch["_id"] for batch in world.ledger.batches.find()]
    assert world.verify().match


def test_the_plan_of_unchanged_blocks_stays_when_sizes_change(world):
    world.put([event(f"user{n}") for n in range(1_000)])
    first = world.sized(100).plan()
    world.work(first)
    assert world.sized(1_000).plan().plans[0].batches == first.plans[0].batches


def test_a_result_that_is_gone_from_s3_is_made_again(world):
    world.put([event()])
    world.run()
    (batch,) = world.ledger.batches.find()
    world.remove(batch["outcome"]["result"])
    assert world.run()["batches_reused"] == 0
    assert world.verify().match


def test_a_replaced_block_takes_back_what_the_old_one_said(world):
    world.put([event("ann"), event("bo")])
    world.run()
    world.put([event("ann"), event("ann"), event("cy")])
    world.run()
    assert world.profile("bo") is None
    assert world.profile("ann")["events"] == 2
    assert world.verify().match


def test_a_removed_block_takes_its_profiles_along_but_for_what_other_days_say(world):
    key = world.put([event("ann"), event("bo")])
    world.put([event("ann")], NEXT)
    world.run(DAY, NEXT)
    world.remove(key)
    world.run(DAY)
    assert world.profile("bo") is None
    assert world.profile("ann")["events"] == 1
    assert world.verify().match


def test_a_block_replaced_between_plan_and_read_fails_its_batch_by_name(world):
    world.asset = msgspec.structs.replace(world.asset, tolerated_count=0)
    key = world.put([event()])
    work = world.plan()
    world.put([event(), event()])
    with pytest.raises(Refused, match=f"{key} was replaced after it was planned"):
        world.work(work)
    with pytest.raises(Refused, match=rf"about 1 items of 1 failed.*{key} was replaced"):
        world.reconcile(work)
    assert world.run()["items"] == 2


def test_reconcile_names_a_batch_that_never_ran_and_folds_nothing(world):
    world.put([event()])
    world.put([event()], NEXT)
    work = world.plan(DAY, NEXT)
    first, second = work.to_run
    run_batch(first, world.ledger, world.store)
    with pytest.raises(Refused, match=f"1 of 2 planned.*{second} of {NEXT}: is planned"):
        world.reconcile(work)
    assert world.run(DAY, NEXT)["batches_reused"] == 1


def test_reconcile_finds_a_batch_missing_from_the_ledger(world):
    world.put([event()])
    work = world.plan()
    world.work(work)
    world.ledger.batches.drop()
    with pytest.raises(Refused, match="is unknown"):
        world.reconcile(work)


def test_a_batch_planned_for_other_code_is_refused(world):
    world.put([event()])
    work = world.plan()
    world.ledger.batches.update_many({}, {"$set": {"version": "older"}})
    with pytest.raises(Refused, match="version older"):
        world.work(work)


def test_old_partitions_merge_into_the_base_and_count_on(world):
    world.asset = msgspec.structs.replace(world.asset, keep_open=2)
    days = world.asset.partitions.between("1998-04-01", "1998-04-06")
    for number, day in enumerate(days):
        world.put([event("ann", ts=f"{day}T00:00:00Z", item=f"film {number}")], day)
        world.run(day)
    document = world.profiles.find_one({"_id": "ann"})
    assert document["events"] == 6
    # The last run closed 1998-04-03; it merges when the profile is next written.
    assert document["_fold"]["merged"] == ["1998-04-01", "1998-04-02"]
    assert sorted(document["_fold"]["open"]) == days[2:]
    assert world.verify().match
    assert world.verify(*days).match
    assert world.verify(*days[3:]).match
    with pytest.raises(Refused, match="1998-04-01 to 1998-04-02"):
        world.verify(days[1])


def test_a_closed_partition_is_left_as_it_is_and_refuses_changed_blocks(world):
    world.asset = msgspec.structs.replace(world.asset, keep_open=1)
    days = world.asset.partitions.between("1998-04-01", "1998-04-04")
    for day in days:
        world.put([event("ann")], day)
    world.run(*days)
    summary = world.run(*days)
    assert summary["partitions_unchanged"] == 2
    assert summary["profiles"] == 1
    world.put([event("bo")], days[0], "late.jsonl")
    with pytest.raises(Refused, match="partition 1998-04-01 is closed"):
        world.run(*days)
    assert world.run(*days[2:])["items"] == 2


def test_a_block_that_changes_there_and_back_finds_its_finished_batch(world):
    world.put([event("ann")])
    world.run()
    world.put([event("bo")])
    world.run()
    world.put([event("ann")])
    assert world.run()["batches_reused"] == 1
    assert world.verify().match


def test_a_slower_run_of_the_same_partition_cannot_undo_a_newer_one(world):
    key = world.put([event("ann"), event("bo")])
    slow = world.plan()
    world.work(slow)
    claimed = world.reconcile(slow)
    world.remove(key)
    world.put([event("ann")], name="b.jsonl")
    world.run()
    world.fold(claimed)
    assert world.profile("ann")["events"] == 1
    assert world.profile("bo") in (None, {"_id": "bo"})
    assert world.verify().match


def test_a_run_that_listed_before_another_and_comes_after_it_is_refused(world):
    world.put([event("ann")])
    slow = world.plan()
    world.work(slow)
    world.put([event("bo")], name="b.jsonl")
    time.sleep(0.01)
    world.run()
    found = world.reconcile(slow)
    assert (found.claims, found.overtaken) == ([], [DAY])
    with pytest.raises(Refused, match="another run took over 1998-04-01"):
        settle(world.ledger, world.asset, found, world.fold(found))
    assert world.profile("bo")["events"] == 1
    assert world.verify().match


def test_of_a_run_over_several_days_only_the_overtaken_one_is_left_out(world):
    world.put([event("ann")])
    world.put([event("cy")], NEXT)
    slow = world.plan(DAY, NEXT)
    world.work(slow)
    world.put([event("bo")], name="b.jsonl")
    time.sleep(0.01)
    world.run(DAY)
    found = world.reconcile(slow)
    with pytest.raises(Refused, match="another run took over 1998-04-01 "):
        settle(world.ledger, world.asset, found, world.fold(found))
    assert world.verify().match


def test_a_plan_that_is_written_after_a_newer_one_was_folded_is_abandoned(world):
    """A run frozen while it plans, and woken when all is done."""
    world.put([event("ann")])
    of_asset = tasks.load("user_profiles")
    listing = plan.list_partition(world.store, world.ledger, world.asset, of_asset, DAY, 0)
    world.put([event("bo")], name="b.jsonl")
    time.sleep(0.01)
    world.run()
    late = world.planned([listing])
    assert world.ledger.plan(late.plans[0].id)["state"] == "abandoned"
    assert world.ledger.last_plan("user_profiles", DAY)["state"] == "folded"
    assert world.run()["batches_reused"] == 1


def test_a_run_that_died_halfway_through_its_fold_is_mended_by_the_next(world):
    world.put([event("ann"), event("bo")])
    died = world.plan()
    world.work(died)
    world.fold(world.reconcile(died))
    world.put([event("cy")])
    world.run()
    assert world.verify().match
    assert {plan["state"] for plan in world.ledger.plans.find()} == {"abandoned", "folded"}


def test_a_run_that_was_overtaken_says_so(world):
    world.put([event()])
    slow = world.plan()
    world.work(slow)
    claimed = world.reconcile(slow)
    folded = world.fold(claimed)
    world.run()
    with pytest.raises(Refused, match="another run took over 1998-04-01"):
        settle(world.ledger, world.asset, claimed, folded)


def test_a_fold_that_lacks_a_shard_is_not_called_whole(world):
    """Dagster's execution from a failure drops mapped steps that never started."""
    world.put([event(f"user{n}") for n in range(300)])
    many = world.sized(1_000, rows_per_shard=200)
    work = many.plan()
    many.work(work)
    reconciled = many.reconcile(work)
    folded = many.fold(reconciled)
    with pytest.raises(Refused, match="not every shard of the profiles was folded"):
        settle(many.ledger, many.asset, reconciled, folded[1:])
    assert world.ledger.plans.find_one()["state"] == "folding"
    assert settle(many.ledger, many.asset, reconciled, folded)["profiles"] == 300


def test_folding_again_after_a_retry_changes_nothing(world):
    world.put([event("ann")])
    work = world.plan()
    world.work(work)
    claimed = world.reconcile(work)
    world.fold(claimed)
    before = world.profiles.find_one({"_id": "ann"})
    world.fold(claimed)
    assert world.profiles.find_one({"_id": "ann"}) == before


def test_a_profile_that_others_keep_writing_is_read_again_and_folded(world, monkeypatch):
    from workers import fold

    world.put([event("ann")])
    world.run()
    world.put([event("ann")], name="b.jsonl")
    work = world.plan()
    world.work(work)
    claimed = world.reconcile(work)
    original, meddled = fold._Folder._all_written, []

    def meddle(self, writes, guarded):
        if not meddled:
            meddled.append(
                world.profiles.update_one({"_id": "ann"}, {"$inc": {"_fold.version": 1}})
            )
        return original(self, writes, guarded)

    monkeypatch.setattr(fold._Folder, "_all_written", meddle)
    world.fold(claimed)
    assert world.profile("ann")["events"] == 2


def test_any_text_is_a_key_of_a_map(world):
    odd = ["a.b", "$set", "nul\0", "%2E", "", "Ünï", "x" * 2_000]
    world.put([event(topics=odd, item="a.b\0$")])
    world.run()
    profile = world.profile("ann")
    assert len(profile["topics"]) == len(odd)
    assert profile["liked"] == ["a.b\0$"]
    assert {one["topic"] for one in profile["preferences"]} == set(odd)
    assert world.verify().match


def test_verify_notices_a_profile_that_was_changed_lost_or_made_up(world):
    world.put([event("ann"), event("bo")])
    world.run()
    assert world.verify().match
    world.profiles.update_one({"_id": "ann"}, {"$inc": {"events": 1}})
    world.profiles.delete_one({"_id": "bo"})
    world.profiles.insert_one({"_id": "cy", "events": 1, "_fold": {}})
    verdict = world.verify()
    assert not verdict.match
    assert verdict.differing == ["ann", "bo", "cy"]
    assert verdict.digest != verdict.expected_digest


def test_verify_of_a_range_looks_at_what_profiles_hold_of_it(world):
    world.put([event("ann")])
    world.put([event("bo")], NEXT)
    world.run(DAY)
    assert world.verify(DAY).match
    assert not world.verify(DAY, NEXT).match


def test_an_unreachable_s3_is_worth_a_retry_and_a_wrong_secret_is_not(world):
    from workers import blocks
    from workers import settings as servers

    given = servers.read()
    for changed, kind in (
        ({"endpoint_url": "http://127.0.0.1:9"}, Unavailable),
        ({"aws_secret_access_key": "wrong"}, Refused),
    ):
        settings_ = msgspec.structs.replace(given, s3=given.s3 | changed)
        store = blocks.connect(settings_, patient=False)
        with pytest.raises(kind) as error:
            store.get("x")
        assert given.s3["aws_secret_access_key"] not in str(error.value)


def test_times_are_kept_to_the_millisecond(world):
    world.put([event(ts="1998-04-01T00:00:00.1239Z")])
    world.run()
    seen = world.profile("ann")["first_seen"]
    assert seen == datetime(1998, 4, 1, 0, 0, 0, 124_000, UTC)


def test_many_small_blocks_are_sliced_by_several_masters_and_packed(world):
    for number in range(60):
        world.put([event(f"user{number}")] * 3, name=f"{number:03}.jsonl")
    several = world.sized(50, blocks_per_master=25)
    of_asset = tasks.load("user_profiles")
    work, masters = plan.preview(
        several.store, several.ledger, several.asset, of_asset, [DAY], slots=1
    )
    assert masters == 3
    assert 3 <= len(work.plans[0].batches) <= 6
    assert several.run()["items_used"] == 180
    assert world.verify().match


def test_after_two_runs_the_size_of_batches_meets_the_target(world, monkeypatch):
    """A task with a known cost: each item sleeps a millisecond."""
    task = tasks.load("user_profiles")

    def slow(items):
        time.sleep(len(items) * 0.001)
        return task.contributions(items)

    changed = tasks.Task(task.item, task.fields, slow, task.derive)
    changed.__dict__["version"] = task.version
    monkeypatch.setattr(tasks, "load", lambda name: changed)
    sizes = Sizes(min_items=20, max_items=100_000, target_seconds=0.5, seconds_per_item=0.01)
    world.asset = msgspec.structs.replace(world.asset, sizes=sizes)
    days = world.asset.partitions.between("1998-04-01", "1998-04-03")
    for day in days:
        world.put([event(f"user{n % 9}") for n in range(2_000)], day)
    world.run(days[0])
    world.run(days[1])
    work = world.plan(days[2])
    assert work.sizing.learned_from > 10
    for batch in work.new[:-1]:  # the last takes what is left
        assert 0.25 <= batch.items * 0.001 <= 1.0


def test_hourly_blocks_with_unpadded_hours_are_told_apart(world):
    """GH Archive's layout: the key of hour 1 begins like those of hours 10 to 19."""
    world.asset = msgspec.structs.replace(
        world.asset,
        partitions=Partitions(every="hour", start="1998-01-01-00:00"),
        template="gh/{YYYY}-{MM}-{DD}-{H}.json.gz",
    )
    for hour in (1, 10, 11):
        body = gzip.compress(lines([event(f"user{hour}", ts=891388800 + hour * 3600)]))
        world.store.put(f"gh/1998-04-01-{hour}.json.gz", body)
    assert world.run("1998-04-01-01:00")["items"] == 1
    assert world.verify("1998-04-01-01:00").match
    assert world.run("1998-04-01-10:00", "1998-04-01-11:00")["items"] == 2
    assert world.verify().match
    assert world.verify().profiles == 3


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(sizes=st.lists(st.integers(50, 2_000), min_size=2, max_size=4), seed=st.integers())
def test_a_plan_is_stable_whatever_size_history_asks_for_later(world, sizes, seed):
    day = world.asset.partitions.shift(DAY, seed % 1_000)
    for name in ("a.jsonl", "b.jsonl.gz"):
        world.put([event(f"user{n}") for n in range(1_500)], day, name)
    before: set[str] = set()
    for number, size in enumerate(sizes):
        planned = set(world.sized(size).plan(day).plans[0].batches)
        assert before <= planned
        before = planned
        world.put([event("late")] * 100, day, f"late{number}.jsonl")
    ranges = [one for b in world.ledger.batches.find({"partition": day}) for one in b["ranges"]]
    for key in {one["key"] for one in ranges}:
        mine = sorted((r["start"], r["end"], r["size"]) for r in ranges if r["key"] == key)
        assert [end for _, end, _ in mine] == [*(s for s, _, _ in mine[1:]), mine[0][2]]
