"""Coarse jobs: for each asset `<asset>_job`, and `<asset>_redrive_job` for its dead letters."""

from typing import Any

import dagster as dg

from pipelines.purposes import ALL_STEPS, REDRIVE_TAG
from resources.run_queue import ASSET_TAG, TURN_TAG
from workers.declare.asset import Asset


def job_name(asset: Asset) -> str:
    """Return the name that schedules, sensors and operators call the asset's job by."""
    return f"{asset.name}_job"


def asset_job(asset: Asset) -> Any:
    """Return the job that materialises partitions of one asset."""
    return dg.define_asset_job(
        job_name(asset),
        selection=[asset.name],
        tags={ASSET_TAG: asset.name, TURN_TAG: asset.name, **ALL_STEPS},
        description=f"Bring partitions of {asset.name} up to date with the blocks in S3.",
    )


def redrive_job_name(asset: Asset) -> str:
    """Return the name of the job that runs the asset's dead letters again."""
    return f"{asset.name}_redrive_job"


def redrive_job(asset: Asset) -> Any:
    """Return the job that runs only dead letters and failed batches of partitions again."""
    return dg.define_asset_job(
        redrive_job_name(asset),
        selection=[asset.name],
        tags={
            ASSET_TAG: asset.name,
            TURN_TAG: asset.name,
            REDRIVE_TAG: "yes",
            **ALL_STEPS,
        },
        description=(
            f"Run the open dead letters and the failed batches of partitions of {asset.name} "
            "again, and fold what works now; blocks that landed since are left to a plain run."
        ),
    )
