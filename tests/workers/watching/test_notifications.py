"""What S3's notifications name, from the messages of a queue, and when it is scanned."""

import json
from datetime import timedelta

import boto3
import msgspec
import pytest

from tests.support.notifications import count_messages, message, queueing, send, times_named
from tests.support.pipeline import DAY, event
from tests.support.watching import NOON, Scanner, count_requests
from workers.assets import assets
from workers.errors import FanfoldError, Malformed, Unavailable
from workers.watching.notifications import Notifications, keys_in, take_messages
from workers.watching.sqs import Queue


def bridged(bucket, key):
    """Return a message as EventBridge hands it on."""
    return json.dumps(
        {
            "detail-type": "Object Created",
            "source": "aws.s3",
            "detail": {"bucket": {"name": bucket}, "object": {"key": key}},
        }
    )


def wrapped(body):
    """Return a message as SNS hands it on."""
    return json.dumps({"Type": "Notification", "TopicArn": "arn:...", "Message": body})


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (
            message("mine", "events/dt%3D1998-04-01/a+b%2Bc.jsonl"),
            ["events/dt=1998-04-01/a b+c.jsonl"],
        ),
        (message("mine", "a", "b"), ["a", "b"]),
        (message("other", "a"), []),
        (bridged("mine", "a+b%2B"), ["a+b%2B"]),
        (bridged("other", "a"), []),
        (wrapped(message("mine", "a+b")), ["a b"]),
        (wrapped(bridged("mine", "a")), ["a"]),
        (json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "mine"}), []),
    ],
)
def test_a_message_names_keys_in_each_form_that_s3_sends(body, keys):
    assert keys_in(body, "mine") == keys


@pytest.mark.parametrize(
    "body",
    ["", "hello", "[]", "1", '{"Records": [{}]}', '{"Records": 3}', wrapped("no"), "[" * 99_999],
)
def test_a_message_that_is_none_of_s3_is_malformed(body):
    with pytest.raises(Malformed, match=r"it is not JSON|it is no notification|it has a record"):
        keys_in(body, "mine")


@pytest.fixture
def queue():
    with queueing() as queue:
        yield queue


def take_all(queue, pipeline):
    return take_messages(
        queue, Notifications(pipeline.database), assets().values(), pipeline.store.bucket
    )


def test_a_notification_is_kept_for_the_asset_that_owns_the_key_whoever_reads_it(pipeline, queue):
    bucket = pipeline.store.bucket
    send(
        queue,
        message(bucket, "events/dt%3D1998-04-01/a.jsonl", "readings/dt%3D2013-01-02/a.csv"),
        message(bucket, "events/dt%3D1998-04-01/b.jsonl"),
        message(bucket, "events/dt%3D1990-01-01/before-the-first-partition.jsonl"),
        message(bucket, "_fanfold/results/x", "nobody/owns/this"),
        message("other", "events/dt%3D1998-04-02/a.jsonl"),
    )
    assert take_all(queue, pipeline) == []
    documents = Notifications(pipeline.database).collection.find()
    assert sorted((document["asset"], document["partition"]) for document in documents) == [
        ("device_profiles", "2013-01-02"),
        ("user_profiles", DAY),
    ]
    assert count_messages(queue) == 0


def test_a_message_that_cannot_be_understood_is_reported_and_deleted_and_the_others_count(
    pipeline, queue
):
    send(queue, "hello", message(pipeline.store.bucket, "events/dt%3D1998-04-01/a.jsonl"))
    (warning,) = take_all(queue, pipeline)
    assert "was ignored: it is not JSON" in warning
    assert times_named(pipeline, "1998-04-02") == {DAY: 1}
    assert count_messages(queue) == 0


def test_a_tick_that_dies_before_it_deletes_its_messages_loses_none(pipeline, queue, monkeypatch):
    send(queue, message(pipeline.store.bucket, "events/dt%3D1998-04-01/a.jsonl"))
    with monkeypatch.context() as patch:
        patch.setattr(Queue, "delete", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take_all(queue, pipeline)
    assert count_messages(queue) == 1
    assert times_named(pipeline, DAY) == {DAY: 1}


def test_a_tick_reads_so_many_messages_and_leaves_the_rest_to_the_next(
    pipeline, queue, monkeypatch
):
    monkeypatch.setattr("workers.watching.notifications.MAX_RECEIVES", 2)
    send(queue, *[message(pipeline.store.bucket, "events/dt%3D1998-04-01/a.jsonl")] * 25)
    take_all(queue, pipeline)
    assert count_messages(queue) == 5


def test_a_queue_that_cannot_be_used_is_reported_in_one_sentence(pipeline, queue):
    away = Queue(queue.client, queue.url + "-gone")
    with pytest.raises(FanfoldError, match="check FANFOLD_EVENTS_QUEUE, the credentials"):
        take_all(away, pipeline)


def test_a_queue_that_does_not_answer_is_reported_in_one_sentence(pipeline):
    client = boto3.client(
        "sqs",
        endpoint_url="http://127.0.0.1:9",
        region_name="eu-west-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=boto3.session.Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(Unavailable, match="SQS did not answer"):
        take_all(Queue(client, "http://127.0.0.1:9/1/events"), pipeline)


# Scans of what is named


def test_a_partition_that_a_notification_names_is_scanned_whatever_its_age_and_forgotten(
    pipeline, scanner
):
    notifications = Notifications(pipeline.database)
    scanner.scan()
    pipeline.put([event()], "1997-12-24")
    assert scanner.scan() == []
    notifications.add([("user_profiles", "1997-12-24"), ("device_profiles", "2013-01-02")])
    requests = count_requests(pipeline.store)
    assert scanner.scan(has_notifications=True) == ["1997-12-24"]
    assert requests == ["ListObjectsV2"]
    assert scanner.scan(has_notifications=True) == []
    assert scanner.scan(has_notifications=True) == []
    assert len(requests) == 2
    rest = notifications.collection.find()
    assert [document["asset"] for document in rest] == ["device_profiles"]


def test_a_partition_that_is_named_again_during_a_scan_is_scanned_again(pipeline, scanner):
    notifications = Notifications(pipeline.database)
    notifications.add([("user_profiles", DAY)])
    scanned = notifications.until("user_profiles", DAY)
    notifications.add([("user_profiles", DAY)])
    notifications.forget(scanned)
    assert times_named(pipeline, DAY) == {DAY: 2}
    scanner.scan()
    assert times_named(pipeline, DAY) == {}


def test_a_partition_named_before_its_time_is_kept_until_then(pipeline, scanner):
    Notifications(pipeline.database).add([("user_profiles", "1998-04-04")])
    pipeline.put([event()], "1998-04-04")
    scanner.scan()
    assert scanner.scan(has_notifications=True) == []
    assert scanner.scan(NOON + timedelta(minutes=59, hours=11), has_notifications=True) == []
    assert scanner.scan(NOON + timedelta(hours=12), has_notifications=True) == ["1998-04-04"]


def test_where_notifications_name_what_lands_the_window_is_scanned_once_an_hour(pipeline, scanner):
    requests = count_requests(pipeline.store)
    scanner.scan(has_notifications=True)
    assert len(requests) == 8
    pipeline.put([event()])
    requests.clear()
    assert scanner.scan(NOON + timedelta(minutes=59), has_notifications=True) == []
    assert requests == []
    assert scanner.scan(NOON + timedelta(minutes=60), has_notifications=True) == [DAY]


def test_a_partition_that_waits_stays_due_where_notifications_name_what_lands(pipeline):
    scanner = Scanner(pipeline, quiet_seconds=3600, look_back_partitions=1)
    Notifications(pipeline.database).add([("user_profiles", "1998-01-01")])
    pipeline.put([event()], "1998-01-01")
    assert scanner.scan(has_notifications=True) == []
    assert times_named(pipeline, DAY) == {"1998-01-01": 1}
    impatient = msgspec.structs.replace(scanner.asset.watch, quiet_seconds=0)
    scanner.asset = msgspec.structs.replace(scanner.asset, watch=impatient)
    assert scanner.scan(has_notifications=True) == ["1998-01-01"]
