"""What is new, what was missed, and what a look costs."""

import http.client
import json
import logging
import threading
import time
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tests.support.pipeline import DAY, Pipeline, event
from workers.declare.asset import Partitions
from workers.watching.changes import Cursor, scan
from workers.watching.notifications import Notifications

NOON = datetime(1998, 4, 3, 12, tzinfo=UTC)


class Watch:
    """An asset's sensor, without Dagster: it looks, and keeps its cursor as text."""

    def __init__(self, pipeline: Pipeline, **declared):
        self.asset = msgspec.structs.replace(pipeline.asset, **{"quiet_seconds": 0, **declared})
        self.pipeline, self.cursor, self.keys, self.said = pipeline, None, [], None

    def look(self, now=NOON, queued=(), has_notifications=False):
        """Return the partitions that one look asks to be run, in order."""
        cursor = Cursor.read(self.cursor, self.asset)
        store, ledger = self.pipeline.store, self.pipeline.ledger
        found = scan(
            self.asset, store, ledger, cursor, now, lambda one: one in queued, has_notifications
        )
        self.cursor, self.said = found.cursor.text, found
        self.keys += found.requests.values()
        return list(found.requests)


@pytest.fixture
def watch(pipeline):
    return Watch(pipeline)


def days(first, last):
    return Partitions(start=first).between(first, last)


def counted(store):
    """Count the requests that a store makes from now on; returns the list they are added to."""
    made = []
    store.client.meta.events.register("before-call.s3", lambda model, **_: made.append(model.name))
    return made


# What is new


def test_a_new_block_asks_for_one_run_and_the_same_bytes_again_for_none(pipeline, watch):
    assert watch.look() == []
    pipeline.put([event()])
    assert watch.look() == [DAY]
    assert watch.look() == []
    pipeline.run(DAY)
    assert watch.look() == []
    pipeline.put([event()])
    assert watch.look() == []


@pytest.mark.parametrize("name", ["a.jsonl", "late.jsonl"])
def test_a_block_that_is_replaced_and_one_that_is_late_ask_for_one_run(pipeline, watch, name):
    pipeline.put([event()], "1998-03-28")
    watch.look()
    pipeline.run("1998-03-28")
    pipeline.put([event("bo")], "1998-03-28", name)
    assert watch.look() == ["1998-03-28"]
    assert watch.look() == []
    pipeline.run("1998-03-28")
    assert watch.look() == []


def test_a_block_that_is_removed_asks_for_one_run(pipeline, watch):
    key = pipeline.put([event()])
    watch.look()
    pipeline.run(DAY)
    pipeline.remove(key)
    assert (watch.look(), watch.look()) == ([DAY], [])
    pipeline.run(DAY)
    assert watch.look() == []


def test_blocks_that_change_there_and_back_ask_for_a_run_of_its_own_each_time(pipeline, watch):
    for _ in range(2):
        key = pipeline.put([event("bo")], name="late.jsonl")
        assert watch.look() == [DAY]
        pipeline.run(DAY)
        pipeline.remove(key)
        assert watch.look() == [DAY]
        pipeline.run(DAY)
    assert len(set(watch.keys)) == 4


def test_the_same_news_has_the_same_run_key_whoever_looks(pipeline, watch):
    pipeline.put([event()])
    watch.look()
    other = Watch(pipeline)
    other.look()
    assert watch.keys == other.keys


def test_partitions_before_the_assets_first_are_not_asked_for(pipeline):
    for day in (DAY, "1998-04-02"):
        pipeline.put([event()], day)
    Notifications(pipeline.database).add([("user_profiles", DAY)])
    young = Watch(pipeline, partitions=Partitions(start="1998-04-02"))
    young.cursor = Cursor(first="1998-03-27", waiting={DAY: 0.0}).text
    assert young.look() == ["1998-04-02"]
    assert young.look() == []
    unborn = Watch(pipeline, partitions=Partitions(start="1998-05-01"))
    unborn.cursor = Cursor(first="1998-03-27").text
    assert unborn.look() == []


# Waiting


@pytest.mark.parametrize("age", [5, -3600])
def test_a_partition_waits_until_it_is_quiet_but_not_for_ever(pipeline, monkeypatch, age):
    pipeline.put([event()])
    real, written = pipeline.store.ages, {"age": age}
    monkeypatch.setattr(
        pipeline.store, "ages", lambda *which: ((one, written["age"]) for one, _ in real(*which))
    )
    watch = Watch(pipeline, quiet_seconds=10)
    assert watch.look() == []
    assert watch.said.waits == [f"{DAY} is still being written"]
    assert watch.look(NOON + timedelta(seconds=59)) == []
    patient = watch.cursor
    assert watch.look(NOON + timedelta(seconds=61)) == [DAY]
    watch.cursor, written["age"] = patient, 11
    assert watch.look(NOON + timedelta(seconds=15)) == [DAY]


def test_a_block_that_was_just_written_is_young_by_the_clock_of_s3(pipeline):
    pipeline.put([event()])
    assert Watch(pipeline, quiet_seconds=3600).look() == []
    time.sleep(2)
    assert Watch(pipeline, quiet_seconds=1).look() == [DAY]


def test_where_s3_does_not_say_what_time_it_is_our_clock_counts(pipeline):
    def forget(parsed, **_):
        del parsed["ResponseMetadata"]["HTTPHeaders"]["date"]

    pipeline.store.client.meta.events.register("after-call.s3.ListObjectsV2", forget)
    pipeline.put([event()])
    ((_, age),) = pipeline.store.ages(pipeline.asset, DAY)
    assert abs(age) < 60


def test_what_landed_while_a_run_is_queued_is_left_to_that_run(pipeline, watch):
    pipeline.put([event()])
    assert watch.look() == [DAY]
    pipeline.put([event("bo")], name="b.jsonl")
    assert watch.look(queued=[DAY]) == []
    assert watch.said.waits == [f"a run of {DAY} is queued"]
    pipeline.run(DAY)
    assert watch.look() == []


def test_what_landed_while_a_run_slices_asks_for_one_more(pipeline, watch):
    pipeline.put([event()])
    watch.look()
    saves_late = pipeline.ledger.save
    plans = []
    pipeline.ledger.save = lambda *what: plans.append(what)
    pipeline.plan(DAY)
    pipeline.put([event("bo")], name="b.jsonl")
    assert watch.look() == [DAY]
    saves_late(*plans[0])
    assert watch.look() == []


# What was missed


def test_partitions_missed_while_nobody_looked_are_asked_for_oldest_first(pipeline, watch):
    watch.look()
    missed = ["1998-04-04", "1998-04-05", "1998-04-06"]
    for day in reversed(missed):
        pipeline.put([event()], day)
    assert watch.look(NOON + timedelta(days=3)) == missed
    assert watch.look(NOON + timedelta(days=3)) == []


def test_after_more_than_a_window_without_looks_all_that_landed_is_found(pipeline, watch):
    watch.look()
    late, missed = "1998-03-28", days("1998-04-04", "1998-04-08")
    for day in (late, *missed):
        pipeline.put([event()], day)
    assert watch.look(NOON + timedelta(days=40)) == [late, *missed]
    pipeline.put([event("bo")], "1998-04-05", "late.jsonl")
    assert watch.look(NOON + timedelta(days=40)) == []


def test_a_look_goes_back_ten_windows_at_most_and_says_what_it_left_out(pipeline):
    watch = Watch(pipeline, look_back=1)
    watch.look()
    for day in (DAY, "1998-04-13"):
        pipeline.put([event()], day)
    assert watch.look(NOON + timedelta(days=20)) == ["1998-04-13"]
    (said,) = watch.said.warnings
    assert "`fanfold run user_profiles --partitions 1998-04-02...1998-04-12`" in said
    watch.look(NOON + timedelta(days=20))
    assert watch.said.warnings == []


def test_a_tick_asks_for_so_many_runs_and_the_next_ones_for_the_rest(pipeline):
    watch = Watch(pipeline, requests_per_tick=3)
    missed = days("1998-03-27", "1998-04-03")
    for day in missed:
        pipeline.put([event()], day)
    later = NOON + timedelta(days=1)
    asked = [watch.look(NOON), watch.look(later), watch.look(later), watch.look(later)]
    assert asked == [missed[:3], missed[3:6], missed[6:], []]


def test_a_look_goes_through_so_many_partitions_and_the_next_through_the_rest(
    pipeline, monkeypatch
):
    monkeypatch.setattr("workers.watching.changes.MORE_PARTITIONS", 0)
    watch = Watch(pipeline)
    watch.look()
    for day in (DAY, "1998-04-20"):
        pipeline.put([event()], day)
    later = NOON + timedelta(days=20)
    assert [watch.look(later) for _ in range(4)] == [[DAY], [], [], ["1998-04-20"]]


def test_a_look_that_takes_too_long_leaves_the_rest_to_the_next_one_and_all_get_their_turn(
    pipeline, watch, monkeypatch
):
    monkeypatch.setattr("workers.watching.changes.SCAN_SECONDS", 0)
    newest = "1998-04-03"
    for day in ("1998-03-28", newest):
        pipeline.put([event()], day)
    asked = [watch.look() for _ in range(8)]
    assert asked == [[], ["1998-03-28"], [], [], [], [], [], [newest]]
    pipeline.run("1998-03-28")
    pipeline.put([event("bo")], "1998-03-28", "late.jsonl")
    assert [watch.look() for _ in range(3)] == [[], ["1998-03-28"], []]


def test_partitions_whose_runs_fail_before_they_plan_do_not_keep_others_waiting(pipeline):
    watch = Watch(pipeline, requests_per_tick=2)
    failing = days("1998-03-27", "1998-03-30")
    for day in (*failing, DAY):
        pipeline.put([event()], day)
    asked = [watch.look() for _ in range(6)]
    assert asked == [failing[:2], failing[2:], [DAY], [], [], []]
    pipeline.put([event("bo")], failing[0], "more.jsonl")
    assert watch.look() == [failing[0]]


@pytest.mark.parametrize("text", ["", "{", "1998-04-03", '{"first": "1998-04-01-00:00"}', "[1]"])
def test_a_cursor_that_cannot_be_read_starts_anew(pipeline, watch, text):
    pipeline.put([event()])
    watch.cursor = text
    assert watch.look() == [DAY]


# What it costs


def test_a_look_costs_the_same_with_a_hundred_thousand_keys_beside_the_window(pipeline, home):
    store = pipeline.store
    for day in days("1998-03-27", "1998-04-03"):
        pipeline.put([event()], day)
    requests = counted(store)

    def cost():
        requests.clear()
        started = time.monotonic()
        assert len(Watch(pipeline).look()) == 8
        return list(requests), time.monotonic() - started

    few, few_seconds = cost()
    started = time.monotonic()
    filer = json.loads((home / "servers.json").read_text())["seaweedfs"]["ports"][4]
    old = days("1997-09-01", "1997-12-09")
    keys = [f"events/dt={day}/{n:03}.jsonl" for day in old for n in range(500)]
    keys += [f"_fanfold/results/{n:05}" for n in range(50_000)]
    put_empty(filer, store.bucket, keys)
    put_seconds = time.monotonic() - started
    assert len(list(store.list(f"events/dt={old[0]}/"))) == 500
    many, many_seconds = cost()
    for folder in ("events", "_fanfold"):
        remove_folder(filer, store.bucket, folder)
    logging.getLogger(__name__).info(
        f"{len(keys):,} keys put in {put_seconds:.0f} s; a look makes {len(many)} requests and "
        f"takes {few_seconds * 1000:.0f} ms without them, {many_seconds * 1000:.0f} ms with them"
    )
    assert few == many == ["ListObjectsV2"] * 8


def put_empty(filer, bucket, keys, threads=8):
    """Put empty objects the fast way, by SeaweedFS's own API: 4,000 a second instead of 400."""
    refused = []

    def some(mine):
        connection = http.client.HTTPConnection("127.0.0.1", filer)
        for key in mine:
            connection.request("PUT", f"/buckets/{bucket}/{key}", body=b"")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 201:
                refused.append((key, answer.status))
        connection.close()

    parts = [threading.Thread(target=some, args=(keys[n::threads],)) for n in range(threads)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    assert refused == []


def remove_folder(filer, bucket, folder):
    connection = http.client.HTTPConnection("127.0.0.1", filer)
    connection.request("DELETE", f"/buckets/{bucket}/{folder}?recursive=true")
    assert connection.getresponse().status == 204
    connection.close()


# What notifications name


def test_what_a_notification_names_is_looked_at_whatever_its_age_and_then_forgotten(
    pipeline, watch
):
    names = Notifications(pipeline.database)
    watch.look()
    pipeline.put([event()], "1997-12-24")
    assert watch.look() == []
    names.add([("user_profiles", "1997-12-24"), ("device_profiles", "2013-01-02")])
    requests = counted(pipeline.store)
    assert watch.look(has_notifications=True) == ["1997-12-24"]
    assert requests == ["ListObjectsV2"]
    assert watch.look(has_notifications=True) == []
    assert watch.look(has_notifications=True) == []
    assert len(requests) == 2
    assert [one["asset"] for one in names.collection.find()] == ["device_profiles"]


def test_what_is_named_again_during_a_look_is_looked_at_again(pipeline, watch):
    names = Notifications(pipeline.database)
    names.add([("user_profiles", DAY)])
    seen = names.until("user_profiles", DAY)
    names.add([("user_profiles", DAY)])
    names.forget("user_profiles", seen)
    assert names.until("user_profiles", DAY) == {DAY: 2}
    watch.look()
    assert names.until("user_profiles", DAY) == {}


def test_a_partition_named_before_its_time_is_kept_until_then(pipeline, watch):
    Notifications(pipeline.database).add([("user_profiles", "1998-04-04")])
    pipeline.put([event()], "1998-04-04")
    watch.look()
    assert watch.look(has_notifications=True) == []
    assert watch.look(NOON + timedelta(minutes=59, hours=11), has_notifications=True) == []
    assert watch.look(NOON + timedelta(hours=12), has_notifications=True) == ["1998-04-04"]


def test_where_notifications_tell_what_lands_the_window_is_looked_at_once_an_hour(pipeline, watch):
    requests = counted(pipeline.store)
    watch.look(has_notifications=True)
    assert len(requests) == 8
    pipeline.put([event()])
    requests.clear()
    assert watch.look(NOON + timedelta(minutes=59), has_notifications=True) == []
    assert requests == []
    assert watch.look(NOON + timedelta(minutes=60), has_notifications=True) == [DAY]


def test_what_waits_stays_due_where_notifications_tell_what_lands(pipeline):
    watch = Watch(pipeline, quiet_seconds=3600, look_back=1)
    Notifications(pipeline.database).add([("user_profiles", "1998-01-01")])
    pipeline.put([event()], "1998-01-01")
    assert watch.look(has_notifications=True) == []
    assert Notifications(pipeline.database).until("user_profiles", DAY) == {"1998-01-01": 1}
    watch.asset = msgspec.structs.replace(watch.asset, quiet_seconds=0)
    assert watch.look(has_notifications=True) == ["1998-01-01"]
