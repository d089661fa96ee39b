"""Runs whose steps are taken by real workers through a real broker, while these are killed."""

import json
import os
import signal
import subprocess
import sys
import time

import dagster as dg
import psutil
import pytest

from pipelines.celery.broker import Broker, queue_name
from pipelines.celery.handler import STEP
from resources.embedded import running_settings, start_servers
from tests.conftest import PROJECT
from tests.pipelines.celery.conftest import until
from tests.support.command import FANFOLD
from tests.support.pipeline import Pipeline, event
from workers.ledger import workers as at_work
from workers.store import open_store


def failures(result):
    return [event.step_failure_data for event in result.all_events if event.is_step_failure]


def retries(result):
    return [event for event in result.all_events if event.is_step_up_for_retry]


def test_steps_side_by_side_each_run_once(start, tmp_path):
    job = start("mapped")
    assert job.end().success
    assert len(list(tmp_path.glob("after-*"))) == 3


def test_a_step_whose_process_is_killed_is_tried_again(start):
    job = start("waiting")
    os.kill(job.began(), signal.SIGKILL)
    job.began(1)
    result = job.end()
    assert result.success
    (retry,) = retries(result)
    assert "is gone, killed or cut off" in retry.step_retry_data.error.message


def test_a_step_that_kills_its_process_each_time_fails(start):
    result = start("deadly").end()
    assert not result.success
    (failure,) = failures(result)
    assert "failed health check: its worker, process" in failure.error.message


def test_a_step_whose_worker_is_killed_is_taken_by_another(cluster, start):
    cluster.start_worker(slots=1)
    job = start("waiting")
    child = psutil.Process(job.began())
    child.parent().kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert job.began(1) != child.pid
    assert job.end().success


def test_a_worker_is_heard_of_no_more_once_it_is_told_to_stop_and_its_step_has_ended(
    cluster, start
):
    job = start("waiting")
    worker = psutil.Process(job.began()).parent()
    worker.terminate()
    time.sleep(1)
    assert worker.is_running()
    assert job.end().success
    popen = next(each for each in cluster.workers if each.pid == worker.pid)
    assert popen.wait(30) == 0
    if not cluster.serving():
        cluster.start_worker(slots=2)


def test_a_worker_told_twice_ends_at_once_and_its_step_is_tried_again(cluster, start):
    job = start("waiting")
    worker = psutil.Process(job.began()).parent()
    worker.terminate()
    time.sleep(1)
    worker.terminate()
    popen = next(each for each in cluster.workers if each.pid == worker.pid)
    popen.wait(5)
    if not cluster.serving():
        cluster.start_worker(slots=2)
    job.began(1)
    assert job.end().success


def test_a_process_that_was_lost_and_wakes_is_interrupted_and_does_not_end_the_step(
    start, tmp_path, monkeypatch
):
    job = start("waiting")
    frozen = psutil.Process(job.began())
    frozen.suspend()
    monkeypatch.setattr(at_work, "LOST_SECONDS", 2)  # of those who look from here
    second = job.began(1)
    monkeypatch.undo()
    frozen.resume()
    until((tmp_path / "interrupted").exists, seconds=5)
    time.sleep(1)
    assert job.result is None
    result = job.end()
    assert result.success
    (end,) = [event for event in result.all_events if event.is_step_success]
    assert end.pid == second


@pytest.mark.parametrize("has_kept", [True, False], ids=["with", "without"])
def test_a_broker_that_comes_back_with_or_without_what_it_held_costs_no_step(
    cluster, start, tmp_path, has_kept
):
    job = start("waiting")
    job.began()
    kept = cluster.kill_broker()
    waiting = start("mapped")  # its steps are sent once the broker is back
    if not has_kept:
        kept.unlink()
    start_servers()
    assert job.end().success
    assert waiting.end().success
    assert len(list(tmp_path.glob("after-*"))) == 3
    assert not retries(job.result)


def test_a_worker_whose_steps_all_end_while_the_broker_is_away_takes_steps_again(cluster, start):
    jobs = [start("waiting") for _ in range(cluster.slots())]
    until(lambda: len(cluster.ledger.workers.alive_at(STEP)) == len(jobs))
    cluster.kill_broker()
    assert all(job.end().success for job in jobs)
    until(lambda: "Trying again in" in cluster.log())
    start_servers()
    assert start("mapped").end().success


def test_a_message_that_its_broker_lost_is_sent_again(cluster, start):
    slots = cluster.slots()
    jobs = [start("waiting") for _ in range(slots + 1)]
    until(lambda: len(cluster.ledger.workers.alive_at(STEP)) == slots)
    time.sleep(1)  # one step waits in the queue
    cluster.kill_broker().unlink()
    start_servers()
    assert all(job.end().success for job in jobs)


def test_a_message_that_is_delivered_again_is_refused(cluster, start, tmp_path):
    job = start("mapped")
    result = job.end()
    step = f"{result.run_id}/three/0"
    broker = Broker(queue_name(running_settings()))
    broker.send(step, the_message(result))
    broker.close()
    until(lambda: f"{step}: begun before or not wanted" in cluster.log())
    assert len(list(tmp_path.glob("after-*"))) == 3
    with dg.DagsterInstance.get() as instance:
        starts = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_START)
    assert len(starts) == 4


def the_message(result):
    """Return what the executor sent of the first step of a run."""
    from dagster._grpc.types import ExecuteStepArgs
    from dagster._serdes import serialize_value

    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(result.run_id)
    args = ExecuteStepArgs(
        job_origin=run.job_code_origin,
        run_id=run.run_id,
        step_keys_to_execute=["three"],
        instance_ref=None,
    )
    return serialize_value(args)


def test_a_run_that_is_stopped_interrupts_its_steps_within_five_seconds(cluster, tmp_path):
    command = [sys.executable, "-m", "tests.support.waiting", "waiting", str(tmp_path), "stopped"]
    run = subprocess.Popen(command, cwd=PROJECT)
    until((tmp_path / "begun-0").exists)
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    until((tmp_path / "interrupted").exists, seconds=5)
    run.wait(30)
    until(lambda: not cluster.ledger.workers.alive_at(STEP), seconds=5)
    assert not (tmp_path / "begun-1").exists()


def test_days_are_materialised_by_workers_and_match_the_raw_blocks(cluster):
    settings = running_settings()
    pipeline = Pipeline(open_store(settings), cluster.ledger.database, cluster.ledger)
    days = pipeline.asset.partitions.between("1998-03-01", "1998-03-12")
    for day in days:
        pipeline.put([event(f"user{n}", item=day) for n in range(50)], day)
    command = [*FANFOLD, "run", "user_profiles", "--json"]
    command += ["--partitions", f"{days[0]}...{days[-1]}"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    summary = json.loads(done.stdout)
    assert summary["success"], summary["errors"]
    assert (summary["batches"], summary["items_used"]) == (12, 600)
    assert pipeline.verify().match
    records = cluster.ledger.workers.of_run(summary["run_id"])
    assert {record.id.split("/")[1].split("[")[0] for record in records if record.step == STEP} == {
        "user_profiles.list_blocks",
        "user_profiles.slice_blocks",
        "user_profiles.queue_batches",
        "user_profiles.run_batch",
        "user_profiles.reconcile",
        "user_profiles.fold_shard",
        "user_profiles.publish",
        "user_profiles_checks",
    }
