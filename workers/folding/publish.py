"""Record that claims are folded whole, and what came of them."""

from collections.abc import Collection, Sequence

import msgspec

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.folding.fold import FoldedShard
from workers.folding.reconcile import Reconciled
from workers.folding.review import Refusal
from workers.ledger.claims import Claim, Fold
from workers.ledger.counts import counted_attempts, merge_warnings, redriven_letters
from workers.ledger.ledger import Ledger
from workers.ledger.losses import MAX_NAMED
from workers.values import BUCKETS, Counts, FailedProfile, Value

MARKED_AT_ONCE = 50  # claims in a request; between two of them, progress shows how far it is


class Published(Value, frozen=True, kw_only=True):
    """What came of a run, over all of its partitions that were folded: one at least."""

    asset: str
    # Those that the run was for. All that follows is of the folded ones.
    partitions: list[str]
    partitions_folded: list[str]
    partitions_failed: list[str]
    # Why those are not folded.
    refused: list[Refusal]
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
    duplicates: int
    # Parts of blocks that were not read, and about how many items they hold.
    unread_parts: int
    unread_items: int
    profiles: int
    profiles_failed: int
    # Documents of others that became profiles, and how many values of theirs gave way.
    documents_adopted: int
    values_replaced: int
    # What a person should know of the blocks, in sentences.
    warnings: list[str]


def record_folded(
    asset: Asset, ledger: Ledger, reconciled: Reconciled, shards: Sequence[FoldedShard]
) -> Published:
    """Record that the claims are folded whole; return the run's counts.

    Another run may have claimed a partition after this one: that run folds it. Refused where
    nothing is left that this one folded, and where a shard has no answer.
    """
    _check_shards(asset, shards)

    folded = _mark_folded(ledger, reconciled, shards)
    _settle_dead_letters(ledger, folded)
    outdated = _pass_on(asset, ledger, folded)

    plan_ids = {claim.plan for claim in folded}
    counts = [partition for partition in reconciled.counts if partition.plan in plan_ids]
    refused = [*reconciled.refused, *_overtaken(asset, ledger, reconciled, plan_ids)]

    published = summarise(asset, counts, refused, shards)
    if outdated:
        return msgspec.structs.replace(
            published, warnings=[*published.warnings, _to_count_anew(outdated)]
        )
    return published


def _pass_on(asset: Asset, ledger: Ledger, folded: Sequence[Claim]) -> list[str]:
    """Let copies elsewhere count what is gone; return the partitions that have to count anew."""
    current = ledger.claims.generation(asset.name)
    if not asset.unique or any(claim.generation != current for claim in folded):
        return []  # profiles as they are hold what a rebuild lacks, until it is finished
    return ledger.end_stays(asset.name, ledger.plans_by_id([claim.plan for claim in folded]))


def _to_count_anew(partitions: Sequence[str]) -> str:
    more = len(partitions) - MAX_NAMED
    and_more = f" and {more} more" if more > 0 else ""
    return (
        f"blocks are gone of whose items {', '.join(partitions[:MAX_NAMED])}{and_more} has copies: "
        "these count once the partition has run again"
    )


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


def _overtaken(
    asset: Asset, ledger: Ledger, reconciled: Reconciled, folded: Collection[str]
) -> list[Refusal]:
    """Return the partitions that another run claimed, given the plans that this one folded.

    Refused where it folded none.
    """
    lost = [partition for partition in reconciled.counts if partition.plan not in folded]
    if not lost:
        return []

    names = [partition.partition for partition in lost]
    why = (
        f"another run took over {', '.join(names[:MAX_NAMED])} while this "
        "one folded; the profiles hold that run's result once it succeeds"
    )
    if not folded:
        raise Refused(
            f"{asset.name}: {'. '.join([why, *(each.why for each in reconciled.refused)])}"
        )

    plans = [partition.plan for partition in lost]
    ledger.refuse(dict.fromkeys(plans, f"{asset.name}: {why}"))
    return [Refusal(plans=plans, partitions=names, why=why)]


def _mark_folded(
    ledger: Ledger, reconciled: Reconciled, shards: Sequence[FoldedShard]
) -> list[Claim]:
    """Return the claims that are folded now; later ones took over the others."""
    counts = {partition.plan: _with_profiles(partition, shards) for partition in reconciled.counts}
    failed_profiles = _failed_profiles(shards)

    folds = [
        Fold(claim, counts[claim.plan], failed_profiles.get(claim.partition, []))
        for claim in reconciled.claims
    ]

    marked: set[str] = set()
    for start in range(0, len(folds), MARKED_AT_ONCE):
        marked |= ledger.claims.mark_folded(folds[start : start + MARKED_AT_ONCE])

    return [claim for claim in reconciled.claims if claim.plan in marked]


def _with_profiles(counts: Counts, shards: Sequence[FoldedShard]) -> Counts:
    """Return a partition's counts with the number of profiles that it says something of."""
    profiles = sum(shard.profiles.get(counts.partition, 0) for shard in shards)
    return msgspec.structs.replace(counts, profiles=profiles)


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
    claims = [claim for claim in folded if claim.partition in with_letters]

    plans = ledger.plans_by_id([claim.plan for claim in claims])
    by_plan = ledger.batches_by_plan(plans)
    for claim in claims:
        batches = by_plan[claim.plan]
        redriven = redriven_letters(ledger, batches)
        ledger.dead_letters.settle(claim.key, counted_attempts(batches), redriven)


def summarise(
    asset: Asset,
    counts: Sequence[Counts],
    refused: Sequence[Refusal],
    shards: Sequence[FoldedShard],
) -> Published:
    """Return the counts of a run's folded partitions in all, beside what was refused."""
    folded = [partition.partition for partition in counts]
    not_folded = sorted(name for refusal in refused for name in refusal.partitions)
    failed = {profile.profile for shard in shards for profile in shard.failed_profiles}
    warnings = merge_warnings(warning for part in counts for warning in part.warnings)
    return Published(
        asset=asset.name,
        partitions=sorted([*folded, *not_folded]),
        partitions_folded=folded,
        partitions_failed=not_folded,
        refused=list(refused),
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
        duplicates=sum(partition.duplicates for partition in counts),
        unread_parts=sum(partition.unread_parts for partition in counts),
        unread_items=sum(partition.unread_items for partition in counts),
        profiles=sum(shard.distinct for shard in shards),
        profiles_failed=len(failed),
        documents_adopted=sum(shard.adopted for shard in shards),
        values_replaced=sum(shard.replaced_values for shard in shards),
        warnings=[str(warning) for warning in warnings],
    )
