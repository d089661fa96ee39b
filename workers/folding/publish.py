"""Record that claims are folded whole, and what came of them."""

from collections.abc import Sequence

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.folding.fold import FoldedShard
from workers.folding.reconcile import Reconciled
from workers.ledger.claims import Claim
from workers.ledger.counts import MAX_NAMED, counted_attempts, redriven_letters
from workers.ledger.ledger import Ledger
from workers.values import BUCKETS, Counts, FailedProfile, Value


class Published(Value, frozen=True, kw_only=True):
    """What came of a run, over all of its partitions."""

    asset: str
    partitions: list[str]
    partitions_unchanged: int
    blocks: int
    bytes: int
    batches: int
    batches_reused: int
    items: int
    items_used: int
    items_skipped: int
    items_redriven: int
    items_failed: int
    batches_failed: int
    dead_letters: int
    profiles: int
    profiles_failed: int


def record_folded(
    asset: Asset, ledger: Ledger, reconciled: Reconciled, shards: Sequence[FoldedShard]
) -> Published:
    """Record that the claims are folded whole; close old partitions; return the run's counts.

    Refused where another run claimed a partition after this one: that run folds it; and where a
    shard has no answer.
    """
    _check_shards(asset, shards)

    folded, overtaken = _mark_folded(ledger, reconciled, shards)
    _settle_dead_letters(ledger, folded)
    _close_old(asset, ledger, reconciled.claims)
    if overtaken:
        raise Refused(
            f"{asset.name}: another run took over {', '.join(overtaken[:MAX_NAMED])} while this "
            "one folded; the profiles hold that run's result once it succeeds"
        )

    for counts in reconciled.counts:
        if counts.unchanged_since:
            ledger.mark_unchanged(counts.plan)
    return summarise(asset, reconciled.counts, shards)


def _check_shards(asset: Asset, shards: Sequence[FoldedShard]) -> None:
    """Refuse to call a fold whole where shards were dropped, as a run executed again may do."""
    covered = 0
    for low, high in sorted((shard.low, shard.high) for shard in shards):
        if low <= covered:
            covered = max(covered, high)

    if covered < BUCKETS:
        raise Refused(
            f"{asset.name}: not every shard of the profiles was folded, so the partitions do not "
            "count as folded. Start a new run of the same partitions: it folds them whole; do "
            "not execute this one again from its failure"
        )


def _mark_folded(
    ledger: Ledger, reconciled: Reconciled, shards: Sequence[FoldedShard]
) -> tuple[list[Claim], list[str]]:
    """Return the claims that are folded now, and the partitions that later claims took over."""
    counts = {partition.plan: partition for partition in reconciled.counts}
    failed_profiles = _failed_profiles(shards)

    folded: list[Claim] = []
    overtaken = list(reconciled.overtaken)
    for claim in reconciled.claims:
        failed = failed_profiles.get(claim.partition, [])
        if ledger.claims.mark_folded(claim, counts[claim.plan], failed):
            folded.append(claim)
        else:
            overtaken.append(claim.partition)
    return folded, overtaken


def _failed_profiles(shards: Sequence[FoldedShard]) -> dict[str, list[FailedProfile]]:
    """Return by partition the profiles that could not hold what it says."""
    by_partition: dict[str, list[FailedProfile]] = {}
    for shard in shards:
        for profile in shard.failed_profiles:
            for partition in profile.partitions:
                by_partition.setdefault(partition, []).append(profile)
    return by_partition


def _settle_dead_letters(ledger: Ledger, folded: Sequence[Claim]) -> None:
    """Bring dead letters in line with what was folded, where there are any."""
    if not folded:
        return

    partitions = [claim.partition for claim in folded]
    with_letters = set(ledger.dead_letters.partitions(folded[0].key.asset, partitions))
    for claim in folded:
        if claim.partition in with_letters:
            batches = ledger.batches_of(ledger.plan(claim.plan))
            redriven = redriven_letters(ledger, batches)
            ledger.dead_letters.settle(claim.key, counted_attempts(batches), redriven)


def _close_old(asset: Asset, ledger: Ledger, claims: Sequence[Claim]) -> None:
    """Close the partitions that lie too far behind the newest folded one to stay open."""
    for generation in {claim.generation for claim in claims}:
        if newest := ledger.claims.newest_folded(asset.name, generation):
            before = asset.partitions.shift(newest, -asset.open_partitions)
            ledger.claims.close(asset.name, generation, before, claims)


def summarise(asset: Asset, counts: Sequence[Counts], shards: Sequence[FoldedShard]) -> Published:
    """Return the counts of a run's partitions in all."""
    failed = {profile.profile for shard in shards for profile in shard.failed_profiles}
    return Published(
        asset=asset.name,
        partitions=[partition.partition for partition in counts],
        partitions_unchanged=sum(bool(partition.unchanged_since) for partition in counts),
        blocks=sum(partition.blocks for partition in counts),
        bytes=sum(partition.bytes for partition in counts),
        batches=sum(partition.batches for partition in counts),
        batches_reused=sum(partition.reused for partition in counts),
        items=sum(partition.items for partition in counts),
        items_used=sum(partition.used for partition in counts),
        items_skipped=sum(partition.skipped for partition in counts),
        items_redriven=sum(partition.redriven for partition in counts),
        items_failed=sum(partition.failed for partition in counts),
        batches_failed=sum(partition.batches_failed for partition in counts),
        dead_letters=sum(partition.dead for partition in counts),
        profiles=sum(shard.distinct for shard in shards),
        profiles_failed=len(failed),
    )
