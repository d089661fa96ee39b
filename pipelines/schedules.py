"""When units run by the clock or after others, and when they are late."""

from datetime import UTC, timedelta

import dagster as dg

from pipelines.jobs import job_name
from workers.declare.asset import Asset

AFTER = {"day": "15 0 * * *", "hour": "15 * * * *"}  # a quarter of an hour after it ended


def asset_schedule(asset: Asset) -> dg.ScheduleDefinition:
    """Return the asset's schedule; where it is off by default, its sensor does the same work.

    The run key is the tick's time, so no tick starts the same work twice.
    """
    partition = "that time is in" if asset.schedule.current_partition else "that just closed"
    status = dg.DefaultScheduleStatus

    @dg.schedule(
        name=f"{asset.name}_schedule",
        job_name=job_name(asset),
        cron_schedule=asset.schedule.cron or AFTER[asset.partitions.every],
        execution_timezone=asset.schedule.time_zone,
        default_status=status.RUNNING if asset.schedule.is_on else status.STOPPED,
        description=f"Materialise the partition of {asset.name} {partition}.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        now = context.scheduled_execution_time.astimezone(UTC)
        partition = asset.partitions.key(now)
        if not asset.schedule.current_partition:
            partition = asset.partitions.shift(partition, -1)
        return dg.RunRequest(partition_key=partition, run_key=now.isoformat())

    return schedule


def timed(definition: dg.AssetsDefinition, asset: Asset) -> dg.AssetsDefinition:
    """Return the asset with when it counts as late, and the condition under which it follows."""
    return definition.map_asset_specs(
        lambda spec: spec.replace_attributes(
            freshness_policy=freshness(asset),
            automation_condition=follows() if asset.source else None,
        )
    )


def freshness(asset: Asset) -> dg.FreshnessPolicy:
    """Return when the asset counts as late: no partition of it was materialised for so long."""
    hours = timedelta(hours=1)
    return dg.FreshnessPolicy.time_window(
        fail_window=asset.schedule.late_hours * hours,
        warn_window=asset.schedule.late_hours * hours * 0.75,
    )


def follows() -> dg.AutomationCondition:
    """Return the condition under which an asset follows its source: the newest partition alone.

    It acts once the sensor `default_automation_condition_sensor` is turned on.
    """
    condition = dg.AutomationCondition
    news = condition.any_deps_updated().since(
        condition.newly_requested() | condition.newly_updated()
    )
    return condition.in_latest_time_window() & news & ~condition.in_progress()
