"""Which changes a scan asks a run for, which of them wait, and what a scan costs."""

import http.client
import json
import logging
import socket
import threading
import time
from datetime import timedelta

import pytest

from resources.servers import HOST
from tests.support.pipeline import DAY, event
from tests.support.watching import NOON, Scanner, count_requests, days
from workers.declare.asset import Partitions
from workers.errors import Refused
from workers.sources.objects import aged_blocks
from workers.watching.cursor import Cursor
from workers.watching.notifications import Notifications

REQUESTS_AT_ONCE = 250  # of the fast way to put empty objects

# What is new


def test_a_new_block_asks_for_one_run_and_the_same_bytes_again_for_none(pipeline, scanner):
    assert scanner.scan() == []
    pipeline.put([event()])
    assert scanner.scan() == [DAY]
    assert scanner.scan() == []
    pipeline.run(DAY)
    assert scanner.scan() == []
    pipeline.put([event()])
    assert scanner.scan() == []


@pytest.mark.parametrize("name", ["a.jsonl", "late.jsonl"])
def test_a_block_that_is_replaced_and_one_that_is_late_ask_for_one_run(pipeline, scanner, name):
    pipeline.put([event()], "1998-03-28")
    scanner.scan()
    pipeline.run("1998-03-28")
    pipeline.put([event("bo")], "1998-03-28", name)
    assert scanner.scan() == ["1998-03-28"]
    assert scanner.scan() == []
    pipeline.run("1998-03-28")
    assert scanner.scan() == []


def test_a_partition_that_a_run_refused_is_asked_for_again_once_its_blocks_change(
    pipeline, scanner
):
    pipeline.put([{"user": 1}] * 50)
    pipeline.put([event()], "1998-03-31")
    assert scanner.scan() == [DAY, "1998-03-31"]
    assert pipeline.run("1998-03-31", DAY)["partitions_failed"] == [DAY]
    assert scanner.scan() == []
    pipeline.put([event()])
    assert scanner.scan() == [DAY]


def test_a_block_that_is_removed_asks_for_one_run(pipeline, scanner):
    key = pipeline.put([event()])
    scanner.scan()
    pipeline.run(DAY)
    pipeline.remove(key)
    assert (scanner.scan(), scanner.scan()) == ([DAY], [])
    pipeline.run(DAY, drop_removed=True)
    assert scanner.scan() == []


def test_a_partition_that_is_held_back_asks_for_one_run_however_much_more_goes(pipeline, scanner):
    keys = [pipeline.put([event()], name=f"{number}.jsonl") for number in range(4)]
    scanner.scan()
    pipeline.run(DAY)
    for key in keys[:3]:
        pipeline.remove(key)
    assert scanner.scan() == [DAY]
    with pytest.raises(Refused, match="held back"):
        pipeline.run(DAY)

    pipeline.remove(keys[3])
    assert scanner.scan() == []
    assert scanner.last.waits == [f"{DAY} is held back"]
    for number in range(2):
        pipeline.put([event("bo")], name=f"{number}.jsonl")
    assert scanner.scan() == [DAY]
    pipeline.run(DAY)
    assert (scanner.scan(), scanner.last.waits) == ([], [])


def test_what_lies_beside_data_asks_for_no_run(pipeline, scanner):
    pipeline.put([event()])
    scanner.scan()
    pipeline.run(DAY)
    pipeline.put([event()], name="_temporary/a.jsonl")
    pipeline.store.put(f"events/dt={DAY}/_SUCCESS", b"")
    assert scanner.scan() == []


def test_blocks_that_change_there_and_back_ask_for_a_run_of_its_own_each_time(pipeline, scanner):
    for _ in range(2):
        key = pipeline.put([event("bo")], name="late.jsonl")
        assert scanner.scan() == [DAY]
        pipeline.run(DAY)
        pipeline.remove(key)
        assert scanner.scan() == [DAY]
        pipeline.run(DAY, drop_removed=True)
    assert len(set(scanner.keys)) == 4


def test_the_same_change_has_the_same_run_key_whoever_scans(pipeline, scanner):
    pipeline.put([event()])
    scanner.scan()
    other = Scanner(pipeline)
    other.scan()
    assert scanner.keys == other.keys


def test_partitions_before_the_assets_first_are_not_asked_for(pipeline):
    for day in (DAY, "1998-04-02"):
        pipeline.put([event()], day)
    Notifications(pipeline.database).add([("user_profiles", DAY)])
    young = Scanner(pipeline, partitions=Partitions(start="1998-04-02"))
    young.cursor = Cursor(first="1998-03-27", waiting={DAY: 0.0}).text
    assert young.scan() == ["1998-04-02"]
    assert young.scan() == []
    unborn = Scanner(pipeline, partitions=Partitions(start="1998-05-01"))
    unborn.cursor = Cursor(first="1998-03-27").text
    assert unborn.scan() == []


# Waiting


@pytest.mark.parametrize("age", [5, -3600])
def test_a_partition_waits_until_it_is_quiet_but_not_for_ever(pipeline, monkeypatch, age):
    pipeline.put([event()])
    ages = {DAY: age}

    def aged(asset, store, partition):
        for block, real in aged_blocks(asset, store, partition):
            yield block, ages.get(partition, real)

    monkeypatch.setattr("workers.watching.changes.aged_blocks", aged)
    scanner = Scanner(pipeline, quiet_seconds=10)
    assert scanner.scan() == []
    assert scanner.last.waits == [f"{DAY} is still being written"]
    assert scanner.scan(NOON + timedelta(seconds=59)) == []
    patient = scanner.cursor
    assert scanner.scan(NOON + timedelta(seconds=61)) == [DAY]
    scanner.cursor = patient
    ages[DAY] = 11
    assert scanner.scan(NOON + timedelta(seconds=15)) == [DAY]


def test_a_block_that_was_just_written_is_young_by_the_clock_of_s3(pipeline):
    pipeline.put([event()])
    assert Scanner(pipeline, quiet_seconds=3600).scan() == []
    time.sleep(2)
    assert Scanner(pipeline, quiet_seconds=1).scan() == [DAY]


def test_where_s3_does_not_say_what_time_it_is_our_clock_counts(pipeline):
    def forget(parsed, **_):
        del parsed["ResponseMetadata"]["HTTPHeaders"]["date"]

    pipeline.store.client.meta.events.register("after-call.s3.ListObjectsV2", forget)
    pipeline.put([event()])
    ((_, age),) = aged_blocks(pipeline.asset, pipeline.store, DAY)
    assert abs(age) < 60


def test_blocks_that_land_while_a_run_is_queued_are_left_to_that_run(pipeline, scanner):
    pipeline.put([event()])
    assert scanner.scan() == [DAY]
    pipeline.put([event("bo")], name="b.jsonl")
    assert scanner.scan(queued=[DAY]) == []
    assert scanner.last.waits == [f"a run of {DAY} is queued"]
    pipeline.run(DAY)
    assert scanner.scan() == []


def test_blocks_that_land_while_a_run_slices_ask_for_one_more_run(pipeline, scanner):
    pipeline.put([event()])
    scanner.scan()
    save = pipeline.ledger.save
    scans = []

    def save_late(*args):
        pipeline.put([event("bo")], name="b.jsonl")
        scans.append(scanner.scan())
        save(*args)

    pipeline.ledger.save = save_late
    pipeline.plan(DAY)
    assert scans == [[DAY]]
    assert scanner.scan() == []


# What it costs


def test_a_scan_costs_the_same_with_a_hundred_thousand_keys_beside_the_window(pipeline, home):
    store = pipeline.store
    for day in days("1998-03-27", "1998-04-03"):
        pipeline.put([event()], day)
    requests = count_requests(store)

    def cost():
        requests.clear()
        started = time.monotonic()
        assert len(Scanner(pipeline).scan()) == 8
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
        f"{len(keys):,} keys put in {put_seconds:.0f} s; a scan makes {len(many)} requests and "
        f"takes {few_seconds * 1000:.0f} ms without them, {many_seconds * 1000:.0f} ms with them"
    )
    assert few == many == ["ListObjectsV2"] * 8


def put_empty(filer, bucket, keys, threads=4):
    """Put empty objects the fast way: by SeaweedFS's own API, many requests before an answer."""
    created = []

    def put(some):
        with socket.create_connection((HOST, filer)) as connection:
            for start in range(0, len(some), REQUESTS_AT_ONCE):
                paths = [f"/buckets/{bucket}/{key}" for key in some[start:][:REQUESTS_AT_ONCE]]
                created.append(request_at_once(connection, paths))

    parts = [threading.Thread(target=put, args=(keys[n::threads],)) for n in range(threads)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    assert sum(created) == len(keys)


def request_at_once(connection, paths):
    """Put an empty object at each path; return how many were created."""
    rest = f" HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"
    connection.sendall("".join(f"PUT {path}{rest}" for path in paths).encode())

    answers = b""
    while answers.count(b"HTTP/1.1 ") < len(paths) or not answers.endswith(b"}"):
        part = connection.recv(1 << 20)
        assert part, answers
        answers += part
    return answers.count(b"HTTP/1.1 201")


def remove_folder(filer, bucket, folder):
    connection = http.client.HTTPConnection(HOST, filer)
    connection.request("DELETE", f"/buckets/{bucket}/{folder}?recursive=true")
    assert connection.getresponse().status == 204
    connection.close()


def test_copies_that_count_once_a_block_elsewhere_is_gone_ask_for_one_run(pipeline):
    once = pipeline.changed(unique=("user",))
    scanner = Scanner(once)
    key = once.put([event()])
    once.put([event()], "1998-03-01")  # further back than a scan looks
    once.run(DAY, "1998-03-01")
    assert scanner.scan() == []

    once.remove(key)
    assert scanner.scan() == [DAY]
    once.run(DAY, drop_removed=True)
    assert scanner.scan() == ["1998-03-01"]
    assert scanner.scan() == []
    once.run("1998-03-01")
    assert scanner.scan() == []
    assert once.profile("ann")["events"] == 1
