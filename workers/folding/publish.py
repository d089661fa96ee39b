"""Record that claims are folded whole, and what came of them."""

from collections.abc import Sequence
from typing import Any

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.folding.fold import FailedProfile, Folded
from workers.folding.reconcile import Reconciled
from workers.ledger.claims import Claim
from workers.ledger.counts import MAX_NAMED, counted_attempts, redriven_letters
from workers.ledger.ledger import Ledger
from workers.values import BUCKETS


def record_folded(
    ledger: Ledger, asset: Asset, reconciled: Reconciled, shards: Sequence[Folded]
) -> dict[str, Any]:
    """Record that the claims are folded whole; close old partitions; return the run's counts.

    Refused where another run claimed a partition after this one: that run folds it; and where a
    shard has no answer.
    """
    _check_shards(asset, shards)
    by_plan = {one.plan: one for one in reconciled.counts}
    failed_profiles = _failed_profiles(shards)
    overtaken = reconciled.overtaken + [
        claim.partition
        for claim in reconciled.claims
        if not ledger.claims.folded(
            claim, by_plan[claim.plan], failed_profiles.get(claim.partition, [])
        )
    ]
    _settle_dead_letters(
        ledger, asset, [c for c in reconciled.claims if c.partition not in overtaken]
    )
    for generation in {claim.generation for claim in reconciled.claims}:
        if newest := ledger.claims.newest_folded(asset.name, generation):
            before = asset.partitions.shift(newest, -asset.open_partitions)
            ledger.claims.close(asset.name, generation, before, reconciled.claims)
    if overtaken:
        raise Refused(
            f"{asset.name}: another run took over {', '.join(overtaken[:MAX_NAMED])} while this one "
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
        "profiles_failed": len({one.profile for shard in shards for one in shard.failed_profiles}),
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


def _failed_profiles(shards: Sequence[Folded]) -> dict[str, list[FailedProfile]]:
    """Return by partition the profiles that could not hold what it says."""
    found: dict[str, list[FailedProfile]] = {}
    for shard in shards:
        for one in shard.failed_profiles:
            for partition in one.partitions:
                found.setdefault(partition, []).append(one)
    return found


def _settle_dead_letters(ledger: Ledger, asset: Asset, claims: Sequence[Claim]) -> None:
    """Bring dead letters in line with what was folded, where there are any."""
    partitions = [claim.partition for claim in claims]
    some = set(ledger.dead_letters.partitions(asset.name, partition={"$in": partitions}))
    for claim in claims:
        if claim.partition in some:
            batches = ledger.batches_of(ledger.plan(claim.plan))
            unit = {"asset": asset.name, "partition": claim.partition}
            ledger.dead_letters.settle(
                unit, counted_attempts(batches), redriven_letters(ledger, batches)
            )
