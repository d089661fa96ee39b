"""Hold a run's outcomes against its plans; only what is whole and within tolerance is folded.

The ledger is what counts here, not the list of workers that answered: a run executed again from
a failure can drop workers without a word (dagster issues 19490 and 30077).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.folding.fold import Shard
from workers.ledger.claims import Claim
from workers.ledger.counts import count_plans, exceeds_tolerance
from workers.ledger.ledger import Ledger
from workers.ledger.losses import MAX_NAMED, explain_unused, why_not_folded
from workers.ledger.records import Batch, Plan
from workers.values import BUCKETS, Counts, Value


class Reconciled(Value, frozen=True, kw_only=True):
    """The outcome of a run before it is folded."""

    counts: list[Counts]
    claims: list[Claim]
    # Partitions that a run with a newer view of their blocks has claimed; the others are folded.
    overtaken: list[str]
    shards: list[Shard]


def reconcile_plans(asset: Asset, ledger: Ledger, plan_ids: Sequence[str]) -> Reconciled:
    """Check every planned batch, then claim the partitions that are to be folded.

    Refused, with nothing claimed, where a batch has no outcome or a partition lacks more than it
    tolerates.
    """
    plans = ledger.plans_by_id(plan_ids)
    batches = ledger.batches_by_plan(plans)
    counts = count_plans(ledger, plans, batches)

    try:
        _check_tolerance(asset, ledger, counts)
        _check_complete(asset, plans, batches)
        _check_copies(asset, ledger, batches)
    except Refused as error:
        ledger.refuse(plan_ids, str(error))
        raise

    results: dict[str, dict[str, str]] = {}
    rows = 0
    for plan in plans:
        outcomes = {b.id: b.finished_outcome for b in batches[plan.id] if b.is_done}
        results[plan.id] = {batch_id: outcome.result for batch_id, outcome in outcomes.items()}
        rows += sum(outcome.rows for outcome in outcomes.values())

    claimed = ledger.claims.claim(plans, results)
    # A newer plan that was folded in between may have passed on what these batches count; one that
    # comes later is folded in their place.
    _check_copies(asset, ledger, batches)
    claims = [claimed[plan.id] for plan in plans if plan.id in claimed]
    return Reconciled(
        counts=counts,
        claims=claims,
        overtaken=[plan.partition for plan in plans if plan.id not in claimed],
        shards=_shards(asset, claims, rows),
    )


def _shards(asset: Asset, claims: list[Claim], rows: int) -> list[Shard]:
    """Return as many shards as keep each within its rows; they cover all buckets."""
    count = min(max(math.ceil(rows / asset.sizes.rows_per_shard), 1), BUCKETS)
    edges = [BUCKETS * number // count for number in range(count + 1)]
    return [
        Shard(asset=asset.name, claims=claims, low=low, high=high) for low, high in pairwise(edges)
    ]


def _check_tolerance(asset: Asset, ledger: Ledger, counts: Sequence[Counts]) -> None:
    """Refuse to fold a run in which a partition lacks more than is tolerated."""
    beyond = [partition for partition in counts if exceeds_tolerance(asset, partition)]
    if not beyond:
        return

    stopped = sum(partition.batches_pending for partition in counts)
    early = f" ({stopped} batches were not started any more)" if stopped else ""
    raise Refused(
        f"{asset.name}: {why_not_folded(asset, beyond)}, so nothing is folded{early}: "
        f"{explain_unused(asset, ledger, beyond)}"
    )


def _check_complete(
    asset: Asset,
    plans: Sequence[Plan],
    batches: Mapping[str, Sequence[Batch]],
) -> None:
    """Refuse to fold a run in which a planned batch has no outcome."""
    missing: list[str] = []
    for plan in plans:
        missing += _without_outcome(plan, batches[plan.id])
    if not missing:
        return

    more = f"; and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
    planned = sum(len(plan.batches) for plan in plans)
    raise Refused(
        f"{asset.name}: {len(missing)} of {planned} planned batches have no outcome, so "
        f"nothing is folded ({'; '.join(missing[:MAX_NAMED])}{more}). Start a new run of the "
        "same partitions: it runs only these; do not execute this one again from its failure"
    )


def _check_copies(asset: Asset, ledger: Ledger, batches: Mapping[str, Sequence[Batch]]) -> None:
    """Refuse to fold batches that would count what copies elsewhere count by now, or nobody."""
    if not asset.unique:
        return
    partition_of = {batch.id: batch.partition for each in batches.values() for batch in each}
    outdated = ledger.stays.outdated(partition_of)
    if outdated:
        names = sorted({partition_of[batch_id] for batch_id in outdated})
        raise Refused(
            f"{asset.name}: blocks with copies of items came or went while this run was on its "
            f"way, so {len(outdated)} batches of {', '.join(names[:MAX_NAMED])} have to count "
            "anew, and nothing is folded. Start a new run of the same partitions"
        )


def _without_outcome(plan: Plan, batches: Sequence[Batch]) -> list[str]:
    """Return the planned batches that neither finished nor failed, each with the reason."""
    known = {batch.id: batch for batch in batches}
    missing = []
    for batch_id in plan.batches:
        batch = known.get(batch_id)
        if batch and (batch.is_done or batch.is_failed):
            continue
        why = batch.error or f"is {batch.state}" if batch else "is unknown"
        missing.append(f"{batch_id} of {plan.partition}: {why}")
    return missing
