"""What holds of every launcher: inline, subprocess, lambda and ecs, the last two on loopback."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from pipelines.errors import STOPPED_TEXT
from pipelines.runs import dagster_instance, materialise
from tests.pipelines.launchers.conftest import PAGES_DAY, processes_of
from tests.support.command import FANFOLD
from tests.support.pipeline import DAY, event
from tests.support.webhook import redeclare
from workers.assets import asset_named
from workers.batch import MAX_UNREADABLE_ITEMS
from workers.declare.asset import Sizes

DAYS = [DAY, "1998-04-02", "1998-04-03"]
STOPPED_SECONDS = 15  # within which nothing of a cancelled run is left


def logs_of(run_id, level=logging.INFO):
    """Return what is in a run's log, from a level on."""
    with dagster_instance() as instance:
        return [each.user_message for each in instance.all_logs(run_id) if each.level >= level]


def started_run():
    """Start a run of the pages in processes of its own."""
    command = [*FANFOLD, "run", "page_profiles", "--json"]
    return subprocess.Popen(
        [*command, "--partition", PAGES_DAY],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"FANFOLD_EXECUTOR": "local"},
    )


def wait_until(is_time, seconds=90):
    deadline = time.monotonic() + seconds
    while not is_time():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def worker_at_work(pipeline):
    return pipeline.database["workers"].find_one({"step": "share", "ended": None})


def test_days_are_materialised_and_profiles_match(pipeline, launcher):
    for day in DAYS:
        pipeline.put([event("ann"), event(f"user of {day}")], day)
    summary = materialise(pipeline.asset, DAYS)
    assert summary["success"], summary["errors"]
    assert (summary["items_used"], summary["profiles"]) == (6, 4)
    assert pipeline.verify().match
    worker, *_ = pipeline.ledger.workers.of_run(summary["run_id"])
    assert (worker.pid == os.getpid()) == (launcher == "inline")
    assert worker.ended
    said = f"worker {worker.id} runs a share of "
    assert any(said in message for message in logs_of(summary["run_id"]))


def test_a_batch_that_fails_is_for_reconcile_and_says_why_in_the_runs_log(pipeline, launcher):
    pipeline.put([event("ann")])
    pipeline.put([{"user": 1}] * MAX_UNREADABLE_ITEMS, DAYS[1])
    summary = materialise(pipeline.asset, DAYS[:2])
    assert not summary["success"]
    why = f"none of the first {MAX_UNREADABLE_ITEMS:,} items of events/dt={DAYS[1]}/a.jsonl"
    (error,) = summary["errors"]
    assert error.startswith(f"{DAYS[1]}: 1 batch failed, which no tolerance covers")
    assert why in error
    assert summary["partitions_folded"] == DAYS[:1]
    assert any(why in message for message in logs_of(summary["run_id"], logging.WARNING))
    assert set(pipeline.ledger.batches.distinct("attempts")) == {1}


def test_what_is_not_run_any_more_is_not_tried_again(pipeline, monkeypatch):
    monkeypatch.setattr("workers.share.TOLERANCE_SECONDS", -1)
    monkeypatch.setattr("workers.share.SMALL_BATCH_BYTES", -1)
    for name in "abc":
        pipeline.put([{"user": 1}] * 50, name=f"{name}.jsonl")
    asset = redeclare(monkeypatch, pipeline.asset, sizes=Sizes(min_items=50, max_items=50))
    summary = materialise(asset, [DAY])
    assert not summary["success"]
    messages = logs_of(summary["run_id"])
    assert any("tolerated: " in each and each.endswith(" are not run") for each in messages)
    assert not any("have no outcome yet" in message for message in messages)


# The worker of `inline` is the op: see tests/pipelines/test_recovery.py.
@pytest.mark.parametrize("launcher", ["subprocess", "lambda", "ecs"], indirect=True)
def test_a_worker_that_is_killed_is_run_again(pipeline, pages, launcher):
    def kill():
        wait_until(lambda: pages.is_visited)
        os.kill(worker_at_work(pipeline)["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = materialise(asset_named("page_profiles"), [PAGES_DAY])
    killer.join()
    assert summary["success"], summary["errors"]
    assert summary["profiles"] == 3
    assert pipeline.ledger.batches.distinct("attempts") == [2]
    assert any("have no outcome" in message for message in logs_of(summary["run_id"]))


def test_a_cancelled_run_leaves_no_worker(pipeline, pages, launcher):
    def cancel():
        wait_until(lambda: pages.is_visited)
        os.kill(os.getpid(), signal.SIGINT)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    summary = materialise(asset_named("page_profiles"), [PAGES_DAY])
    canceller.join()
    assert summary["errors"] == [STOPPED_TEXT]
    wait_until(lambda: not processes_of(pipeline), STOPPED_SECONDS)
    assert not worker_at_work(pipeline)


def test_a_ctrl_c_of_the_command_leaves_no_process(pipeline, pages, monkeypatch):
    monkeypatch.setenv("FANFOLD_LAUNCHER", "subprocess")
    run = started_run()
    wait_until(lambda: pages.is_visited or run.poll() is not None)
    os.killpg(run.pid, signal.SIGINT)
    wait_until(lambda: not processes_of(pipeline), STOPPED_SECONDS)
    out, _ = run.communicate()
    assert run.returncode == 1
    assert json.loads(out)["errors"] == [STOPPED_TEXT]
    assert not worker_at_work(pipeline)


def test_a_worker_can_have_an_environment_of_its_own(pipeline, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho INFO an environment of its own\nexec {sys.executable} $@\n")
    python.chmod(0o755)
    monkeypatch.setenv("FANFOLD_LAUNCHER", "subprocess")
    monkeypatch.setenv("FANFOLD_WORKER_PYTHON", str(python))
    pipeline.put([event("ann")])
    summary = materialise(pipeline.asset, [DAY])
    assert summary["success"], summary["errors"]
    assert "an environment of its own" in logs_of(summary["run_id"])


def test_a_worker_that_cannot_run_its_share_fails_its_op_at_once_and_says_why(
    pipeline, tmp_path, monkeypatch
):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho ERROR no place to stand\nexit 2\n")
    python.chmod(0o755)
    monkeypatch.setenv("FANFOLD_LAUNCHER", "subprocess")
    monkeypatch.setenv("FANFOLD_WORKER_PYTHON", str(python))
    pipeline.put([event("ann")])
    (error,) = materialise(pipeline.asset, [DAY])["errors"]
    assert error.endswith("no place to stand")


def test_a_worker_whose_op_is_killed_finishes_and_its_result_counts(pipeline, pages, monkeypatch):
    monkeypatch.setenv("FANFOLD_LAUNCHER", "subprocess")
    run = started_run()
    wait_until(lambda: pages.is_visited or run.poll() is not None)
    first = worker_at_work(pipeline)
    psutil.Process(first["pid"]).parent().kill()
    workers = pipeline.database["workers"]
    wait_until(lambda: workers.count_documents({"step": "share"}) == 2)
    pages.answer()

    out, _ = run.communicate(timeout=120)
    summary = json.loads(out)
    assert summary["success"], summary["errors"]
    assert summary["profiles"] == 3
    assert pipeline.ledger.batches.distinct("attempts") == [1]
    assert pipeline.ledger.batches.distinct("worker.id") == [first["_id"]]
    assert len(pipeline.ledger.workers.of_run(summary["run_id"])) == 2
