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
from workers.ledger.counts import MAX_NAMED, Counts, count_plan, exceeds_tolerance, explain_unused
from workers.ledger.ledger import Ledger
from workers.values import BUCKETS, Document, Value


class Reconciled(Value, frozen=True, kw_only=True):
    """The outcome of a run before it is folded."""

    counts: list[Counts]
    claims: list[Claim]
    # Partitions that a run with a newer view of their blocks has claimed; the others are folded.
    overtaken: list[str]
    shards: list[Shard]


def reconcile_plans(ledger: Ledger, asset: Asset, plan_ids: Sequence[str]) -> Reconciled:
    """Check every planned batch, then claim the partitions that are to be folded.

    Refused, with nothing claimed, where a batch has no outcome or a partition has more bad items
    than it tolerates.
    """
    plans = [ledger.plan(plan_id) for plan_id in plan_ids]
    batches = {plan["_id"]: ledger.batches_of(plan) for plan in plans}
    counts = [count_plan(ledger, plan, batches[plan["_id"]]) for plan in plans]
    try:
        _check_tolerance(ledger, asset, counts)
        _check_complete(asset, counts, plans, batches)
    except Refused as error:
        ledger.refuse(plan_ids, str(error))
        raise
    claims, unchanged, overtaken, rows = [], [], [], 0
    for plan, one in zip(plans, counts, strict=True):
        if one.unchanged_since:
            unchanged.append(one.unchanged_since)
            continue
        done = [one for one in batches[plan["_id"]] if one["state"] == "done"]
        results = {one["_id"]: one["outcome"]["result"] for one in done}
        if claim := ledger.claims.claim(plan, results):
            claims.append(claim)
        else:
            overtaken.append(plan["partition"])
        rows += sum(one["outcome"]["rows"] for one in done)
    shards = min(max(math.ceil(rows / asset.sizes.rows_per_shard), 1), BUCKETS)
    edges = [BUCKETS * shard // shards for shard in range(shards + 1)]
    return Reconciled(
        counts=counts,
        claims=claims,
        overtaken=overtaken,
        shards=[
            Shard(asset=asset.name, claims=claims, unchanged=unchanged, low=low, high=high)
            for low, high in pairwise(edges)
        ],
    )


def _check_tolerance(ledger: Ledger, asset: Asset, counts: Sequence[Counts]) -> None:
    over = [one for one in counts if not one.unchanged_since and exceeds_tolerance(asset, one)]
    if over:
        stopped = sum(one.batches_pending for one in counts)
        early = f" ({stopped} batches were not started any more)" if stopped else ""
        raise Refused(
            f"{asset.name}: more items could not be used than are tolerated "
            f"({asset.tolerance.text}), so nothing is "
            f"folded{early}: {explain_unused(ledger, asset, over)}"
        )


def _check_complete(
    asset: Asset,
    counts: Sequence[Counts],
    plans: Sequence[Document],
    batches: Mapping[str, Sequence[Document]],
) -> None:
    missing = []
    for one, plan in zip(counts, plans, strict=True):
        if one.unchanged_since:
            continue
        known = {batch["_id"]: batch for batch in batches[plan["_id"]]}
        for batch_id in plan["batches"]:
            batch = known.get(batch_id, {"state": "unknown"})
            if batch["state"] not in ("done", "failed"):
                why = batch.get("error") or f"is {batch['state']}"
                missing.append(f"{batch_id} of {plan['partition']}: {why}")
    if missing:
        more = f"; and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        planned = sum(len(plan["batches"]) for plan in plans)
        raise Refused(
            f"{asset.name}: {len(missing)} of {planned} planned batches have no outcome, so "
            f"nothing is folded ({'; '.join(missing[:MAX_NAMED])}{more}). Start a new run of the same "
            "partitions: it runs only these; do not execute this one again from its failure"
        )
