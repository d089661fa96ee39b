"""What starts runs when data lands: blocks that are new, replaced or gone."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
from pymongo.database import Database

from pipelines.jobs import job_name
from workers.blocks import BlockStore
from workers.errors import FanfoldError, mongodb_errors
from workers.ledger import Ledger
from workers.model import Asset, Document, digest, news


def news_sensor(asset: Asset) -> dg.SensorDefinition:
    """Return the sensor that requests one run for each recent partition that has news."""

    @dg.sensor(
        name=f"{asset.name}_sensor",
        job_name=job_name(asset),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Materialise the partitions of {asset.name} whose blocks changed, looking back "
            f"{asset.look_back} partitions from now."
        ),
    )
    def sensor(
        context: dg.SensorEvaluationContext,
        blocks: dg.ResourceParam[BlockStore],
        mongo: dg.ResourceParam[Database[Document]],
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            with mongodb_errors():
                requests = list(requested(asset, blocks, Ledger(mongo), datetime.now(UTC)))
        except FanfoldError as error:
            raise dg.Failure(str(error)) from error
        if not requests:
            return dg.SkipReason("no block is new, replaced or gone")
        return dg.SensorResult(run_requests=requests)

    return sensor


def requested(
    asset: Asset, blocks: BlockStore, ledger: Ledger, now: datetime
) -> Iterator[dg.RunRequest]:
    """Yield a run for each partition of the look-back window that differs from its newest plan.

    The run key says from what to what it changed: the same news never starts two runs, and blocks
    that change there and back start one each time.
    """
    newest, generation = asset.partitions.key(now), ledger.epochs.generation(asset.name)
    for steps in range(asset.look_back, -1, -1):
        partition = asset.partitions.shift(newest, -steps)
        found = list(blocks.of_partition(asset, partition))
        plan = ledger.last_plan(asset.name, partition, generation=generation)
        if plan is None and not found:
            continue
        if plan is None or plan["news"] != news(found):
            key = digest([partition, plan and plan["_id"], news(found)])[:16]
            yield dg.RunRequest(partition_key=partition, run_key=f"{partition}-{key}")
