"""What starts runs when data lands: blocks that are new, replaced or gone."""

import os
from datetime import UTC, datetime

import dagster as dg
from pymongo.database import Database

from pipelines.errors import in_a_sentence
from pipelines.jobs import job_name
from workers.assets import assets
from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger
from workers.store import BlockStore
from workers.values import Document
from workers.watching.changes import Cursor, Scan, scan
from workers.watching.notifications import Notifications, open_queue, take_messages

QUEUE = "FANFOLD_EVENTS_QUEUE"  # the URL of an SQS queue with S3's event notifications


def changes_sensor(asset: Asset) -> dg.SensorDefinition:
    """Return the sensor that requests one run for each partition that has news."""

    @dg.sensor(
        name=f"{asset.name}_sensor",
        job_name=job_name(asset),
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Materialise the partitions of {asset.name} whose blocks changed, looking back "
            f"{asset.watch.look_back_partitions} partitions from now, or from when it looked last. Where {QUEUE} "
            "is set, S3's notifications say where to look."
        ),
    )
    def sensor(
        context: dg.SensorEvaluationContext,
        blocks: dg.ResourceParam[BlockStore],
        mongo: dg.ResourceParam[Database[Document]],
    ) -> dg.SensorResult:
        with in_a_sentence():
            found = _look(context, asset, blocks, mongo)
        why = "; ".join(found.waits) or "no block is new, replaced or gone"
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(partition_key=partition, run_key=run_key)
                for partition, run_key in found.requests.items()
            ],
            skip_reason=None if found.requests else why,
            cursor=found.cursor.text,
        )

    return sensor


def _look(
    context: dg.SensorEvaluationContext,
    asset: Asset,
    blocks: BlockStore,
    mongo: Database[Document],
) -> Scan:
    """Read the notifications, if there is a queue of them, and look for news of the asset."""
    url, cursor, said = os.environ.get(QUEUE), Cursor.read(context.cursor, asset), []
    if url:
        queue = open_queue(url)
        said = take_messages(queue, Notifications(mongo), assets().values(), blocks.bucket)
    found = scan(
        asset,
        blocks,
        Ledger(mongo),
        cursor,
        datetime.now(UTC),
        is_queued=lambda partition: is_queued(context.instance, asset, partition),
        has_notifications=bool(url),
    )
    for warning in [*said, *found.warnings]:
        context.log.warning(warning)
    return found


def is_queued(instance: dg.DagsterInstance, asset: Asset, partition: str) -> bool:
    """Tell whether a run of the partition is queued; it lists the blocks once it starts."""
    filters = dg.RunsFilter(
        job_name=job_name(asset),
        statuses=[dg.DagsterRunStatus.QUEUED],
        tags={"dagster/partition": partition},
    )
    return bool(instance.get_run_ids(filters, limit=1))
