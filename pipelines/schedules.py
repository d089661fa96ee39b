"""When partitions run by the clock or after others, and when they are late."""

from datetime import UTC, timedelta

import dagster as dg

from pipelines.jobs import job_name
from resources.run_queue import NEWEST, PRIORITY_TAG
from workers.declare.asset import Asset

# A quarter of an hour after each partition ended.
DEFAULT_CRONS = {"day": "15 0 * * *", "hour": "15 * * * *"}
WARNING_SHARE = 0.75  # of the hours after which an asset is late, from which the UI warns


def asset_schedule(asset: Asset) -> dg.ScheduleDefinition:
    """Return the asset's schedule; where it is off by default, its sensor does the same work.

    The run key is the tick's time, so no tick starts the same work twice.
    """
    partition = "that time is in" if asset.schedule.current_partition else "that just closed"
    status = dg.DefaultScheduleStatus

    @dg.schedule(
        name=f"{asset.name}_schedule",
        job_name=job_name(asset),
        cron_schedule=asset.schedule.cron or DEFAULT_CRONS[asset.partitions.every],
        execution_timezone=asset.schedule.time_zone,
        default_status=status.RUNNING if asset.schedule.is_on else status.STOPPED,
        description=f"Materialise the partition of {asset.name} {partition}.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        now = context.scheduled_execution_time.astimezone(UTC)
        partition = asset.partitions.key(now)
        if not asset.schedule.current_partition:
            partition = asset.partitions.shift(partition, -1)
        tags = {PRIORITY_TAG: str(NEWEST)}
        return dg.RunRequest(partition_key=partition, run_key=now.isoformat(), tags=tags)

    return schedule


def add_timing(asset: Asset, definition: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """Return an asset's definition with when it is late, and when it follows its source."""
    policy = freshness(asset)
    condition = follow_source() if asset.source else None
    return definition.map_asset_specs(
        lambda spec: spec.replace_attributes(
            freshness_policy=policy, automation_condition=condition
        )
    )


def freshness(asset: Asset) -> dg.FreshnessPolicy:
    """Return when the asset counts as late: no partition of it was materialised for so long."""
    late = timedelta(hours=asset.schedule.late_hours)
    return dg.FreshnessPolicy.time_window(fail_window=late, warn_window=late * WARNING_SHARE)


def follow_source() -> dg.AutomationCondition:
    """Return the condition under which an asset follows its source: the newest partition alone.

    It acts once the sensor `default_automation_condition_sensor` is turned on.
    """
    condition = dg.AutomationCondition
    is_run_since = condition.newly_requested() | condition.newly_updated()
    is_changed = condition.any_deps_updated().since(is_run_since)
    return condition.in_latest_time_window() & is_changed & ~condition.in_progress()
