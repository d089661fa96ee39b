"""What AWS Lambda and ECS have of their own, on loopback."""

import logging
import threading

import pytest

from pipelines.runs import materialise
from tests.pipelines.launchers.conftest import PAGES_DAY
from tests.pipelines.launchers.test_launchers import logs_of, wait_until
from tests.support.pipeline import event
from workers.assets import asset_named

RUNTIME = "tests.support.lambda_runtime"


@pytest.fixture
def on_lambda(aws, monkeypatch):
    monkeypatch.setenv("FANFOLD_LAUNCHER", "lambda")
    return aws


@pytest.fixture
def on_ecs(aws, monkeypatch):
    monkeypatch.setenv("FANFOLD_LAUNCHER", "ecs")
    return aws


def test_a_function_is_invoked_again_until_no_batch_is_left(pipeline, pages, on_lambda):
    on_lambda.handler = f"{RUNTIME}.hurried_handler"
    pages.seconds = 0
    days = [PAGES_DAY, "2013-01-02", "2013-01-03"]
    for day in days[1:]:
        pipeline.store.put(f"pages/dt={day}/urls.txt", pages.web.url(f"/of/{day}").encode())
    summary = materialise(asset_named("page_profiles"), days)
    assert summary["success"], summary["errors"]
    assert on_lambda.calls["Invoke"] == 3
    assert set(pipeline.ledger.batches.distinct("attempts")) == {1}
    workers = [event["worker"] for _, event in on_lambda.requests]
    assert len(set(workers)) == 3


def test_a_function_that_runs_out_of_time_within_a_batch_is_a_failed_attempt(
    pipeline, pages, on_lambda
):
    def time_out():
        wait_until(lambda: pages.is_visited)
        on_lambda.is_out_of_time.set()

    timer = threading.Thread(target=time_out)
    timer.start()
    summary = materialise(asset_named("page_profiles"), [PAGES_DAY])
    timer.join()
    assert summary["success"], summary["errors"]
    assert pipeline.ledger.batches.distinct("attempts") == [2]
    warnings = logs_of(summary["run_id"], logging.WARNING)
    assert "the function failed: Task timed out after 900.00 seconds" in warnings


def test_a_function_that_is_no_worker_is_refused_at_once(pipeline, on_lambda):
    on_lambda.handler = f"{RUNTIME}.other_handler"
    pipeline.put([event("ann")])
    (error,) = materialise(pipeline.asset, ["1998-04-01"])["errors"]
    assert "its handler has to be workers.on_lambda.handler" in error
    assert on_lambda.calls["Invoke"] == 1


def test_a_task_for_which_there_is_no_place_is_asked_for_again(pipeline, on_ecs):
    on_ecs.failures = ["RESOURCE:MEMORY"]
    pipeline.put([event("ann")])
    summary = materialise(pipeline.asset, ["1998-04-01"])
    assert summary["success"], summary["errors"]
    assert on_ecs.calls["RunTask"] == 2
    assert "ECS has no place for a task: RESOURCE:MEMORY" in logs_of(summary["run_id"])


def test_a_task_has_the_placement_that_settings_say(pipeline, on_ecs, monkeypatch):
    monkeypatch.setenv("FANFOLD_ECS_SECURITY_GROUPS", "sg-1")
    monkeypatch.setenv("FANFOLD_ECS_PUBLIC_IP", "yes")
    pipeline.put([event("ann")])
    assert materialise(pipeline.asset, ["1998-04-01"])["success"]
    (request,) = [request for name, request in on_ecs.requests if name == "RunTask"]
    assert (request["cluster"], request["launchType"]) == ("machines", "FARGATE")
    assert request["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": ["subnet-1", "subnet-2"],
        "securityGroups": ["sg-1"],
        "assignPublicIp": "ENABLED",
    }


def test_a_service_that_is_away_is_asked_again_and_then_said_to_be(pipeline, on_ecs, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", "http://127.0.0.1:9")
    pipeline.put([event("ann")])
    (error,) = materialise(pipeline.asset, ["1998-04-01"])["errors"]
    assert "ECS did not answer" in error
