"""Fold contributions into profiles, so that folding a partition again replaces what it said.

Each profile keeps its contributions by partition.

What makes it exact under retries, kills and runs side by side: a write goes through only if the
document is as it was read (`_fold.version`), and between the read and the write the ledger is
asked whether the claim is still the highest. See docs/decisions/0002-folding-exactly-once.md.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import bson
from bson.errors import InvalidDocument, InvalidStringData
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from workers.contributions.accumulators import (
    Accumulator,
    Accumulators,
    ProfileError,
    merge,
    read_accumulators,
    read_result,
    to_reader,
    total,
)
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Refused, Unavailable
from workers.ledger.claims import Claim
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import only_duplicates
from workers.store import BlockStore
from workers.values import Document, Value, bucket, unit_key, unit_partition

CHUNK_PROFILES = 1_000  # profiles read, folded and written at a time
MAX_DOCUMENT_BYTES = 16 << 20  # bytes of a document in MongoDB
MAX_TRIES = 20  # times a chunk may lose against other writers before the fold gives up

UNWRITABLE = (OverflowError, InvalidDocument, InvalidStringData, UnicodeEncodeError)


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


class FailedProfile(Value, frozen=True, kw_only=True):
    """A profile that MongoDB cannot hold; it stays as it was, without what is new."""

    profile: str
    # The partitions whose contributions it lacks.
    partitions: list[str]
    # The largest field, or the one that cannot be written.
    field: str
    why: str


class Folded(Value, frozen=True, kw_only=True):
    """What a shard's fold did; counts are of profiles."""

    low: int
    high: int

    # Profiles that the partitions contribute to, by partition, and all of them once.
    profiles: dict[str, int]
    distinct: int
    failed_profiles: list[FailedProfile]


def fold_profiles(
    shard: Shard,
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
) -> Folded:
    """Fold a shard of the claimed plans into the profiles."""
    profiles = profiles_of(ledger, shard)
    results, retired, unsure = _results(shard, ledger)
    states = read_accumulators(store, results, task.fields, shard.buckets)
    seen = {(key, profile) for profile, said in states.items() for key in said}
    for plan_id in shard.unchanged:
        seen.update(_mentioned(store, profiles, _results_of(ledger.plan(plan_id)), shard))
    for key, profile in _mentioned(store, profiles, retired, shard):
        states.setdefault(profile, {}).setdefault(key, {})
    folder = _Folder(asset, task, ledger, profiles, shard.claims, unsure)
    ids = sorted(states)
    for start in range(0, len(ids), CHUNK_PROFILES):
        folder.fold({profile: states[profile] for profile in ids[start : start + CHUNK_PROFILES]})
    return Folded(
        low=shard.low,
        high=shard.high,
        profiles=dict(Counter(unit_partition(key) for key, _ in seen)),
        distinct=len({profile for _, profile in seen}),
        failed_profiles=list(folder.failed_profiles.values()),
    )


def profiles_of(ledger: Ledger, shard: Shard) -> Collection[Document]:
    """Return the profiles that a shard's claims are for; Refused where they are of the past."""
    now = ledger.claims.generation(shard.asset)
    generation = max((claim.generation for claim in shard.claims), default=now)
    if generation < now:
        raise Refused(
            f"{shard.asset}: a rebuild has replaced the profiles while this run was on its way; "
            "run its partitions again"
        )
    return ledger.profiles(shard.asset, generation)


def _results(
    shard: Shard, ledger: Ledger
) -> tuple[list[tuple[str, str]], list[tuple[str, str]], bool]:
    """Return the results to fold, and those to take back, each with its unit's key.

    The third value tells whether one of the latter may belong to a run that is still at work.
    """
    results: list[tuple[str, str]] = []
    retired: list[tuple[str, str]] = []
    unsure = False
    for claim in shard.claims:
        mine = _results_of(ledger.plan(claim.plan))
        results += mine
        for before in ledger.claims.earlier(claim):
            unsure |= before["state"] != "folded"
            retired += [one for one in _results_of(before) if one not in mine]
    return results, list(dict.fromkeys(retired)), unsure


def _results_of(plan: Document) -> list[tuple[str, str]]:
    """Return the results that a plan was claimed with, each with its unit's key."""
    unit = unit_key(plan["partition"], plan["round"])
    return [(unit, key) for key in plan["results"].values()]


def _mentioned(
    store: BlockStore,
    profiles: Collection[Document],
    results: Iterable[tuple[str, str]],
    shard: Shard,
) -> Iterator[tuple[str, str]]:
    """Yield the (unit's key, profile) pairs that results of earlier plans mention.

    Where such a result is gone from S3, the profiles that hold its unit take its place.
    """
    for unit, key in results:
        try:
            mentioned = (
                read_result(store, key, shard.buckets, ["profile"])["profile"].unique().to_pylist()
            )
        except Refused:
            if store.exists(key):
                raise
            holders = profiles.find({f"_fold.open.{unit}": {"$exists": True}}, {"_id": 1})
            ids = [one["_id"] for one in holders]
            mentioned = [one for one in ids if bucket(one) in shard.buckets]
        for profile in mentioned:
            yield unit, profile


class _Folder:
    """Folds chunks of profiles for one shard."""

    def __init__(
        self,
        asset: Asset,
        task: Task,
        ledger: Ledger,
        profiles: Collection[Document],
        claims: Sequence[Claim],
        unsure: bool,
    ) -> None:
        self.asset, self.task, self.ledger, self.profiles = asset, task, ledger, profiles
        self.claims = claims
        self.epochs = {claim.key: claim.epoch for claim in claims}
        self.generation = max((claim.generation for claim in claims), default=0)
        closed = ledger.claims.closed_units(asset.name, self.generation)
        self.closed = closed - self.epochs.keys()
        # Whether a slower run may still write: then an emptied profile stays as a fence.
        self.unsure = unsure
        self.failed_profiles: dict[str, FailedProfile] = {}

    def fold(self, states: Accumulators) -> None:
        """Fold a chunk; documents that others changed in between are read and folded again."""
        for _ in range(MAX_TRIES):
            old = {doc["_id"]: doc for doc in self.profiles.find({"_id": {"$in": list(states)}})}
            live = self.ledger.claims.live(self.claims)
            writes, guarded = [], 0
            for profile, of_profile in states.items():
                mine = {p: state for p, state in of_profile.items() if p in live}
                if write := self._write(profile, old.get(profile), mine):
                    writes.append(write)
                    guarded += not isinstance(write, InsertOne)
            if not writes or self._all_written(writes, guarded):
                return
        raise Unavailable(
            f"{self.asset.name}: other writers kept changing the same profiles; run again"
        )

    def _all_written(self, writes: Sequence[Any], guarded: int) -> bool:
        try:
            done = self.profiles.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            if not only_duplicates(error):
                raise
            return False
        return done.matched_count + done.deleted_count == guarded

    def _write(self, profile: str, old: Document | None, states: dict[str, Accumulator]) -> Any:
        """Return the write that brings one profile up to date, or None where it is."""
        fold: Document = old["_fold"] if old else {"version": 0}
        as_read = {"_id": profile, "_fold.version": fold["version"]}
        as_read["_fold.generation"] = fold.get("generation")
        self.failed_profiles.pop(profile, None)
        if fold.get("generation") != self.generation:
            # Of another generation, so a write that came late: what it says does not count.
            fold = {"version": fold["version"], "base": {}, "open": {}}
        new = self._folded(fold, states)
        if new is None:
            return None
        state = total(self.task.fields, new)
        try:
            shown = to_reader(self.task, state) if state else {}
            if not shown and not self.unsure:
                return DeleteOne(as_read) if old else None
            written = encoded({"_id": profile, **shown, "_fold": new})
        except ProfileError as error:
            self.failed_profiles[profile] = FailedProfile(
                profile=profile,
                partitions=sorted({unit_partition(key) for key in states}),
                field=error.field,
                why=error.why,
            )
            return None
        return ReplaceOne(as_read, written) if old else InsertOne(written)

    def _folded(self, fold: Document, states: dict[str, Accumulator]) -> Document | None:
        """Return a profile's bookkeeping with these states in it, or None where it has them."""
        open_ = dict(fold["open"])
        for partition, state in states.items():
            epoch = self.epochs[partition]
            if partition not in open_ or open_[partition]["epoch"] < epoch:
                open_[partition] = {"epoch": epoch, "fields": state}
        if open_ == fold["open"]:
            return None
        base = fold["base"]
        closing = sorted(self.closed & open_.keys())
        for partition in closing:
            base = merge(self.task.fields, base, open_.pop(partition)["fields"])
        new = {
            "generation": self.generation,
            "version": fold["version"] + 1,
            "base": base,
            "open": open_,
        }
        if closing or "merged" in fold:
            known = [*fold.get("merged", []), *map(unit_partition, closing)]
            new["merged"] = [min(known), max(known)]
        return new


def encoded(document: Document) -> RawBSONDocument:
    """Return a profile as MongoDB gets it; Unfitting where it cannot."""
    try:
        whole = bson.encode(document)
    except UNWRITABLE as error:
        raise ProfileError(_largest(document), str(error)) from error
    if len(whole) > MAX_DOCUMENT_BYTES:
        said = (
            f"the profile would have {len(whole):,} bytes, and MongoDB holds {MAX_DOCUMENT_BYTES:,}"
        )
        raise ProfileError(_largest(document), said)
    return RawBSONDocument(whole)


def _largest(document: Document) -> str:
    """Return the field that takes most, or the first that cannot be written at all."""
    sizes = {}
    for name, value in document.items():
        if name in ("_id", "_fold"):
            continue
        try:
            sizes[name] = len(bson.encode({name: value}))
        except UNWRITABLE:
            return name
    return max(sizes, key=lambda name: sizes[name], default="_fold")
