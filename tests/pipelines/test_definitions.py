"""The code location as the UI, the daemon and the dagster command see it."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from pipelines.definitions import definitions, executor
from pipelines.sensors import requested
from tests.conftest import PROJECT
from tests.world import DAY, event

NAMES = [
    "device_profiles",
    "github_profiles",
    "influence_scores",
    "page_profiles",
    "user_profiles",
]


def test_the_location_has_the_names_that_operators_rely_on():
    found = definitions()
    repository = found.get_repository_def()
    keys = found.resolve_asset_graph().get_all_asset_keys()
    assert sorted(key.to_user_string() for key in keys) == NAMES
    assert [one.name for one in repository.schedule_defs] == [f"{name}_schedule" for name in NAMES]
    for name in NAMES:
        assert repository.has_job(f"{name}_job")
        assert repository.has_job(f"{name}_redrive_job")
    watched = [name for name in NAMES if name != "influence_scores"]  # no blocks of its own
    assert [one.name for one in repository.sensor_defs] == [f"{name}_sensor" for name in watched]


def test_scores_hang_on_the_profiles_they_are_made_of():
    graph = definitions().resolve_asset_graph()
    parents = graph.get(dg.AssetKey("influence_scores")).parent_keys
    assert parents == {dg.AssetKey("user_profiles")}


def test_the_ops_read_in_data_order():
    graph = definitions().resolve_job_def("user_profiles_job").graph.node_named("user_profiles")
    names = {node.name for node in graph.definition.nodes}
    assert names == {
        "list_blocks",
        "slice_blocks",
        "queue_batches",
        "run_batch",
        "reconcile",
        "fold_shard",
        "publish",
    }


def test_an_executor_that_does_not_exist_is_named():
    assert executor("in_process") is dg.in_process_executor
    with pytest.raises(ValueError, match="FANFOLD_EXECUTOR is 'quantum'"):
        executor("quantum")


def test_the_schedule_asks_for_the_partition_that_closed():
    repository = definitions().get_repository_def()
    schedule = repository.get_schedule_def("user_profiles_schedule")
    at = datetime(1998, 4, 2, 0, 15, tzinfo=UTC)
    with dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=repository
    ) as context:
        (request,) = schedule.evaluate_tick(context).run_requests
    assert request.partition_key == DAY


def test_the_sensor_asks_once_for_each_partition_that_has_news(world):
    def asked():
        found = requested(world.asset, world.store, world.ledger, datetime(1998, 4, 3, tzinfo=UTC))
        return {request.partition_key: request.run_key for request in found}

    assert asked() == {}
    world.put([event()])
    world.put([event()], "1998-03-01")
    first = asked()
    assert list(first) == [DAY]
    assert asked() == first
    world.run(DAY)
    assert asked() == {}
    late = world.put([event("bo")], name="late.jsonl")
    second = asked()
    assert second.keys() == first.keys()
    assert second != first
    world.run(DAY)
    world.remove(late)
    third = asked()
    world.run(DAY)
    world.put([event("bo")], name="late.jsonl")
    assert len({*first.values(), *second.values(), *third.values(), *asked().values()}) == 4


def test_the_sensor_evaluates_in_the_code_location(world):
    found = definitions()
    repository = found.get_repository_def()
    sensor = repository.get_sensor_def("user_profiles_sensor")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    world.put([event(ts=f"{today}T00:00:00Z")], today)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance=instance, repository_def=repository, resources=found.resources
        ) as context,
    ):
        tick = sensor.evaluate_tick(context)
    assert [request.partition_key for request in tick.run_requests] == [today]


def dagster(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the dagster command in the project's folder, as a plain shell would."""
    program = Path(sys.executable).parent / "dagster"
    return subprocess.run(
        [program, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
    )


def test_dagster_validates_the_definitions():
    done = dagster("definitions", "validate")
    assert done.returncode == 0, done.stderr
    assert "All code locations passed validation" in done.stderr + done.stdout


def test_dagster_materialises_a_partition_from_its_own_command_line(world, monkeypatch):
    world.put([event("ann")])
    monkeypatch.setenv("FANFOLD_EXECUTOR", "local")
    # What `make` sets up once for the whole virtual environment.
    monkeypatch.setenv("DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME", "pipelines.definitions")
    done = dagster("asset", "materialize", "--select", "user_profiles", "--partition", DAY)
    assert done.returncode == 0, done.stderr
    assert world.profile("ann")["events"] == 1
    assert world.verify().match
    with dg.DagsterInstance.get() as instance:
        event_ = instance.get_latest_materialization_event(dg.AssetKey("user_profiles"))
    metadata = event_.asset_materialization.metadata
    assert (metadata["items"].value, metadata["profiles"].value) == (1, 1)


def test_a_range_has_the_numbers_of_each_partition_in_its_materialisation(world):
    world.put([event("ann"), event("bo")])
    world.put([event("ann")], "1998-04-02")
    from pipelines import runs

    summary = runs.materialise(world.asset, [DAY, "1998-04-02"])
    assert summary["profiles"] == 2
    with dg.DagsterInstance.get() as instance:
        found = {
            record.partition_key: record.asset_materialization.metadata["profiles"].value
            for record in instance.fetch_materializations(dg.AssetKey("user_profiles"), 2).records
        }
    assert found == {DAY: 2, "1998-04-02": 1}


def test_references_between_ops_are_json(world):
    from pipelines import runs

    world.put([event("ann")])
    summary = runs.materialise(world.asset, [DAY])
    keys = [block.key for block in world.store.list(f"_fanfold/runs/{summary['run_id']}/")]
    assert len(keys) > 5
    for key in keys:
        json.loads(world.store.get(key))


def test_a_worker_runs_a_batch_with_dagster_unimportable(world, tmp_path):
    """The README's way to run a worker, in a Python that has no Dagster."""
    (tmp_path / "dagster.py").write_text("raise ImportError('no dagster here')")
    world.put([event("ann")])
    (batch,) = world.plan().to_run
    done = subprocess.run(
        [sys.executable, "-m", "workers", "--batch", batch],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["used"] == 1
    assert world.ledger.batch(batch)["state"] == "done"
    world.run()
    assert world.verify().match


def test_workers_import_neither_dagster_nor_the_other_rooms():
    code = (
        "import workers.__main__, workers.verify, workers.reconcile, workers.tasks.user_profiles\n"
    )
    code += "import sys; print([m for m in sys.modules if m.split('.')[0] in "
    code += "('dagster', 'resources', 'pipelines')])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
