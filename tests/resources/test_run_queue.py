"""The queue tells runs of an asset's newest partitions from its others, whoever starts them."""

from datetime import UTC, datetime

import dagster as dg
import pytest

from pipelines.definitions import definitions
from pipelines.runs import dagster_instance
from resources.run_queue import (
    ASSET_TAG,
    PARTITIONS_TAG,
    PRIORITY_TAG,
    STARTED_BY,
    TURN_TAG,
    RunQueue,
    is_new,
    tags_of,
)

NOW = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("partition", "expected"),
    [
        ("2026-03-01", True),
        ("2026-02-28", True),
        ("2026-02-27", False),
        ("2026-03-01-00:00", True),
        ("2026-02-28-23:00", True),
        ("2026-02-28-22:00", False),
        ("", False),
    ],
)
def test_new_is_the_partition_that_time_is_in_and_the_one_that_closed_last(partition, expected):
    assert is_new(partition, NOW) == expected


@pytest.mark.parametrize(
    ("tags", "turn", "priority"),
    [
        ({"dagster/partition": "2026-03-01"}, "users.newest", "2"),
        ({"dagster/partition": "2026-01-01"}, "users", "1"),
        ({"dagster/partition": "2026-01-01", "dagster/backfill": "b"}, "users", "-1"),
        (
            {
                "dagster/asset_partition_range_start": "2026-01-01",
                "dagster/asset_partition_range_end": "2026-01-09",
            },
            "users",
            "-1",
        ),
    ],
)
def test_a_run_has_the_tags_of_its_partitions(tags, turn, priority):
    queued = tags_of(tags, ["users"], NOW)
    assert (queued[TURN_TAG], queued[PRIORITY_TAG]) == (turn, priority)


@pytest.mark.parametrize(
    ("tags", "started_by"),
    [
        ({"dagster/sensor_name": "s"}, "sensor"),
        ({"dagster/schedule_name": "s"}, "schedule"),
        ({"dagster/backfill": "b"}, "backfill"),
        ({"dagster/backfill": "b", "dagster/parent_run_id": "r"}, "executed again in the UI"),
        ({}, "catalogue or launchpad"),
    ],
)
def test_people_read_of_which_asset_a_run_is_and_what_started_it(tags, started_by):
    queued = tags_of(tags | {"dagster/partition": "2026-03-01"}, ["users"], NOW)
    assert (queued[ASSET_TAG], queued[STARTED_BY]) == ("users", started_by)


def test_people_read_the_range_of_a_run():
    ends = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    tags = dict(zip(ends, ("2026-01-01", "2026-01-31"), strict=True))
    assert tags_of(tags, ["users"], NOW)[PARTITIONS_TAG] == "2026-01-01...2026-01-31"


def test_a_priority_that_is_said_stays():
    assert PRIORITY_TAG not in tags_of({PRIORITY_TAG: "7"}, ["users"], NOW)


def test_runs_of_others_are_left_alone():
    assert tags_of({"dagster/partition": "2026-03-01"}, [], NOW) == {}


def test_the_queue_knows_a_run_of_the_catalogue_by_its_steps():
    defs = definitions()
    job = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey("user_profiles")}
    )
    with dagster_instance() as instance:
        queue = instance.run_coordinator
        assert isinstance(queue, RunQueue)
        run = instance.create_run_for_job(job, tags={"dagster/partition": "1998-04-01"})
        assert queue._assets_of(run) == ["user_profiles"]
        instance.delete_run(run.run_id)


def test_the_limits_of_dagsters_settings_hold_for_the_queue():
    with dagster_instance() as instance:
        config = instance.get_concurrency_config().run_queue_config
    (limit,) = config.tag_concurrency_limits
    assert limit["key"] == TURN_TAG
    assert config.max_concurrent_runs == 4
