"""The code location as the UI, the daemon and the dagster command see it."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import msgspec
import pytest

from pipelines.definitions import broken_asset, definitions, executor
from pipelines.runs import materialise
from pipelines.schedules import asset_schedule
from tests.conftest import PROJECT
from tests.support.pipeline import DAY, event
from workers.assets import assets, broken_assets
from workers.declare import Schedule

NAMES = [
    "device_profiles",
    "github_profiles",
    "influence_scores",
    "page_profiles",
    "user_profiles",
]


def test_the_location_has_the_names_that_operators_rely_on():
    location = definitions()
    repository = location.get_repository_def()
    keys = location.resolve_asset_graph().materializable_asset_keys
    assert sorted(key.to_user_string() for key in keys) == NAMES
    assert [schedule.name for schedule in repository.schedule_defs] == [
        f"{name}_schedule" for name in NAMES
    ]
    for name in NAMES:
        assert repository.has_job(f"{name}_job")
        assert repository.has_job(f"{name}_redrive_job")
    watched = [name for name in NAMES if name != "influence_scores"]  # no blocks of its own
    assert {sensor.name for sensor in repository.sensor_defs} == {
        *(f"{name}_sensor" for name in watched),
        "alerts_sensor",
        "lost_runs_sensor",
        "progress_sensor",
        "default_automation_condition_sensor",
    }


def test_scores_hang_on_the_profiles_that_they_are_made_of():
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


def schedule_of(asset):
    return definitions().get_repository_def().get_schedule_def(f"{asset}_schedule")


def scheduled(schedule, time):
    """Return what a schedule requests at a tick."""
    repository = definitions().get_repository_def()
    with dg.build_schedule_context(
        scheduled_execution_time=time, repository_def=repository
    ) as context:
        return schedule.evaluate_tick(context).run_requests


def test_the_schedule_asks_for_the_partition_that_closed():
    (request,) = scheduled(schedule_of("user_profiles"), datetime(1998, 4, 2, 0, 15, tzinfo=UTC))
    assert request.partition_key == DAY
    (request,) = scheduled(schedule_of("github_profiles"), datetime(2024, 1, 2, 0, 15, tzinfo=UTC))
    assert request.partition_key == "2024-01-01-23:00"


def test_a_schedule_of_what_is_current_asks_for_the_partition_that_time_is_in():
    schedule = schedule_of("page_profiles")
    (first,) = scheduled(schedule, datetime(2026, 4, 2, 0, tzinfo=UTC))
    (second,) = scheduled(schedule, datetime(2026, 4, 2, 6, tzinfo=UTC))
    assert first.partition_key == second.partition_key == "2026-04-02"
    assert first.run_key != second.run_key


def test_a_schedule_that_ticks_by_another_clock_asks_for_the_partition_in_utc():
    tokyo = ZoneInfo("Asia/Tokyo")
    asset = msgspec.structs.replace(
        assets()["user_profiles"], schedule=Schedule(time_zone="Asia/Tokyo")
    )
    schedule = asset_schedule(asset)
    assert schedule.execution_timezone == "Asia/Tokyo"
    (request,) = scheduled(schedule, datetime(1998, 4, 3, 0, 15, tzinfo=tokyo))
    assert request.partition_key == DAY


def test_only_a_schedule_that_harms_nobody_is_on_without_being_turned_on():
    schedules = definitions().get_repository_def().schedule_defs
    running = dg.DefaultScheduleStatus.RUNNING
    names = [schedule.name for schedule in schedules if schedule.default_status == running]
    assert names == ["influence_scores_schedule"]


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of the function that evaluates
def test_scores_follow_new_profiles_in_the_newest_partition_alone_where_that_is_turned_on():
    repository = definitions().get_repository_def()
    sensor = repository.get_sensor_def("default_automation_condition_sensor")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    now = datetime(2026, 4, 3, 12, tzinfo=UTC)
    with dg.DagsterInstance.ephemeral() as instance:

        def evaluate(cursor):
            result = dg.evaluate_automation_conditions(
                definitions(), instance, evaluation_time=now, cursor=cursor
            )
            return result.get_requested_partitions(dg.AssetKey("influence_scores")), result.cursor

        def materialise_days(*days):
            for day in days:
                materialisation = dg.AssetMaterialization("user_profiles", partition=day)
                instance.report_runless_asset_event(materialisation)

        nothing, cursor = evaluate(None)
        materialise_days("2026-03-01", "2026-04-02")
        newest, cursor = evaluate(cursor)
        again, cursor = evaluate(cursor)
    assert (nothing, newest, again) == (set(), {"2026-04-03"}, set())


def test_a_range_that_is_too_large_for_a_run_is_split_by_the_backfill_policy():
    graph = definitions().resolve_asset_graph()
    policies = {
        key.to_user_string(): graph.get(key).backfill_policy
        for key in graph.materializable_asset_keys
    }
    sizes = {name: asset.sizes.partitions_per_run for name, asset in assets().items()}
    assert {name: policy.max_partitions_per_run for name, policy in policies.items()} == sizes


def test_no_file_of_the_project_has_a_mistake():
    assert broken_assets() == {}


def test_an_asset_whose_file_has_a_mistake_stands_beside_the_others_and_fails_with_the_reason(
    monkeypatch,
):
    reason = "workers/tasks/odd_profiles.py cannot be loaded: NameError: name 'Txet'"
    monkeypatch.setattr("pipelines.definitions.broken_assets", lambda: {"odd_profiles": reason})
    graph = definitions().resolve_asset_graph()
    names = sorted(key.to_user_string() for key in graph.materializable_asset_keys)
    assert names == sorted([*NAMES, "odd_profiles"])
    assert reason in graph.get(dg.AssetKey("odd_profiles")).description

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [broken_asset("odd_profiles", reason)], instance=instance, raise_on_error=False
        )
    (failure,) = done.get_step_failure_events()
    assert reason in str(failure.step_failure_data.error_display_string)


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


def test_dagster_materialises_a_partition_from_its_own_command_line(pipeline, monkeypatch):
    pipeline.put([event("ann")])
    monkeypatch.setenv("FANFOLD_EXECUTOR", "local")
    # What `make` sets up once for the whole virtual environment.
    monkeypatch.setenv("DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME", "pipelines.definitions")
    done = dagster("asset", "materialize", "--select", "user_profiles", "--partition", DAY)
    assert done.returncode == 0, done.stderr
    assert pipeline.profile("ann")["events"] == 1
    assert pipeline.verify().match
    with dg.DagsterInstance.get() as instance:
        event_ = instance.get_latest_materialization_event(dg.AssetKey("user_profiles"))
    metadata = event_.asset_materialization.metadata
    assert (metadata["items"].value, metadata["profiles"].value) == (1, 1)


def test_a_range_has_the_numbers_of_each_partition_in_its_materialisation(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.put([event("ann")], "1998-04-02")

    summary = materialise(pipeline.asset, [DAY, "1998-04-02"])
    assert summary["profiles"] == 2
    with dg.DagsterInstance.get() as instance:
        records = instance.fetch_materializations(dg.AssetKey("user_profiles"), 2).records
    profiles = {
        record.partition_key: record.asset_materialization.metadata["profiles"].value
        for record in records
    }
    assert profiles == {DAY: 2, "1998-04-02": 1}


def test_a_materialisation_says_what_became_of_documents_of_others(pipeline):
    pipeline.put([event("ann")])
    materialise(pipeline.asset, [DAY])
    pipeline.profiles.insert_one({"_id": "bo", "name": "Bo"})
    pipeline.put([event("bo")], "1998-04-02")
    materialise(pipeline.asset, ["1998-04-02"])
    with dg.DagsterInstance.get() as instance:
        records = instance.fetch_materializations(dg.AssetKey("user_profiles"), 2).records
    newest, first = (record.asset_materialization.metadata for record in records)
    assert "adopted" not in first
    assert newest["adopted"].value == "The run made profiles of 1 document of others."


def test_references_between_ops_are_json(pipeline):
    pipeline.put([event("ann")])
    summary = materialise(pipeline.asset, [DAY])
    keys = [block.key for block in pipeline.store.list(f"_fanfold/runs/{summary['run_id']}/")]
    assert len(keys) > 5
    for key in keys:
        json.loads(pipeline.store.get(key))
