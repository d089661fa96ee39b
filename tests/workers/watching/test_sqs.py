"""Whom requests about a queue go to, and what its answers mean."""

import boto3
import pytest

from tests.support.notifications import message, queueing, send
from tests.support.pipeline import DAY
from workers.errors import Refused, Unavailable
from workers.watching.notifications import Notifications, take_messages
from workers.watching.sqs import Queue, open_queue


@pytest.fixture
def other_region(monkeypatch):
    """Another region and another endpoint are set: those of S3."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com", "eu-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://sqs.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("https://sqs-fips.us-east-2.amazonaws.com", "us-east-2"),
        ("https://sqs.eu-west-1.api.aws", "eu-west-1"),
        ("https://eu-west-1.queue.amazonaws.com", "eu-west-1"),
        ("https://queue.amazonaws.com", "us-east-1"),
        ("https://vpce-0a1b2c-3d4e.sqs.eu-central-1.vpce.amazonaws.com", "eu-central-1"),
        ("http://sqs.us-west-2.localhost.localstack.cloud:4566", "us-west-2"),
        ("http://localhost:4566", "ap-south-1"),
    ],
)
@pytest.mark.usefixtures("other_region")
def test_a_queue_is_asked_at_its_own_address_and_in_its_own_region(host, region):
    client = open_queue(f"{host}/111122223333/events").client
    assert client.meta.region_name == region
    assert client.meta.endpoint_url == host


def test_an_endpoint_that_is_set_for_sqs_counts(other_region, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:4566")
    client = open_queue("https://sqs.eu-west-1.amazonaws.com/111122223333/events").client
    assert client.meta.endpoint_url == "http://127.0.0.1:4566"
    assert client.meta.region_name == "eu-west-1"


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("http://localhost:4566", "http://localstack:4566"),
        ("https://sqs.eu-west-1.amazonaws.com", "https://sqs.eu-west-1.amazonaws.com"),
    ],
)
def test_an_endpoint_for_all_services_counts_for_queues_outside_aws(
    other_region, monkeypatch, host, endpoint
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localstack:4566")
    assert open_queue(f"{host}/1/events").client.meta.endpoint_url == endpoint


def test_without_any_region_a_queue_can_be_opened():
    assert open_queue("http://localhost:4566/1/events").client.meta.region_name == "us-east-1"


@pytest.mark.parametrize("url", ["arn:aws:sqs:eu-west-1:111122223333:events", "events", "https://"])
def test_what_is_no_url_is_refused_with_an_example(url):
    with pytest.raises(Refused, match=r"https://sqs\.eu-west-1\.amazonaws\.com/"):
        open_queue(url)


def test_messages_come_from_a_queue_in_another_region_than_that_of_s3(
    pipeline, other_region, monkeypatch
):
    with queueing() as queue:
        send(queue, message(pipeline.store.bucket, f"events/dt={DAY}/a.jsonl"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        notifications = Notifications(pipeline.database)
        bucket = pipeline.store.bucket
        assert take_messages(open_queue(queue.url), notifications, [pipeline.asset], bucket) == []
    (notification,) = notifications.until("user_profiles", DAY)
    assert notification.partition == DAY


def test_what_lies_beside_data_names_no_partition(pipeline):
    names = ("_SUCCESS", "_temporary/0/a.jsonl", ".a.jsonl.crc", "hour_$folder$")
    with queueing() as queue:
        send(queue, *(message(pipeline.store.bucket, f"events/dt={DAY}/{n}") for n in names))
        notifications = Notifications(pipeline.database)
        take_messages(queue, notifications, [pipeline.asset], pipeline.store.bucket)
    assert notifications.until("user_profiles", DAY) == []


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("ThrottlingException", 400, Unavailable),
        ("InternalError", 500, Unavailable),
        ("InvalidClientTokenId", 403, Refused),
    ],
)
def test_an_answer_of_sqs_says_whether_to_ask_again(code, status, error):
    client = boto3.client("sqs", region_name="eu-west-1")
    text = "the key AKIAIOSFODNN7EXAMPLE"
    answer = {"Error": {"Code": code, "Message": text}}

    def fail(**_):
        metadata = {"ResponseMetadata": {"HTTPStatusCode": status}}
        raise client.exceptions.ClientError(answer | metadata, "ReceiveMessage")

    client.meta.events.register("provide-client-params.sqs.ReceiveMessage", fail)
    with pytest.raises(error, match=code) as raised:
        Queue(client, "https://sqs.eu-west-1.amazonaws.com/1/events").receive(0)
    assert "AKIA" not in str(raised.value)
