"""Fold contributions into profiles, so that folding a partition again replaces what it said.

Each profile keeps its contributions by partition.

What makes it exact under retries, kills and runs side by side: a write goes through only if the
document is as it was read (`_fold.version`), and between the read and the write the ledger is
asked whether the claim is still the highest. See docs/decisions/0002-folding-exactly-once.md.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
from pymongo.collection import Collection

from workers.contributions.accumulators import (
    Accumulator,
    Accumulators,
    ProfileError,
    merge_accumulators,
    read_accumulators,
    read_result,
    to_reader,
)
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Refused, Unavailable
from workers.ledger.claims import Claim
from workers.ledger.ledger import Ledger
from workers.ledger.profiles import (
    Bookkeeping,
    OpenPartition,
    Write,
    profiles_holding,
    read_bookkeeping,
    write_all,
    write_of,
)
from workers.ledger.records import PartitionKey, Plan, PlanState
from workers.store import BlockStore
from workers.values import Document, FailedProfile, Value, bucket

CHUNK_PROFILES = 1_000  # read, folded and written at a time
MAX_TRIES = 20  # times a chunk may lose against other writers before the fold gives up


class Shard(Value, frozen=True, kw_only=True):
    """The part of a fold that one op does: buckets `low` to `high` (exclusive) of its claims."""

    asset: str
    claims: list[Claim]
    # Plans of closed partitions that are as they were: counted, not folded.
    unchanged: list[str]
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


class Result(NamedTuple):
    """The result of a batch, and the partition that it contributes to."""

    key: PartitionKey
    s3_key: str


class ShardResults(NamedTuple):
    """What a shard reads."""

    to_fold: list[Result]
    # Of earlier plans: profiles that these mention, and the former do not, lose what they held.
    to_take_back: list[Result]
    # Whether one of the latter may belong to a run that is still at work.
    may_race: bool


def fold_profiles(
    asset: Asset, task: Task, ledger: Ledger, store: BlockStore, shard: Shard
) -> FoldedShard:
    """Fold a shard of the claimed plans into the profiles."""
    profiles = profiles_of_shard(ledger, shard)
    results = results_of_shard(ledger, shard)

    read = [(result.key.fold_key, result.s3_key) for result in results.to_fold]
    accumulators = read_accumulators(store, read, task.fields, shard.buckets)
    partitions = {claim.key.fold_key: claim.partition for claim in shard.claims}

    # Each (partition, profile) that is contributed to; of closed partitions too, for the counts.
    touched = set[tuple[str, str]]()
    for profile_id, by_key in accumulators.items():
        touched.update((partitions[fold_key], profile_id) for fold_key in by_key)
    for plan in ledger.plans_by_id(shard.unchanged):
        for key, profile_id in _mentioned(store, profiles, _results_of(plan), shard):
            touched.add((key.partition, profile_id))

    for key, profile_id in _mentioned(store, profiles, results.to_take_back, shard):
        accumulators.setdefault(profile_id, {}).setdefault(key.fold_key, {})

    folder = Folder(asset, task, ledger, profiles, shard, results.may_race)
    profile_ids = sorted(accumulators)
    for start in range(0, len(profile_ids), CHUNK_PROFILES):
        chunk = profile_ids[start : start + CHUNK_PROFILES]
        folder.fold({profile_id: accumulators[profile_id] for profile_id in chunk})

    return FoldedShard(
        low=shard.low,
        high=shard.high,
        profiles=dict(Counter(partition for partition, _ in touched)),
        distinct=len({profile_id for _, profile_id in touched}),
        failed_profiles=list(folder.failed_profiles.values()),
    )


def profiles_of_shard(ledger: Ledger, shard: Shard) -> Collection[Document]:
    """Return the profiles that a shard's claims are for; Refused where they are of the past."""
    current = ledger.claims.generation(shard.asset)
    generation = max((claim.generation for claim in shard.claims), default=current)
    if generation < current:
        raise Refused(
            f"{shard.asset}: a rebuild has replaced the profiles while this run was on its way; "
            "run its partitions again"
        )
    return ledger.profiles(shard.asset, generation)


def results_of_shard(ledger: Ledger, shard: Shard) -> ShardResults:
    """Return the results to fold, and those of earlier plans to take back."""
    to_fold: list[Result] = []
    to_take_back: dict[Result, None] = {}
    may_race = False

    plans = ledger.plans_by_id([claim.plan for claim in shard.claims])
    earlier_plans = ledger.claims.earlier(shard.claims)
    for plan in plans:
        results = _results_of(plan)
        to_fold += results
        for earlier in earlier_plans.get(plan.key, []):
            may_race |= earlier.state is not PlanState.FOLDED
            retired = [result for result in _results_of(earlier) if result not in results]
            to_take_back |= dict.fromkeys(retired)

    return ShardResults(to_fold, list(to_take_back), may_race)


def _results_of(plan: Plan) -> list[Result]:
    """Return the results that a plan was claimed with."""
    return [Result(plan.key, s3_key) for s3_key in plan.results.values()]


def _mentioned(
    store: BlockStore,
    profiles: Collection[Document],
    results: Iterable[Result],
    shard: Shard,
) -> Iterator[tuple[PartitionKey, str]]:
    """Yield the (partition, profile) pairs that results of earlier plans mention.

    Where such a result is gone from S3, the profiles that hold its partition take its place.
    """
    for key, s3_key in results:
        try:
            table = read_result(store, s3_key, shard.buckets, ["profile"])
            profile_ids = table["profile"].unique().to_pylist()
        except Refused:
            if store.exists(s3_key):
                raise
            holders = profiles_holding(profiles, key.fold_key)
            profile_ids = [holder for holder in holders if bucket(holder) in shard.buckets]

        for profile_id in profile_ids:
            yield key, profile_id


class Folder:
    """Folds chunks of profiles for one shard."""

    def __init__(
        self,
        asset: Asset,
        task: Task,
        ledger: Ledger,
        profiles: Collection[Document],
        shard: Shard,
        may_race: bool,
    ) -> None:
        self.asset, self.task, self.ledger, self.profiles = asset, task, ledger, profiles
        self.claims = {claim.key.fold_key: claim for claim in shard.claims}
        self.generation = max((claim.generation for claim in shard.claims), default=0)
        # Whether a slower run may still write: then an emptied profile stays as a fence.
        self.may_race = may_race
        self.failed_profiles: dict[str, FailedProfile] = {}

        # What merges into the base of the profiles that are written anyway.
        closed = ledger.claims.closed_keys(asset.name, self.generation)
        self.closed_keys = {key.fold_key for key in closed} - self.claims.keys()

    def fold(self, accumulators: Accumulators) -> None:
        """Fold a chunk; documents that others changed in between are read and folded again."""
        for _ in range(MAX_TRIES):
            bookkeeping = read_bookkeeping(self.profiles, accumulators.keys())
            live = self.ledger.claims.live(list(self.claims.values()))
            live_keys = {key.fold_key for key in live}

            writes = []
            for profile_id, by_key in accumulators.items():
                contributed = {key: by_key[key] for key in by_key if key in live_keys}
                write = self._write(profile_id, bookkeeping.get(profile_id), contributed)
                if write is not None:
                    writes.append(write)

            if not writes or write_all(self.profiles, writes):
                return

        raise Unavailable(
            f"{self.asset.name}: other writers kept changing the same profiles; run again"
        )

    def _write(
        self, profile_id: str, read: Bookkeeping | None, contributed: dict[str, Accumulator]
    ) -> Write | None:
        """Return the write that brings one profile up to date, or None where it is."""
        self.failed_profiles.pop(profile_id, None)
        bookkeeping = self._folded(read or Bookkeeping(), contributed)
        if bookkeeping is None:
            return None

        try:
            fields = self._fields(bookkeeping)
            if not fields and not self.may_race:
                return write_of(profile_id, read, {}, None) if read else None
            return write_of(profile_id, read, fields, bookkeeping)
        except ProfileError as error:
            partitions = {self.claims[fold_key].partition for fold_key in contributed}
            self.failed_profiles[profile_id] = FailedProfile(
                profile=profile_id,
                partitions=sorted(partitions),
                field=error.field,
                why=error.why,
            )
            return None

    def _fields(self, bookkeeping: Bookkeeping) -> Document:
        """Return what readers see; {} where nothing is said about the profile any more."""
        total = bookkeeping.total(self.task.fields)
        return to_reader(self.task.fields, self.task.derive, total) if total else {}

    def _folded(self, read: Bookkeeping, contributed: dict[str, Accumulator]) -> Bookkeeping | None:
        """Return a profile's bookkeeping with these contributions, or None where it has them."""
        # Of another generation, so a write that came late: what it says does not count.
        is_current = read.generation == self.generation
        kept = read if is_current else Bookkeeping(version=read.version)

        open_ = dict(kept.open)
        is_changed = False
        for fold_key, accumulator in contributed.items():
            claim = self.claims[fold_key]
            if fold_key not in open_ or open_[fold_key].epoch < claim.epoch:
                is_changed = True
                open_[fold_key] = OpenPartition(
                    partition=claim.partition, epoch=claim.epoch, fields=accumulator
                )
        if not is_changed:
            return None

        base, merged = kept.base, list(kept.merged)
        for fold_key in sorted(self.closed_keys & open_.keys()):
            closed = open_.pop(fold_key)
            base = merge_accumulators(self.task.fields, base, closed.fields)
            merged.append(closed.partition)

        return msgspec.structs.replace(
            kept,
            generation=self.generation,
            version=read.version + 1,
            base=base,
            open=open_,
            merged=[min(merged), max(merged)] if merged else [],
        )
