"""Dagster's queue of runs, in which the newest partition of an asset overtakes its backfill.

Every run of an asset gets the tags that say so, whoever starts it: a sensor, a schedule, the
catalogue or a backfill. dagster.yaml limits how many of one tag run at once.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

FIRST_STEP = ".list_blocks"  # of a run of ours, behind the name of its asset
# Of runs that make an asset, for people: which one, and of which range of partitions.
ASSET_TAG = "fanfold/asset"
PARTITIONS_TAG = "fanfold/partitions"
# Runs with the same value of this tag wait for each other; the UI hides it.
TURN_TAG = ".dagster/fanfold_turn"
# What started a run, for people: `fanfold run`, a sensor, a schedule, ...
STARTED_BY = "fanfold/started_by"
# Dagster's own.
PRIORITY_TAG = "dagster/priority"
PARTITION_TAG = "dagster/partition"
BACKFILL_TAG = "dagster/backfill"
FIRST_PARTITION_TAG = "dagster/asset_partition_range_start"
LAST_PARTITION_TAG = "dagster/asset_partition_range_end"
# By what Dagster tags a run with, who started it; where nothing says, a person did in the UI.
STARTERS = {
    "dagster/retry_number": "retry after a lost process",
    "dagster/parent_run_id": "executed again in the UI",
    BACKFILL_TAG: "backfill",
    "dagster/schedule_name": "schedule",
    "dagster/from_automation_condition": "automation",
    "dagster/sensor_name": "sensor",
}
A_PERSON = "catalogue or launchpad"
# By Dagster's priorities: 0 where nothing is said, the highest first.
NEWEST, RECENT, OLD = 2, 1, -1
# How keys of partitions are written, by their length.
UNITS = {10: ("%Y-%m-%d", timedelta(days=1)), 16: ("%Y-%m-%d-%H:00", timedelta(hours=1))}


class RunQueue(QueuedRunCoordinator):
    """A queue whose runs carry what tells the newest partitions of an asset from the others."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Tag a run of ours, and queue it."""
        run = context.dagster_run
        if tags := tags_of(run.tags, self._assets_of(run), datetime.now(UTC)):
            self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)

    def _assets_of(self, run: dg.DagsterRun) -> list[str]:
        """Return the names of the assets that a run makes, of those that fan out."""
        steps = steps_of(self._instance, run)
        return sorted(step.removesuffix(FIRST_STEP) for step in steps if step.endswith(FIRST_STEP))


def steps_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Sequence[str]:
    """Return the steps that a run was to execute; of mapped ones the step that they are made of."""
    snapshot_id = run.execution_plan_snapshot_id
    if not snapshot_id:
        return []
    return instance.get_execution_plan_snapshot(snapshot_id).step_keys_to_execute


def tags_of(tags: Mapping[str, str], assets: list[str], now: datetime) -> dict[str, str]:
    """Return what a run's tags lack, or say otherwise than they should; {} for one of others.

    A run of several assets waits for those of the first.
    """
    if not assets:
        return {}

    is_newest = is_new(tags.get(PARTITION_TAG, ""), now)
    wanted = {
        ASSET_TAG: ", ".join(assets),
        TURN_TAG: f"{assets[0]}.newest" if is_newest else assets[0],
        STARTED_BY: started_by(tags),
        **partitions_tag(tags),
    }
    if PRIORITY_TAG not in tags:
        is_old = BACKFILL_TAG in tags or FIRST_PARTITION_TAG in tags
        wanted[PRIORITY_TAG] = str(NEWEST if is_newest else OLD if is_old else RECENT)
    return {name: value for name, value in wanted.items() if tags.get(name) != value}


def partitions_tag(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tag that tells people which range a run is for; the UI itself tells one."""
    if FIRST_PARTITION_TAG not in tags:
        return {}
    return {PARTITIONS_TAG: f"{tags[FIRST_PARTITION_TAG]}...{tags[LAST_PARTITION_TAG]}"}


def started_by(tags: Mapping[str, str]) -> str:
    """Return who started a run that was queued, for people."""
    return next((text for tag, text in STARTERS.items() if tag in tags), A_PERSON)


def is_new(partition: str, now: datetime) -> bool:
    """Tell whether a partition is the one that time is in, or the one that closed last."""
    if len(partition) not in UNITS:
        return False
    pattern, unit = UNITS[len(partition)]
    return partition >= (now - unit).strftime(pattern)
