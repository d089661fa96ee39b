"""The code location that workspace.yaml names: everything the UI and the daemon see."""

import dagster as dg

from pipelines.alerts.sensor import alerts_sensor
from pipelines.checks.evaluation import fold_checks
from pipelines.executors import executor
from pipelines.fanout import fanout_asset, partitions_definition
from pipelines.jobs import asset_job, redrive_job
from pipelines.launchers.choice import check_launchers
from pipelines.lost_runs import lost_runs_sensor
from pipelines.pages.catalogue import block_assets
from pipelines.pages.counters import progress_sensor
from pipelines.processes import executor_name
from pipelines.schedules import add_timing, asset_schedule
from pipelines.sensors import changes_sensor
from resources.blocks import BlocksResource
from resources.io_manager import JsonIOManager
from resources.mongo import MongoResource
from resources.s3 import S3
from workers.assets import assets, broken_assets


@dg.definitions
def definitions() -> dg.Definitions:
    """Build every asset with its job, schedule and sensor, and the doors they share.

    An asset whose file has a mistake stands among them, says what it is, and fails with it.
    """
    chosen = executor(executor_name())  # first, for it says what is missing
    check_launchers(assets().values())
    store = BlocksResource(s3=S3)
    watched = [asset for asset in assets().values() if not asset.source]
    for reason in broken_assets().values():
        dg.get_dagster_logger().error(f"left out: {reason}")

    return dg.Definitions(
        assets=[
            *(add_timing(asset, fanout_asset(asset)) for asset in assets().values()),
            *block_assets(assets().values()),
            *(broken_asset(name, reason) for name, reason in broken_assets().items()),
        ],
        asset_checks=[
            fold_checks(asset, partitions_definition(asset.partitions))
            for asset in assets().values()
        ],
        jobs=[job(asset) for asset in assets().values() for job in (asset_job, redrive_job)],
        schedules=[asset_schedule(asset) for asset in assets().values()],
        sensors=[
            *(changes_sensor(asset) for asset in watched),
            lost_runs_sensor,
            progress_sensor,
            alerts_sensor,
        ],
        resources={
            "s3": S3,
            "store": store,
            "mongo": MongoResource(),
            "io_manager": JsonIOManager(store=store),
        },
        executor=chosen,
    )


def broken_asset(name: str, reason: str) -> dg.AssetsDefinition:
    """Return what stands for an asset whose file has a mistake, until it is mended."""

    @dg.asset(
        name=name,
        description=f"**Its file has a mistake, so it cannot run.** {reason}",
        group_name="broken",
    )
    def cannot_run() -> None:
        raise dg.Failure(reason, allow_retries=False)

    return cannot_run
