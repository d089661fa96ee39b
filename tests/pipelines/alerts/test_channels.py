"""Where alerts go: through a webhook and SNS that fail, and without the secret in an address."""

import json
import logging
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from moto import mock_aws

from pipelines.alerts.alert import Alert, AlertKind
from pipelines.alerts.channels import channels
from pipelines.alerts.report import RunOutcome
from pipelines.alerts.run_records import Command
from pipelines.alerts.sensor import GIVE_UP_AFTER
from pipelines.runs import dagster_instance, materialise
from tests.support.pipeline import DAY
from tests.support.webhook import Answering, begun, refused
from workers.settings import read_settings


@pytest.mark.parametrize("status", [503, 429, 404, 302, 100])
def test_an_alert_that_the_webhook_does_not_take_waits_and_is_delivered_once_and_in_order(
    pipeline, hook, watch, monkeypatch, status
):
    hook.status = status
    for why in ("no seat", "no bed"):
        with monkeypatch.context() as patch:
            refused(patch, why)
            materialise(pipeline.asset, [DAY])
        watch.tick()
    assert hook.texts == []
    assert "2 alerts wait for the next tick" in watch.message
    hook.status = 200
    watch.tick().tick()
    assert ["no seat" in text for text in hook.texts] == [True, False]
    assert [level for level, _ in watch.logged].count("WARNING") == 4  # 2 failures, 2 ticks


def test_an_alert_that_the_webhook_refuses_does_not_hold_up_the_next(pipeline, hook, watch):
    with dagster_instance() as instance:
        instance.report_run_failed(begun(instance), "one")
    hook.status = 400
    watch.tick()
    assert hook.requests == 1
    with dagster_instance() as instance:
        instance.report_run_failed(begun(instance), "two")
    watch.tick()
    assert hook.requests == 3


def test_an_alert_that_nobody_takes_for_a_day_is_given_up_and_the_log_says_so(
    pipeline, hook, watch, monkeypatch
):
    refused(monkeypatch)
    hook.status = 500
    materialise(pipeline.asset, [DAY])
    watch.tick()
    old = datetime.now(UTC) - GIVE_UP_AFTER - timedelta(hours=1)
    watch.alerts.update_many({}, {"$set": {"created": old}})
    watch.tick()
    gone = "webhook did not take an alert for a day: user_profiles 1998-04-01 failed"
    assert ("WARNING", gone) in watch.logged
    hook.status = 200
    assert watch.tick().message == "no run ended"
    assert hook.texts == []


def nobody(monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_WEBHOOK", "http://127.0.0.1:9/services/hush-hush")


def gibberish(monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_WEBHOOK", "http://[hush-hush")


def no_address(monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_WEBHOOK", "hush-hush")


def forbidden(monkeypatch):
    monkeypatch.setattr(Answering, "do_POST", lambda self: self.send_error(403, "hush-hush"))


@pytest.mark.parametrize("breaks", [nobody, gibberish, no_address, forbidden])
def test_the_address_of_the_webhook_shows_nowhere(
    pipeline, hook, watch, monkeypatch, capfd, breaks
):
    breaks(monkeypatch)
    refused(monkeypatch)
    materialise(pipeline.asset, [DAY])
    watch.tick()
    shown = [watch.message, str(watch.logged), str(list(watch.alerts.find())), *capfd.readouterr()]
    assert "webhook" in watch.message.lower()
    assert "1 alerts wait" in watch.message
    assert "hush-hush" not in "".join(shown)


def test_mark_up_in_data_does_not_reach_slack(pipeline, hook, watch, monkeypatch):
    refused(monkeypatch, "by <!channel> & co")
    materialise(pipeline.asset, [DAY])
    watch.tick()
    assert "by &lt;!channel&gt; &amp; co" in hook.texts[0]


@pytest.fixture
def topic(pipeline, monkeypatch):
    """A topic of SNS, with a queue that holds what was published; S3 stays the embedded one."""
    given = read_settings().s3
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", given["endpoint_url"])
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        monkeypatch.setenv(name.upper(), given[name])
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with mock_aws(config={"core": {"mock_credentials": False}}):
        sns = boto3.client("sns", region_name="eu-west-1")
        sqs = boto3.client("sqs", region_name="eu-west-1")
        arn = sns.create_topic(Name="runs")["TopicArn"]
        queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
        answer = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        queue_arn = answer["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
        monkeypatch.setenv("FANFOLD_NOTIFY_SNS", arn)

        def taken():
            received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
            return [json.loads(message["Body"]) for message in received.get("Messages", [])]

        yield taken
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)


def test_sns_takes_each_alert_once_whatever_becomes_of_the_webhook(
    pipeline, hook, topic, watch, monkeypatch
):
    hook.status = 500
    refused(monkeypatch)
    materialise(pipeline.asset, [DAY])
    watch.tick().tick()
    (message,) = topic()
    assert message["Subject"] == "user_profiles 1998-04-01 failed"
    assert "S3 refused access" in message["Message"]
    hook.status = 200
    watch.tick().tick()
    assert topic() == []
    assert len(hook.texts) == 1


@pytest.mark.parametrize(
    ("arn", "says"),
    [
        ("runs", "FANFOLD_NOTIFY_SNS is not the ARN of a topic"),
        ("arn:aws:sns:eu-west-1:123456789012:gone", "SNS answers 404 NotFound"),
    ],
)
def test_a_topic_that_cannot_be_used_fails_no_tick(pipeline, topic, watch, monkeypatch, arn, says):
    monkeypatch.setenv("FANFOLD_NOTIFY_SNS", arn)
    refused(monkeypatch)
    materialise(pipeline.asset, [DAY])
    watch.tick()
    assert says in watch.message


def test_the_subject_is_cut_to_what_sns_takes(topic):
    now = datetime.now(UTC)
    alert = Alert(
        asset="profils_privés",
        run="r1",
        kind=AlertKind.FAILED,
        outcome=RunOutcome.FAILED,
        command=Command.RUN,
        ended=now,
        seconds=None,
        partitions=0,
        states=[],
        created=now,
        subject="profils_privés " + "x" * 200,
        text="t",
    )
    channels(logging.getLogger())["sns"](alert)
    (message,) = topic()
    assert message["Subject"].startswith("profils_priv?s xxx")
    assert len(message["Subject"]) == 100
