"""The check `as_usual`: partitions held against those like them, and fields that no type knows."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pipelines.errors import FIRST_FIELDS, UNUSUAL
from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger
from workers.ledger.losses import MAX_NAMED
from workers.ledger.records import Plan
from workers.ledger.unknown import unknown_text
from workers.ledger.usual import MIN_HISTORY, History, Unusual


def as_usual(asset: Asset, ledger: Ledger, plans: Sequence[Plan], run: str) -> dg.AssetCheckResult:
    """Warn of partitions whose numbers are not like those of the partitions like them.

    Also of fields that their items' type does not know, in the run that was the first to meet them.
    """
    history = _history(asset, ledger, plans)
    partitions = sorted(plan.partition for plan in plans)
    compared = [each for each in partitions if history and history.compares(each)]
    unusual = {}
    for partition in compared:
        if history and (told := history.unusual(partition)):
            unusual[partition] = told

    text = f"{len(compared):,} of {len(partitions):,} partitions are as usual"
    if not compared:
        text = (
            f"nothing compared: that takes {MIN_HISTORY} others of about the same time, which were "
            "folded after they had ended, as this one has to be"
        )
    if unusual:
        text = _unusual_text(unusual)

    numbers = {name: [_with_text(each) for each in unusual[name]] for name in unusual}
    fields = ledger.unknown_fields.of(asset.name, run) if plans else []
    firsts = [field for field in fields if field.is_first]
    for field in fields:
        if not field.is_first:
            partition = asset.owner_of(field.block) or partitions[-1]
            told = {"measure": f"field {field.name}", "text": unknown_text([field])}
            numbers.setdefault(partition, []).append(told)
    if fields:
        text += f"; {unknown_text(fields)}"
    return dg.AssetCheckResult(
        asset_key=asset.name,
        check_name="as_usual",
        passed=not numbers,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata={
            "compared": len(compared),
            FIRST_FIELDS: [unknown_text(firsts)] if firsts else [],
            UNUSUAL: numbers,
        },
    )


def _history(asset: Asset, ledger: Ledger, plans: Sequence[Plan]) -> History | None:
    """Return what the partitions of plans are held against; None where there is no plan."""
    if not plans:
        return None
    keys = [plan.partition for plan in plans]
    return ledger.folded.history(asset, plans[0].generation, min(keys), max(keys))


def _unusual_text(unusual: Mapping[str, Sequence[Unusual]]) -> str:
    """Return the worst of the partitions that are not as usual, with their numbers."""
    worst = sorted(unusual, key=lambda name: -max(each.distance for each in unusual[name]))
    named = [f"{name}: {', '.join(map(str, unusual[name]))}" for name in worst[:MAX_NAMED]]
    more = f"; and {len(worst) - MAX_NAMED:,} more" if len(worst) > MAX_NAMED else ""
    return f"{'; '.join(named)}{more}"


def _with_text(unusual: Unusual) -> dict[str, Any]:
    return {**unusual.to_json(), "text": str(unusual)}
