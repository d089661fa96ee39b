"""Hold a run's outcomes against its plans; only what is whole and within tolerance is folded.

The ledger is what counts here, not the list of workers that answered: a run executed again from
a failure can drop workers without a word (dagster issues 19490 and 30077).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from workers.counts import NAMED, Counts, count, explain, is_beyond, mended, sightings
from workers.epochs import Claim
from workers.errors import Refused
from workers.fold import Folded, Shard, Unfit
from workers.ledger import Ledger
from workers.model import BUCKETS, Asset, Document, Value


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
    counts = [count(ledger, plan, batches[plan["_id"]]) for plan in plans]
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
        if claim := ledger.epochs.claim(plan, results):
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
    over = [one for one in counts if not one.unchanged_since and is_beyond(asset, one)]
    if over:
        stopped = sum(one.batches_pending for one in counts)
        early = f" ({stopped} batches were not started any more)" if stopped else ""
        raise Refused(
            f"{asset.name}: more items could not be used than are tolerated "
            f"({asset.tolerance}), so nothing is "
            f"folded{early}: {explain(ledger, asset, over)}"
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
        more = f"; and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        planned = sum(len(plan["batches"]) for plan in plans)
        raise Refused(
            f"{asset.name}: {len(missing)} of {planned} planned batches have no outcome, so "
            f"nothing is folded ({'; '.join(missing[:NAMED])}{more}). Start a new run of the same "
            "partitions: it runs only these; do not execute this one again from its failure"
        )


def settle(
    ledger: Ledger, asset: Asset, reconciled: Reconciled, shards: Sequence[Folded]
) -> dict[str, Any]:
    """Record that the claims are folded whole; close old partitions; return the run's counts.

    Refused where another run claimed a partition after this one: that run folds it; and where a
    shard has no answer.
    """
    _check_shards(asset, shards)
    by_plan = {one.plan: one for one in reconciled.counts}
    unfit = _unfit(shards)
    overtaken = reconciled.overtaken + [
        claim.partition
        for claim in reconciled.claims
        if not ledger.epochs.folded(claim, by_plan[claim.plan], unfit.get(claim.partition, []))
    ]
    _settle_letters(ledger, asset, [c for c in reconciled.claims if c.partition not in overtaken])
    for generation in {claim.generation for claim in reconciled.claims}:
        if newest := ledger.epochs.newest_folded(asset.name, generation):
            before = asset.partitions.shift(newest, -asset.keep_open)
            ledger.epochs.close(asset.name, generation, before, reconciled.claims)
    if overtaken:
        raise Refused(
            f"{asset.name}: another run took over {', '.join(overtaken[:NAMED])} while this one "
            "folded; the profiles hold that run's result once it succeeds"
        )
    for one in reconciled.counts:
        if one.unchanged_since:
            ledger.set_plan(one.plan, state="unchanged")
    of_all = reconciled.counts
    return {
        "asset": asset.name,
        "partitions": [one.partition for one in of_all],
        "partitions_unchanged": sum(bool(one.unchanged_since) for one in of_all),
        "blocks": sum(one.blocks for one in of_all),
        "bytes": sum(one.bytes for one in of_all),
        "batches": sum(one.batches for one in of_all),
        "batches_reused": sum(one.reused for one in of_all),
        "items": sum(one.items for one in of_all),
        "items_used": sum(one.used for one in of_all),
        "items_skipped": sum(one.skipped for one in of_all),
        "items_redriven": sum(one.redriven for one in of_all),
        "items_failed": sum(one.failed for one in of_all),
        "batches_failed": sum(one.batches_failed for one in of_all),
        "dead_letters": sum(one.dead for one in of_all),
        "profiles": sum(shard.distinct for shard in shards),
        "profiles_failed": len({one.profile for shard in shards for one in shard.unfit}),
    }


def _check_shards(asset: Asset, shards: Sequence[Folded]) -> None:
    """Refuse to call a fold whole where shards were dropped, as a run executed again may do."""
    at = 0
    for low, high in sorted((shard.low, shard.high) for shard in shards):
        if low <= at:
            at = max(at, high)
    if at < BUCKETS:
        raise Refused(
            f"{asset.name}: not every shard of the profiles was folded, so the partitions do not "
            "count as folded. Start a new run of the same partitions: it folds them whole; do "
            "not execute this one again from its failure"
        )


def _unfit(shards: Sequence[Folded]) -> dict[str, list[Unfit]]:
    """Return by partition the profiles that could not hold what it says."""
    found: dict[str, list[Unfit]] = {}
    for shard in shards:
        for one in shard.unfit:
            for partition in one.partitions:
                found.setdefault(partition, []).append(one)
    return found


def _settle_letters(ledger: Ledger, asset: Asset, claims: Sequence[Claim]) -> None:
    """Bring dead letters in line with what was folded, where there are any."""
    partitions = [claim.partition for claim in claims]
    some = set(ledger.letters.partitions(asset.name, partition={"$in": partitions}))
    for claim in claims:
        if claim.partition in some:
            batches = ledger.batches_of(ledger.plan(claim.plan))
            unit = {"asset": asset.name, "partition": claim.partition}
            ledger.letters.settle(unit, sightings(batches), mended(ledger, batches))
