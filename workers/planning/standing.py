"""How assets stand, by the ledger: their last partitions, how fresh they are, what they lack."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger
from workers.ledger.records import Plan, PlanState
from workers.planning.not_folded import partitions_not_folded
from workers.values import Value

SHOWN_PARTITIONS = 14


class Mark(StrEnum):
    """How a partition stands."""

    DONE = "done"
    # Folded within tolerance.
    DEAD_LETTERS = "dead letters"
    # Not folded as its newest run planned, or profiles lack it.
    FAILED = "failed"
    RUNNING = "running"
    # No run has planned it.
    MISSING = "missing"


class Standing(Value, frozen=True, kw_only=True):
    """How an asset stands."""

    asset: str
    # The last ones, oldest first.
    partitions: dict[str, Mark]
    # The newest that was ever folded; "" where none was.
    newest: str
    # When any was folded last, and whether that is longer ago than the asset's `late_hours`.
    folded: datetime | None
    is_late: bool
    late_hours: float
    dead_letters: int
    # Partitions that their newest run did not fold, and that no run is at.
    not_folded: list[str]


def standing(asset: Asset, ledger: Ledger, now: datetime, at_work: Collection[str]) -> Standing:
    """Return how an asset stands, given the runs that are at work."""
    generation = ledger.claims.generation(asset.name)
    keys = _last_partitions(asset, ledger, now)
    plans = ledger.newest_plans(asset.name, keys)
    letters = ledger.dead_letters.count_open(asset.name)

    not_folded = partitions_not_folded(asset, ledger)
    newest_plans = ledger.newest_plans(asset.name, not_folded)
    waiting = [key for key in not_folded if newest_plans[key].run not in at_work]

    folded = ledger.folded.last_folded(asset.name, generation)
    late = timedelta(hours=asset.schedule.late_hours)
    return Standing(
        asset=asset.name,
        partitions={
            key: _mark(plans.get(key), key in letters, key in not_folded, at_work) for key in keys
        },
        newest=ledger.folded.newest_folded(asset.name, generation) or "",
        folded=folded,
        is_late=folded is not None and now - folded.replace(tzinfo=UTC) > late,
        late_hours=asset.schedule.late_hours,
        dead_letters=sum(letters.values()),
        not_folded=waiting,
    )


def _last_partitions(asset: Asset, ledger: Ledger, now: datetime) -> list[str]:
    """Return the last partitions: those before now, or, of data of the past, before its end."""
    partitions = asset.partitions
    closed = partitions.shift(partitions.key(now), -1)
    newest = ledger.newest_planned(asset.name) or closed
    is_of_now = (
        partitions.time(newest) > partitions.time(closed) - SHOWN_PARTITIONS * partitions.step
    )
    last = max(closed, newest) if is_of_now else newest

    first = max(partitions.shift(last, 1 - SHOWN_PARTITIONS), partitions.start, key=partitions.time)
    return partitions.between(first, last)


def _mark(plan: Plan | None, has_letters: bool, is_open: bool, at_work: Collection[str]) -> Mark:
    if plan is None:
        return Mark.MISSING
    if plan.state in (PlanState.PLANNED, PlanState.FOLDING) and plan.run in at_work:
        return Mark.RUNNING
    if is_open or plan.failed_profiles:
        return Mark.FAILED
    return Mark.DEAD_LETTERS if has_letters else Mark.DONE
