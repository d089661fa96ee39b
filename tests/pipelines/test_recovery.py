"""What an operator sees and types when something went wrong, through Dagster."""

import json
import os
import signal
import subprocess
import time

import dagster as dg
import psutil
import pytest

from pipelines.checks.evaluation import checked_plans
from pipelines.checks.findings import nothing_lost, nothing_twice
from pipelines.jobs import redrive_job_name
from pipelines.lost_runs import (
    PROCESS,
    free_lost_slots,
    is_lost,
    lost_runs_sensor,
    process_of_run,
    this_process,
)
from pipelines.purposes import REDRIVE_TAG
from pipelines.runs import (
    dagster_instance,
    errors_of,
    fork_server,
    materialise,
    partition_tags,
    resolve,
)
from tests.support.command import FANFOLD
from tests.support.pipeline import DAY, event, fragile
from workers.batch import Worker

NEXT = "1998-04-02"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Retries come at once."""
    monkeypatch.setattr("workers.retry.uniform", lambda low, high: 0.0)


def checks(pipeline, run_id):
    """Return the check results of a run by name."""
    with dagster_instance() as instance:
        entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    results = [entry.dagster_event.asset_check_evaluation_data for entry in entries]
    return {result.check_name: result for result in results}


def test_a_clean_run_passes_all_checks_of_its_partition(pipeline):
    pipeline.put([event("ann"), event("bo")])
    summary = materialise(pipeline.asset, [DAY])
    results = checks(pipeline, summary["run_id"])
    assert {name: result.passed for name, result in results.items()} == {
        "nothing_lost": True,
        "nothing_twice": True,
        "within_tolerance": True,
        "as_usual": True,
        "up_to_date": False,  # these days are long ago
    }
    assert "2 profiles compared with the raw blocks" in results["nothing_twice"].description


def test_checks_executed_by_themselves_look_at_the_newest_partition(pipeline):
    assert checked_plans(pipeline.asset, pipeline.ledger, "a run of checks") == []
    for day in (DAY, NEXT):
        pipeline.put([event("ann")], day)
        pipeline.run(day)
    (plan,) = checked_plans(pipeline.asset, pipeline.ledger, "a run of checks")
    assert plan.partition == NEXT


def test_a_spot_check_leaves_out_a_partition_whose_copies_elsewhere_have_gone(pipeline):
    once = pipeline.changed(unique=("user", "action", "ts"))
    first = once.put([event()])
    once.put([event()], NEXT)
    once.run(DAY, NEXT)
    once.remove(first)
    once.run(DAY, drop_removed=True)  # nobody counts the event, until the next day has run again

    plan = once.ledger.last_plan(once.asset.name, NEXT)
    (result,) = nothing_twice(once.asset, once.ledger, once.store, [plan])
    assert result.passed
    assert f"copies of items of {NEXT} came or went" in result.description


def test_dead_letters_within_tolerance_warn_and_say_what_to_type(pipeline):
    pipeline.put([event("ann"), b"bad"])
    summary = materialise(pipeline.asset, [DAY])
    assert summary["success"]
    results = checks(pipeline, summary["run_id"])
    assert results["nothing_lost"].passed
    warned = results["within_tolerance"]
    assert (warned.passed, warned.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "1 of 2 items of 1998-04-01" in warned.description
    assert f"`fanfold redrive user_profiles --partition {DAY}`" in warned.description


def test_profiles_that_differ_from_the_raw_blocks_fail_nothing_twice(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    pipeline.profiles.update_one({"_id": "ann"}, {"$set": {"events": 2}})
    plan = pipeline.ledger.last_plan("user_profiles", DAY)
    (result,) = nothing_twice(pipeline.asset, pipeline.ledger, pipeline.store, [plan])
    assert not result.passed
    assert "1 differ: ann" in result.description


def test_a_letter_that_went_missing_fails_nothing_lost(pipeline):
    pipeline.put([event("ann"), b"bad"])
    pipeline.run()
    pipeline.ledger.dead_letters.collection.delete_many({})
    plan = pipeline.ledger.last_plan("user_profiles", DAY)
    (result,) = nothing_lost(pipeline.ledger, [plan])
    assert not result.passed
    assert "1 dead and 0 failed; 0 dead letters" in result.description


def unlucky(monkeypatch):
    """Let each attempt at a batch of the first day raise; return the attempts, as they come."""
    real = Worker.read
    broken = []

    def run(worker):
        if worker.batch.partition == DAY:
            broken.append(worker.batch.id)
            raise RuntimeError("out of luck")
        return real(worker)

    monkeypatch.setattr(Worker, "read", run)
    return broken


def test_a_batch_that_raises_in_each_attempt_leaves_the_others_and_is_all_that_is_repeated(
    pipeline, monkeypatch
):
    """The fan-in runs and refuses its day, and the next run repeats only that batch."""
    for day in (DAY, NEXT):
        pipeline.put([event(f"user{n}") for n in range(50)], day)
    with monkeypatch.context() as patch:
        broken = unlucky(patch)
        failed = materialise(pipeline.asset, [DAY, NEXT])
    assert not failed["success"]
    (error,) = failed["errors"]
    assert error.startswith(f"{DAY}: 1 batch failed, which no tolerance covers")
    assert "50 x batch failed: RuntimeError: out of luck" in error
    assert len(broken) == 4  # the first attempt and three more
    assert failed["partitions_folded"] == [NEXT]
    assert set(pipeline.profiles.distinct("events")) == {1}
    again = materialise(pipeline.asset, [DAY, NEXT])
    assert again["success"], again["errors"]
    assert (again["batches"], again["batches_reused"]) == (2, 1)
    assert pipeline.verify().match


def test_a_failed_batch_of_fewer_items_than_are_tolerated_fails_the_run_all_the_same(
    pipeline, monkeypatch
):
    pipeline.put([event(f"user{n}") for n in range(10)])
    pipeline.put([event("ann")] * 10, NEXT)

    unlucky(monkeypatch)
    (error,) = materialise(pipeline.asset, [DAY, NEXT])["errors"]
    assert f"10 of 10 items of {DAY} (0 dead letters, about 10 items of 1 failed batches)" in error
    assert f"`fanfold redrive user_profiles --partition {DAY}` runs them again" in error
    assert pipeline.profiles.distinct("_id") == ["ann"]


def test_dead_letters_within_tolerance_are_left_out_and_the_check_says_so(pipeline):
    pipeline.put([event("ann"), b'{"user": 1}'])
    summary = materialise(pipeline.asset, [DAY])
    assert summary["success"]
    warned = checks(pipeline, summary["run_id"])["within_tolerance"]
    assert (warned.passed, warned.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert f"1 of 2 items of {DAY} (1 dead letters)" in warned.description


def test_the_redrive_job_of_the_ui_runs_dead_letters_again(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    fragile(monkeypatch, lambda user: False)
    job = resolve("user_profiles_redrive_job")
    assert REDRIVE_TAG in job.tags
    assert job.execute_in_process(partition_key=DAY).success
    assert pipeline.profile("bo")["events"] == 1
    assert pipeline.verify().match


def test_a_redrive_brings_a_partition_back_within_tolerance(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user.startswith("bo"))
    pipeline.put([event("ann")] * 50 + [event(f"bo{n}") for n in range(50)])
    assert "50 of 100 items" in materialise(pipeline.asset, [DAY])["errors"][0]
    fragile(monkeypatch, lambda user: user == "bo7", version="mended")
    job = redrive_job_name(pipeline.asset)
    summary = materialise(pipeline.asset, [DAY], job)
    assert summary["success"], summary["errors"]
    assert (summary["items"], summary["items_used"], summary["dead_letters"]) == (100, 99, 1)
    assert pipeline.verify().match


def started_run(pipeline):
    """Run sixty days in real processes; return the days and the run's process.

    Not by our environment: the jobs of our own process are built once, for whoever is first.
    """
    days = pipeline.asset.partitions.between("1998-03-01", "1998-04-29")
    for day in days:
        pipeline.put([event(f"user{n}", item=day) for n in range(50)], day)
    command = [*FANFOLD, "run", "user_profiles", "--json"]
    command += ["--partitions", f"{days[0]}...{days[-1]}"]
    return days, subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"FANFOLD_EXECUTOR": "local"},
    )


def wait_until(is_time, run):
    """Wait for something that has to come while a run goes on; return it."""
    deadline = time.monotonic() + 90
    while not (answer := is_time()):
        assert time.monotonic() < deadline
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    return answer


def killed_run(pipeline, is_time):
    """Run sixty days in real processes and kill the run once `is_time`; return its id."""
    days, killed = started_run(pipeline)
    wait_until(is_time, killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    return days, pipeline.ledger.plans.find_one()["run"]


def executed_again(run_id, days):
    """Execute a run from its failure, as a person can in the UI; return what its steps say."""
    with dagster_instance() as instance, fork_server():
        assert instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.STARTED
        with dg.build_sensor_context(instance=instance) as context:
            lost_runs_sensor(context)
        assert instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.FAILURE
        result = dg.execute_job(
            dg.build_reconstructable_job(
                "pipelines.runs", "resolve", reconstructable_kwargs={"name": "user_profiles_job"}
            ),
            instance=instance,
            tags=partition_tags(days),
            reexecution_options=dg.ReexecutionOptions.from_failure(run_id, instance),
        )
        return result.success, errors_of(result)


def test_a_run_is_lost_only_where_its_process_was_here_and_is_gone():
    def is_process_lost(process):
        tags = {PROCESS: f"mine {process}"}
        return is_lost(None, dg.DagsterRun("job", run_id="mine", tags=tags))

    host, pid, born = this_process().split()
    assert not is_process_lost(f"{host} {pid} {born}")
    assert is_process_lost(f"{host} {pid} {float(born) - 60:.0f}")  # another one with its number
    assert is_process_lost(f"{host} {2**22 + 1} {born}")
    assert not is_process_lost(f"elsewhere {2**22 + 1} {born}")


@pytest.mark.parametrize("step", ["share", "fold"])
def test_a_run_goes_on_after_an_op_of_it_is_killed(pipeline, step):
    _, run = started_run(pipeline)

    reconciling = []

    def op_at_work():
        if step == "share":
            worker = pipeline.database["workers"].find_one({"step": "share", "ended": None})
            return worker and worker["pid"]
        if not reconciling and pipeline.ledger.plans.find_one({"state": "folding"}):
            reconciling.extend([0, *children_of_fork_server(run)])
        later = reconciling and set(children_of_fork_server(run)).difference(reconciling)
        return later and later.pop()

    os.kill(wait_until(op_at_work, run), signal.SIGKILL)
    summary = json.loads(run.communicate(timeout=120)[0])
    assert summary["success"], summary["errors"]
    assert pipeline.verify().match


def children_of_fork_server(run):
    servers = psutil.Process(run.pid).children()
    return [op.pid for server in servers for op in server.children()]


def test_a_killed_run_executed_from_its_failure_fails_loudly_and_a_new_run_completes(pipeline):
    """Dagster drops mapped steps that never started; the ledger knows of them."""
    days, run_id = killed_run(
        pipeline, lambda: pipeline.ledger.batches.count_documents({"state": "done"}) >= 5
    )
    success, errors = executed_again(run_id, days)
    assert not success
    assert any("Start a new run of the same partitions" in error for error in errors), errors
    plans = pipeline.ledger.newest_plans("user_profiles", days)
    folded = [partition for partition, plan in plans.items() if plan.state == "folded"]
    assert 5 <= len(folded) < len(days)
    assert pipeline.verify(*sorted(folded)).match
    assert materialise(pipeline.asset, days)["batches_reused"] >= 5
    assert pipeline.verify().match


def test_a_run_killed_before_its_fold_and_executed_from_its_failure_is_whole_or_fails(pipeline):
    days, run_id = killed_run(
        pipeline, lambda: pipeline.ledger.plans.count_documents({"state": "folding"}) > 0
    )
    success, errors = executed_again(run_id, days)
    assert success or any("Start a new run of the same partitions" in error for error in errors), (
        errors
    )
    assert success == pipeline.verify().match
    assert materialise(pipeline.asset, days)["success"]
    assert pipeline.verify().match


def test_the_slots_of_runs_that_are_gone_are_free_for_the_next_and_those_of_others_stay():
    pool = "fold_slots_of_a_test"
    gone = dg.DagsterRun("no_job", run_id="gone")
    alive = dg.DagsterRun("no_job", run_id="alive", tags={PROCESS: process_of_run("alive")})
    alive = alive.with_status(dg.DagsterRunStatus.STARTED)

    with dagster_instance() as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots(pool, 2)
        instance.run_storage.add_run(alive)
        for run in (gone, alive):
            assert storage.claim_concurrency_slot(pool, run.run_id, "fold_shard[0]").is_claimed

        free_lost_slots(instance)
        claimed = storage.get_concurrency_info(pool).claimed_slots
        assert [slot.run_id for slot in claimed] == [alive.run_id]

        storage.free_concurrency_slots_for_run(alive.run_id)
        storage.delete_concurrency_limit(pool)
        instance.delete_run(alive.run_id)
