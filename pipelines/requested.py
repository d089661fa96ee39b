"""What runs were asked for: which of our assets, and which partitions; and which are at work."""

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from pipelines.lost_runs import is_lost
from resources.run_queue import (
    FIRST_PARTITION_TAG,
    LAST_PARTITION_TAG,
    PARTITION_TAG,
    steps_of,
)
from workers.assets import assets
from workers.declare.asset import Asset


def assets_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[Asset]:
    """Return those of our assets that a run was to materialise; none where it only checks them.

    From its steps: not every way to start a run leaves a selection of assets with it.
    """
    names = {step.partition(".")[0] for step in steps_of(instance, run)}
    return [asset for name, asset in assets().items() if name in names]


def requested_partitions(asset: Asset, run: dg.DagsterRun) -> list[str]:
    """Return the partitions that a run was asked for; none where its tags do not say."""
    first = run.tags.get(FIRST_PARTITION_TAG)
    if first:
        return asset.partitions.between(first, run.tags[LAST_PARTITION_TAG])

    partition = run.tags.get(PARTITION_TAG)
    return [partition] if partition else []


def partitions_at_work(instance: dg.DagsterInstance, asset: Asset) -> set[str]:
    """Return the partitions of an asset that runs are at, or are queued for."""
    partitions: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES)):
        names = {each.name for each in assets_of(instance, run)}
        if asset.name in names and not is_lost(instance, run):
            partitions.update(requested_partitions(asset, run))
    return partitions
