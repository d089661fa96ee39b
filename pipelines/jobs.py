"""Coarse jobs: one for each asset, named `<asset>_job`."""

from typing import Any

import dagster as dg

from workers.model import Asset


def job_name(asset: Asset) -> str:
    """Return the name that schedules, sensors and operators call the asset's job by."""
    return f"{asset.name}_job"


def asset_job(asset: Asset) -> Any:
    """Return the job that materialises partitions of one asset."""
    return dg.define_asset_job(
        job_name(asset),
        selection=[asset.name],
        description=f"Bring partitions of {asset.name} up to date with the blocks in S3.",
    )
