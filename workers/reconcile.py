"""Hold a run's outcomes against its plans; only what is whole and within tolerance is folded.

The ledger is what counts here, not the list of workers that answered: a run executed again from
a failure can drop workers without a word (dagster issues 19490 and 30077).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from workers.errors import Refused
from workers.fold import Folded, Shard
from workers.ledger import Claim, Document, Ledger
from workers.model import BUCKETS, Asset, Outcome, Value

NAMED = 5  # batches that an error names


class Counts(Value, frozen=True, kw_only=True):
    """What became of one partition's items."""

    plan: str
    partition: str
    blocks: int
    bytes: int
    batches: int
    reused: int
    items: int
    used: int
    dead: int
    # Seconds of work over all its batches, whichever run did them.
    work_seconds: float
    # A closed partition whose blocks and code are as they were: nothing to fold.
    is_unchanged: bool


class Reconciled(Value, frozen=True, kw_only=True):
    """The outcome of a run before it is folded."""

    counts: list[Counts]
    claims: list[Claim]
    shards: list[Shard]


def reconcile_plans(ledger: Ledger, asset: Asset, plan_ids: Sequence[str]) -> Reconciled:
    """Check every planned batch, then claim the partitions that are to be folded.

    Refused, with nothing claimed, where a batch has no outcome or a partition has more dead
    letters than its tolerance.
    """
    plans = [ledger.plan(plan_id) for plan_id in plan_ids]
    batches = {plan["_id"]: ledger.batches_of(plan) for plan in plans}
    _check_complete(asset, plans, batches)
    counts, rows = [], 0
    for plan in plans:
        outcomes = [_outcome(batch) for batch in batches[plan["_id"]]]
        counts.append(_count(ledger, plan, outcomes))
        rows += sum(outcome.rows for outcome in outcomes)
    _check_tolerance(asset, counts)
    unchanged = [one.plan for one in counts if one.is_unchanged]
    claims = [ledger.claim(plan) for plan in plans if plan["_id"] not in unchanged]
    shards = min(max(math.ceil(rows / asset.sizes.rows_per_shard), 1), BUCKETS)
    edges = [BUCKETS * shard // shards for shard in range(shards + 1)]
    return Reconciled(
        counts=counts,
        claims=claims,
        shards=[
            Shard(asset=asset.name, claims=claims, unchanged=unchanged, low=low, high=high)
            for low, high in pairwise(edges)
        ],
    )


def _check_complete(
    asset: Asset, plans: Sequence[Document], batches: dict[str, list[Document]]
) -> None:
    missing = []
    for plan in plans:
        known = {batch["_id"]: batch for batch in batches[plan["_id"]]}
        for batch_id in plan["batches"]:
            state = known[batch_id]["state"] if batch_id in known else "unknown"
            if state != "done":
                why = (known.get(batch_id) or {}).get("error") or f"is {state}"
                missing.append(f"{batch_id} of {plan['partition']}: {why}")
    if missing:
        more = f"; and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        planned = sum(len(plan["batches"]) for plan in plans)
        raise Refused(
            f"{asset.name}: {len(missing)} of {planned} planned batches have no outcome, so "
            f"nothing is folded ({'; '.join(missing[:NAMED])}{more}). Start a new run of the same "
            "partitions: it runs only these; do not execute this one again from its failure"
        )


def _outcome(batch: Document) -> Outcome:
    outcome = Outcome.of(batch["outcome"])
    if outcome.items != outcome.used + outcome.dead or outcome.bytes != batch["bytes"]:
        raise Refused(
            f"batch {batch['_id']} does not add up: {outcome.items} items, {outcome.used} used, "
            f"{outcome.dead} dead; {outcome.bytes} of {batch['bytes']} bytes; this is a bug"
        )
    return outcome


def _count(ledger: Ledger, plan: Document, outcomes: Sequence[Outcome]) -> Counts:
    return Counts(
        plan=plan["_id"],
        partition=plan["partition"],
        blocks=plan["blocks"],
        bytes=plan["bytes"],
        batches=len(outcomes),
        reused=plan["reused"],
        items=sum(outcome.items for outcome in outcomes),
        used=sum(outcome.used for outcome in outcomes),
        dead=sum(outcome.dead for outcome in outcomes),
        work_seconds=round(sum(outcome.seconds for outcome in outcomes), 3),
        is_unchanged=ledger.closed(plan["asset"], plan["partition"]) is not None,
    )


def _check_tolerance(asset: Asset, counts: Sequence[Counts]) -> None:
    over = [c for c in counts if not asset.tolerance.allows(c.dead, c.items)]
    if over:
        named = "; ".join(f"{c.dead} of {c.items} items of {c.partition}" for c in over[:NAMED])
        raise Refused(
            f"{asset.name}: more dead letters than tolerated, so nothing is folded ({named}; "
            f"tolerated are {asset.tolerance.count} or {asset.tolerance.rate:.2%}). "
            f"`fanfold dead-letters {asset.name}` says what is wrong with them"
        )


def settle(
    ledger: Ledger, asset: Asset, reconciled: Reconciled, shards: Sequence[Folded]
) -> dict[str, Any]:
    """Record that the claims are folded whole; close old partitions; return the run's counts.

    Refused where another run claimed a partition after this one: that run folds it.
    """
    overtaken = []
    by_plan = {one.plan: one for one in reconciled.counts}
    for claim in reconciled.claims:
        one = by_plan[claim.plan]
        counts = {"items": one.items, "used": one.used, "dead": one.dead}
        if ledger.folded(asset.name, claim, counts):
            ledger.discard_orphans(ledger.plan(claim.plan))
        else:
            overtaken.append(claim.partition)
    if newest := ledger.newest_folded(asset.name):
        ledger.close(asset.name, asset.partitions.shift(newest, -asset.keep_open))
    if overtaken:
        raise Refused(
            f"{asset.name}: another run took over {', '.join(overtaken[:NAMED])} while this one "
            "folded; the profiles hold that run's result once it succeeds"
        )
    for one in reconciled.counts:
        if one.is_unchanged:
            ledger.set_plan(one.plan, state="unchanged")
    of_all = reconciled.counts
    return {
        "asset": asset.name,
        "partitions": [one.partition for one in of_all],
        "partitions_unchanged": sum(one.is_unchanged for one in of_all),
        "blocks": sum(one.blocks for one in of_all),
        "bytes": sum(one.bytes for one in of_all),
        "batches": sum(one.batches for one in of_all),
        "batches_reused": sum(one.reused for one in of_all),
        "items": sum(one.items for one in of_all),
        "items_used": sum(one.used for one in of_all),
        "dead_letters": sum(one.dead for one in of_all),
        "profiles": sum(shard.distinct for shard in shards),
    }
