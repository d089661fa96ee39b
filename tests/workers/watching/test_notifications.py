"""What S3's notifications name, from the messages of a queue."""

import json

import boto3
import pytest

from tests.support.notifications import left, notice, queueing, send
from tests.support.pipeline import DAY
from workers.assets import assets
from workers.errors import FanfoldError, Malformed, Unavailable
from workers.watching import notifications as named
from workers.watching.notifications import Notifications, Queue, keys_in, take_messages


def bridged(bucket, key):
    """Return a message as EventBridge hands it on."""
    return json.dumps(
        {
            "detail-type": "Object Created",
            "source": "aws.s3",
            "detail": {"bucket": {"name": bucket}, "object": {"key": key}},
        }
    )


def wrapped(message):
    """Return a message as SNS hands it on."""
    return json.dumps({"Type": "Notification", "TopicArn": "arn:...", "Message": message})


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (
            notice("mine", "events/dt%3D1998-04-01/a+b%2Bc.jsonl"),
            ["events/dt=1998-04-01/a b+c.jsonl"],
        ),
        (notice("mine", "a", "b"), ["a", "b"]),
        (notice("other", "a"), []),
        (bridged("mine", "a+b%2B"), ["a+b%2B"]),
        (bridged("other", "a"), []),
        (wrapped(notice("mine", "a+b")), ["a b"]),
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
    with queueing() as made:
        yield made


def take_all(queue, pipeline):
    return take_messages(
        queue, Notifications(pipeline.database), assets().values(), pipeline.store.bucket
    )


def test_a_notification_is_kept_for_the_asset_that_owns_the_key_whoever_reads_it(pipeline, queue):
    bucket = pipeline.store.bucket
    send(
        queue,
        notice(bucket, "events/dt%3D1998-04-01/a.jsonl", "readings/dt%3D2013-01-02/a.csv"),
        notice(bucket, "events/dt%3D1998-04-01/b.jsonl"),
        notice(bucket, "events/dt%3D1990-01-01/before-the-first-partition.jsonl"),
        notice(bucket, "_fanfold/results/x", "nobody/owns/this"),
        notice("other", "events/dt%3D1998-04-02/a.jsonl"),
    )
    assert take_all(queue, pipeline) == []
    found = Notifications(pipeline.database).collection.find(
        {}, {"_id": 0, "asset": 1, "partition": 1}
    )
    assert sorted((one["asset"], one["partition"]) for one in found) == [
        ("device_profiles", "2013-01-02"),
        ("user_profiles", DAY),
    ]
    assert left(queue) == 0


def test_a_message_that_cannot_be_understood_is_told_and_deleted_and_the_others_count(
    pipeline, queue
):
    send(queue, "hello", notice(pipeline.store.bucket, "events/dt%3D1998-04-01/a.jsonl"))
    (said,) = take_all(queue, pipeline)
    assert "was ignored: it is not JSON" in said
    assert Notifications(pipeline.database).until("user_profiles", "1998-04-02") == {DAY: 1}
    assert left(queue) == 0


def test_a_tick_that_dies_before_it_deletes_its_messages_loses_none(pipeline, queue, monkeypatch):
    send(queue, notice(pipeline.store.bucket, "events/dt%3D1998-04-01/a.jsonl"))
    with monkeypatch.context() as patch:
        patch.setattr(Queue, "delete", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            take_all(queue, pipeline)
    assert left(queue) == 1
    assert Notifications(pipeline.database).until("user_profiles", DAY) == {DAY: 1}


def test_a_tick_reads_so_many_messages_and_leaves_the_rest_to_the_next(
    pipeline, queue, monkeypatch
):
    monkeypatch.setattr(named, "RECEIVES", 2)
    send(queue, *[notice(pipeline.store.bucket, "events/dt%3D1998-04-01/a.jsonl")] * 25)
    take_all(queue, pipeline)
    assert left(queue) == 5


def test_sqs_that_cannot_be_used_is_told_in_one_sentence(pipeline, queue):
    away = Queue(queue.client, queue.url + "-gone")
    with pytest.raises(FanfoldError, match="check FANFOLD_EVENTS_QUEUE, the credentials"):
        take_all(away, pipeline)


def test_no_answer_from_sqs_is_told_in_one_sentence(pipeline):
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
