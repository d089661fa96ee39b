"""The sensors in the code location, evaluated as the daemon does."""

import json
import time
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from pipelines.definitions import definitions
from tests.support.notifications import count_messages, message, queueing, send
from tests.support.pipeline import event


@pytest.fixture
def queue():
    with queueing() as queue:
        yield queue


class Location:
    """The code location, whose sensor is evaluated as the daemon does."""

    def __init__(self):
        self.definitions = definitions()
        self.repository = self.definitions.get_repository_def()
        self.instance = dg.DagsterInstance.ephemeral()

    def tick(self, cursor=None, name="user_profiles"):
        sensor = self.repository.get_sensor_def(f"{name}_sensor")
        with dg.build_sensor_context(
            instance=self.instance,
            repository_def=self.repository,
            resources=self.definitions.resources,
            cursor=cursor,
        ) as context:
            return sensor.evaluate_tick(context)


@pytest.fixture
def location():
    location = Location()
    with location.instance:
        yield location


@pytest.fixture
def today(pipeline):
    """A partition that has just been written to."""
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    pipeline.put([event(ts=f"{day}T00:00:00Z")], day)
    return day


def test_the_sensor_keeps_its_place_in_its_cursor(location, today):
    first = location.tick()
    assert first.run_requests == []
    assert first.skip_message == f"{today} is still being written"
    waited = json.loads(first.cursor)
    waited["waiting"] = {today: 0}
    second = location.tick(json.dumps(waited))
    (request,) = second.run_requests
    assert request.partition_key == today
    third = location.tick(second.cursor)
    assert third.run_requests == []
    assert third.skip_message == "no block is new, replaced or gone"


def test_the_sensor_leaves_to_a_queued_run_what_that_will_list(location, today):
    code = RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin("localhost", 1), "repository")
    queued = dg.DagsterRun(
        job_name="user_profiles_job",
        status=dg.DagsterRunStatus.QUEUED,
        tags={"dagster/partition": today},
        remote_job_origin=RemoteJobOrigin(code, "user_profiles_job"),
    )
    location.instance.add_run(queued)
    tick = location.tick(json.dumps({"waiting": {today: 0}}))
    assert tick.run_requests == []
    assert tick.skip_message == f"a run of {today} is queued"


def test_a_tick_without_s3_fails_in_one_sentence(location, pipeline, monkeypatch):
    monkeypatch.setenv("FANFOLD_BUCKET", "never-made")
    with pytest.raises(dg.Failure, match="the bucket does not exist; create it"):
        location.tick()


def test_with_a_queue_the_sensor_reads_it_and_does_not_list_the_window(
    location, pipeline, today, queue, servers, monkeypatch
):
    for name, key in [
        ("AWS_ENDPOINT_URL_S3", "endpoint_url"),
        ("AWS_ACCESS_KEY_ID", "aws_access_key_id"),
        ("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key"),
        ("AWS_DEFAULT_REGION", "region_name"),
    ]:
        monkeypatch.setenv(name, servers.s3[key])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("FANFOLD_EVENTS_QUEUE", queue.url)
    old = "1997-12-24"
    pipeline.put([event()], old)
    send(queue, message(pipeline.store.bucket, f"events/dt%3D{old}/a.jsonl"), "hello")
    scanned = {"scanned": time.time(), "waiting": {old: 0}}
    other = location.tick(json.dumps({"scanned": time.time()}), "device_profiles")
    assert other.run_requests == []
    assert count_messages(queue) == 0
    tick = location.tick(json.dumps(scanned))
    assert [request.partition_key for request in tick.run_requests] == [old]
