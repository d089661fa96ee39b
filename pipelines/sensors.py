"""What starts runs when data lands: blocks that are new, replaced or gone."""

import os
from datetime import UTC, datetime

import dagster as dg

from pipelines.doors import Mongo, Store
from pipelines.errors import in_a_sentence
from pipelines.jobs import job_name
from resources.run_queue import NEWEST, OLD, PARTITION_TAG, PRIORITY_TAG, RECENT, is_new
from workers.assets import assets
from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger
from workers.store import BlockStore
from workers.watching.changes import Scan, scan
from workers.watching.cursor import Cursor
from workers.watching.notifications import Notifications, take_messages
from workers.watching.sqs import open_queue

QUEUE_SETTING = "FANFOLD_EVENTS_QUEUE"  # the URL of an SQS queue with S3's event notifications


def changes_sensor(asset: Asset) -> dg.SensorDefinition:
    """Return the sensor that requests one run for each partition whose blocks changed."""

    @dg.sensor(
        name=f"{asset.name}_sensor",
        job_name=job_name(asset),
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Materialise the partitions of {asset.name} whose blocks changed, looking back "
            f"{asset.watch.look_back_partitions} partitions from now, or from the last scan. "
            f"Where {QUEUE_SETTING} is set, S3's notifications name what to scan."
        ),
    )
    def sensor(
        context: dg.SensorEvaluationContext,
        mongo: Mongo,
        store: Store,
    ) -> dg.SensorResult:
        with in_a_sentence():
            result = _scan(asset, Ledger(mongo), store, context)

        requests = [
            dg.RunRequest(
                partition_key=partition,
                run_key=run_key,
                tags={PRIORITY_TAG: str(priority_of(asset, partition))},
            )
            for partition, run_key in result.requests.items()
        ]
        reason = "; ".join(result.waits) or "no block is new, replaced or gone"
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else reason,
            cursor=result.cursor.text,
        )

    return sensor


def _scan(
    asset: Asset, ledger: Ledger, store: BlockStore, context: dg.SensorEvaluationContext
) -> Scan:
    """Read the notifications, if there is a queue of them, and scan the asset's partitions."""
    url = os.environ.get(QUEUE_SETTING)
    warnings = []
    if url:
        notifications = Notifications(ledger.database)
        queue = open_queue(url)
        warnings += take_messages(queue, notifications, assets().values(), store.bucket)

    result = scan(
        asset,
        ledger,
        store,
        Cursor.read(context.cursor, asset),
        datetime.now(UTC),
        is_queued=lambda partition: is_queued(context.instance, asset, partition),
        has_notifications=bool(url),
    )

    for warning in [*warnings, *result.warnings]:
        context.log.warning(warning)
    return result


def priority_of(asset: Asset, partition: str) -> int:
    """Return the priority of a run: the newest partitions, then the window, then what is older."""
    now = datetime.now(UTC)
    if is_new(partition, now):
        return NEWEST
    newest = asset.partitions.key(now)
    is_recent = partition >= asset.partitions.shift(newest, -asset.watch.look_back_partitions)
    return RECENT if is_recent else OLD


def is_queued(instance: dg.DagsterInstance, asset: Asset, partition: str) -> bool:
    """Tell whether a run of the partition is queued; it lists the blocks once it starts."""
    filters = dg.RunsFilter(
        job_name=job_name(asset),
        statuses=[dg.DagsterRunStatus.QUEUED],
        tags={PARTITION_TAG: partition},
    )
    return bool(instance.get_run_ids(filters, limit=1))
