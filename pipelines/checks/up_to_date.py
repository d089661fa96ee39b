"""The check `up_to_date`: the newest partition that has ended is folded, whatever else is."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from pipelines.checks.findings import Finding
from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger

UP_TO_DATE = "up_to_date"
GRACE = timedelta(hours=1)  # after the end of a partition, for its blocks to land and its run


def up_to_date(asset: Asset, ledger: Ledger, now: datetime | None = None) -> Finding:
    """Warn where the newest partition that ended an hour ago is not folded."""
    due = due_partition(asset, now or datetime.now(UTC))
    generation = ledger.claims.generation(asset.name)
    newest = ledger.folded.newest_folded(asset.name, generation)
    if due is None:
        return _finding(True, "no partition has ended yet")
    if ledger.folded.newest_folds(asset.name, generation, due):
        return _finding(True, f"{due} is folded")

    newest_text = f"the newest that is folded is {newest}" if newest else "nor is any other"
    way = f"`fanfold run {asset.name} --partition {due}` does it"
    return _finding(False, f"{due} has ended, and is not folded; {newest_text}. {way}")


def due_partition(asset: Asset, now: datetime) -> str | None:
    """Return the newest partition that has to be folded by now; None where there is none yet."""
    partitions = asset.partitions
    due = partitions.shift(partitions.key(now - GRACE), -1)
    return due if partitions.time(due) >= partitions.time(partitions.start) else None


def _finding(passed: bool, text: str) -> Finding:
    return Finding(UP_TO_DATE, None, passed, text, {}, dg.AssetCheckSeverity.WARN)
