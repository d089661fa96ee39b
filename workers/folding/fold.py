"""Fold contributions into profiles, so that folding a partition again replaces what it said.

A profile is merged with what is new of a partition (merging). Where its total does not tell what is
left of it without what was taken back, it is computed anew from all that it holds (renewing).

What makes it exact under retries, kills and runs side by side: a write goes through only if the
document is as it was read (`_fold.version`), and between the read and the write the ledger is
asked how the claims stand. See docs/decisions/0017-profiles-hold-totals.md.
"""

import time
from collections import defaultdict
from functools import partial

import pyarrow as pa

from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Refused
from workers.folding.holdings import Part
from workers.folding.merging import News
from workers.folding.renewing import renew
from workers.folding.said import Mentions
from workers.folding.writing import CHUNK_PROFILES, MAX_TRIES, Outdated, ProfileWriter, each_chunk
from workers.ledger.claims import Claim
from workers.ledger.ledger import Ledger
from workers.ledger.profiles import ProfileCollection, everyone
from workers.memory import collection_paused
from workers.store import BlockStore
from workers.values import FailedProfile, Value, bucket

TELL_SECONDS = 0.5  # between two times that a fold says how far it is


class Shard(Value, frozen=True, kw_only=True):
    """The part of a fold that one op does: buckets `low` to `high` (exclusive) of its claims."""

    asset: str
    claims: list[Claim]
    low: int
    high: int

    @property
    def buckets(self) -> range:
        return range(self.low, self.high)


class FoldedShard(Value, frozen=True, kw_only=True):
    """What a shard's fold did; counts are of profiles."""

    low: int
    high: int
    # Profiles that the partitions contribute to, by partition, and all of them once.
    profiles: dict[str, int]
    distinct: int
    failed_profiles: list[FailedProfile]
    # Documents that others had written before, and how many values of theirs gave way.
    adopted: int = 0
    replaced_values: int = 0


def fold_profiles(
    asset: Asset, task: Task, ledger: Ledger, store: BlockStore, shard: Shard
) -> FoldedShard:
    """Fold a shard of the claimed plans into the profiles."""
    profiles = profiles_of_shard(ledger, shard)
    mentions = Mentions(store, shard.buckets, partial(everyone, profiles))
    for _ in range(MAX_TRIES):
        writer = ProfileWriter(asset, task, ledger, profiles, shard.claims)
        try:
            with collection_paused():
                _fold(writer, store, shard, mentions)
        except Outdated:
            continue
        return _folded(writer, shard, mentions)
    raise writer.contended()


def profiles_of_shard(ledger: Ledger, shard: Shard) -> ProfileCollection:
    """Return the profiles that a shard's claims are for; Refused where they are of the past."""
    current = ledger.claims.generation(shard.asset)
    generation = max((claim.generation for claim in shard.claims), default=current)
    if generation < current:
        raise Refused(
            f"{shard.asset}: a rebuild has replaced the profiles while this run was on its way; "
            "run its partitions again"
        )
    return ledger.profiles(shard.asset, generation)


def _fold(writer: ProfileWriter, store: BlockStore, shard: Shard, mentions: Mentions) -> None:
    """Fold all profiles that the claims change."""
    news = News(writer, store, shard.buckets, mentions)
    mentions.take(news.said.mentioned)
    renewed = _to_renew(writer, news, shard, mentions)
    renew(writer, store, shard.buckets, sorted(renewed))

    unknown: set[str] = set()
    others = [profile_id for profile_id in news.ids if profile_id not in renewed]
    told = time.monotonic()
    for number, more in enumerate(each_chunk(others, news.merge), 1):
        unknown |= more
        if time.monotonic() - told > TELL_SECONDS:
            done = min(number * CHUNK_PROFILES, len(others))
            first_plan = min(claim.plan for claim in shard.claims)
            folded = writer.ledger.folded
            folded.record_progress(first_plan, shard.low, shard.high, done, len(others))
            told = time.monotonic()
    renew(writer, store, shard.buckets, sorted(unknown))


def _to_renew(writer: ProfileWriter, news: News, shard: Shard, mentions: Mentions) -> set[str]:
    """Return the profiles of which it is known that they have to be computed anew."""
    failed = {profile_id for change in writer.changes for profile_id in change.failed}
    here = {profile_id for profile_id in failed if bucket(profile_id) in shard.buckets}
    if news.can_exchange:
        return here

    retired = [part for change in writer.changes for part in change.retired]
    mentions.read(retired)
    return here.union(mentions.of(retired).to_pylist())


def _folded(writer: ProfileWriter, shard: Shard, mentions: Mentions) -> FoldedShard:
    """Return what a shard's fold did."""
    parts_of_partition: dict[str, list[Part]] = defaultdict(list)
    for change in writer.changes:
        parts_of_partition[change.claim.partition] += change.parts

    mentions.read(part for parts in parts_of_partition.values() for part in parts)
    ids = {name: mentions.of(parts) for name, parts in parts_of_partition.items()}
    return FoldedShard(
        low=shard.low,
        high=shard.high,
        profiles={name: len(each) for name, each in ids.items() if len(each)},
        distinct=len(pa.chunked_array(list(ids.values()), pa.string()).unique()),
        failed_profiles=list(writer.failed_profiles.values()),
        adopted=len(writer.adopted),
        replaced_values=sum(writer.adopted.values()),
    )
