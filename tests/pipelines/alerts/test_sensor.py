"""Which runs a tick looks at, and which of them are told."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from pipelines.alerts.sensor import Cursor
from pipelines.runs import dagster_instance, materialise
from tests.support.pipeline import DAY
from tests.support.webhook import Watch, begun, refused


@pytest.fixture
def retried(monkeypatch):
    """Where a run that the daemon launched came from; it tries failed ones again."""
    monkeypatch.setattr(dg.DagsterInstance, "run_retries_enabled", True)
    monkeypatch.setattr(dg.DagsterInstance, "run_retries_max_retries", 1)
    location = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=9, location_name="fanfold")
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "user_profiles_job")


def test_of_a_run_that_dagster_tries_again_only_the_last_attempt_is_told(
    pipeline, hook, watch, retried
):
    with dagster_instance() as instance:
        first = begun(instance, retried)
        instance.report_run_failed(first)
        assert instance.get_run_by_id(first.run_id).tags["dagster/will_retry"] == "true"
        watch.tick()
        second = begun(instance, retried)
        instance.add_run_tags(first.run_id, {"dagster/auto_retry_run_id": second.run_id})
        instance.report_run_failed(second, "again")
        instance.add_run_tags(second.run_id, {"dagster/will_retry": "false"})
    watch.tick()
    (text,) = hook.texts
    assert f"/runs/{second.run_id}" in text


def test_a_retry_that_does_not_come_is_waited_for_only_so_long(
    pipeline, hook, watch, retried, monkeypatch
):
    monkeypatch.setattr("pipelines.alerts.sensor.OVERLAP", timedelta())
    with dagster_instance() as instance:
        instance.report_run_failed(begun(instance, retried))
    watch.tick().tick()
    assert hook.texts == []
    monkeypatch.setattr("pipelines.alerts.run_records.MAX_RETRY_WAIT", timedelta())
    watch.tick().tick()
    assert len(hook.texts) == 1


def test_runs_of_before_the_first_tick_are_not_told(pipeline, hook, monkeypatch):
    refused(monkeypatch)
    materialise(pipeline.asset, [DAY])
    watch = Watch(pipeline).tick()
    assert watch.kinds() == []
    assert hook.texts == []


def test_a_tick_that_is_repeated_tells_nothing_twice(pipeline, hook, watch, monkeypatch):
    refused(monkeypatch)
    before = watch.cursor
    materialise(pipeline.asset, [DAY])
    watch.tick()
    watch.cursor = before
    watch.tick()
    assert (watch.kinds(), hook.requests) == (["failed"], 1)


def test_more_runs_than_a_tick_looks_at_are_told_by_the_next_ones(
    pipeline, hook, watch, monkeypatch
):
    monkeypatch.setattr("pipelines.alerts.sensor.MAX_RUNS", 2)
    with dagster_instance() as instance:
        for number in range(3):
            instance.report_run_failed(begun(instance), f"lost{'!' * number}")
    watch.tick()
    assert len(hook.texts) == 2
    watch.tick().tick()
    assert [text.splitlines()[1] for text in hook.texts] == ["lost", "lost!", "lost!!"]


def test_the_cursor_says_since_when_and_how_far():
    now = datetime.now(UTC)
    cursor = Cursor(now - timedelta(days=3), now)
    assert Cursor.read(cursor.text) == cursor
