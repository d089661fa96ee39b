"""When units run by the clock: the partition that just closed, or the one that time is in."""

from datetime import UTC

import dagster as dg

from pipelines.jobs import job_name
from workers.model import Asset

AFTER = {"day": "15 0 * * *", "hour": "15 * * * *"}  # a quarter of an hour after it ended


def asset_schedule(asset: Asset) -> dg.ScheduleDefinition:
    """Return the asset's schedule; where it is off by default, its sensor does the same work.

    The run key is the tick's time, so no tick starts the same work twice.
    """
    partition = "that time is in" if asset.is_current else "that just closed"
    status = dg.DefaultScheduleStatus

    @dg.schedule(
        name=f"{asset.name}_schedule",
        job_name=job_name(asset),
        cron_schedule=asset.cron or AFTER[asset.partitions.every],
        execution_timezone=asset.time_zone,
        default_status=status.RUNNING if asset.is_scheduled else status.STOPPED,
        description=f"Materialise the partition of {asset.name} {partition}.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        now = context.scheduled_execution_time.astimezone(UTC)
        partition = asset.partitions.key(now)
        if not asset.is_current:
            partition = asset.partitions.shift(partition, -1)
        return dg.RunRequest(partition_key=partition, run_key=now.isoformat())

    return schedule
