"""Hold a run's outcomes against its plans; what is whole and within tolerance is folded.

Each partition is so by itself (review): one that is not costs the others nothing.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from workers.declare.asset import Asset
from workers.folding.fold import Shard
from workers.folding.review import Refusal, Review
from workers.ledger.claims import Claim
from workers.ledger.ledger import Ledger
from workers.values import BUCKETS, Counts, Value


class Reconciled(Value, frozen=True, kw_only=True):
    """The outcome of a run before it is folded."""

    # Of the partitions that are whole and within tolerance.
    counts: list[Counts]
    # Those that are folded: all but what a run with a newer view of its blocks has claimed.
    claims: list[Claim]
    # The other partitions.
    refused: list[Refusal] = msgspec.field(default_factory=list)
    shards: list[Shard]


def reconcile_plans(asset: Asset, ledger: Ledger, plan_ids: Sequence[str]) -> Reconciled:
    """Check every planned batch, then claim the partitions that are to be folded.

    A partition is left out where too much of it is gone, a batch has no outcome or it lacks more
    than it tolerates, on record; Refused, with nothing claimed, where that leaves none. A rebuild
    folds all or nothing.
    """
    review = Review(asset, ledger, ledger.plans_by_id(plan_ids))
    review.check_removals()
    review.check_outcomes()
    review.check_copies()

    results: dict[str, dict[str, str]] = {}
    for plan in review.whole:
        done = [batch for batch in review.batches[plan.id] if batch.is_done]
        results[plan.id] = {batch.id: batch.finished_outcome.result for batch in done}

    claimed = ledger.claims.claim(review.whole, results)
    # A newer plan that was folded in between may have passed on what these batches count; one that
    # comes later is folded in their place. A claim that is not folded waits for the next one.
    review.check_copies()

    rows = 0
    for plan in review.whole:
        done = [batch for batch in review.batches[plan.id] if batch.is_done]
        rows += sum(batch.finished_outcome.rows for batch in done)

    claims = [claimed[plan.id] for plan in review.whole if plan.id in claimed]
    return Reconciled(
        counts=review.counts,
        claims=claims,
        refused=review.refusals,
        shards=_shards(asset, claims, rows),
    )


def _shards(asset: Asset, claims: list[Claim], rows: int) -> list[Shard]:
    """Return as many shards as keep each within its rows; they cover all buckets."""
    count = min(max(math.ceil(rows / asset.sizes.rows_per_shard), 1), BUCKETS)
    edges = [BUCKETS * number // count for number in range(count + 1)]
    return [
        Shard(asset=asset.name, claims=claims, low=low, high=high) for low, high in pairwise(edges)
    ]
