"""When units run by the clock: each asset's partition that just closed."""

from datetime import UTC

import dagster as dg

from pipelines.jobs import job_name
from workers.model import Asset


def closed_partition_schedule(asset: Asset) -> dg.ScheduleDefinition:
    """Return the schedule that materialises the last whole partition, shortly after it ended.

    Off by default, since the sensor brings the same partitions up to date as their blocks land;
    turn it on where blocks arrive in one piece and a fixed hour is wanted.
    """

    @dg.schedule(
        name=f"{asset.name}_schedule",
        job_name=job_name(asset),
        cron_schedule="15 0 * * *" if asset.partitions.every == "day" else "15 * * * *",
        execution_timezone="UTC",
        description=f"Materialise the partition of {asset.name} that just closed.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        now = context.scheduled_execution_time.astimezone(UTC)
        partition = asset.partitions.shift(asset.partitions.key(now), -1)
        return dg.RunRequest(partition_key=partition, run_key=partition)

    return schedule
