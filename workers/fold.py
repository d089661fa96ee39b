"""Fold contributions into profiles, so that folding a partition again replaces what it said.

Each profile keeps its contributions by partition.

What makes it exact under retries, kills and runs side by side: a write goes through only if the
document is as it was read (`_fold.version`), and between the read and the write the ledger is
asked whether the claim is still the highest. See docs/decisions/0002-folding-exactly-once.md.
"""

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from workers.blocks import BlockStore
from workers.errors import Unavailable
from workers.fields import COLUMNS, Fields, from_key, to_key
from workers.ledger import Claim, Document, Ledger
from workers.model import Asset, Value
from workers.task import Task

CHUNK = 1_000  # profiles read, folded and written at a time
ROUNDS = 20  # times a chunk may lose against other writers before the fold gives up

# What a partition says about a profile: states by field, keys as MongoDB holds them.
State = dict[str, Any]
# The contributions of a shard: profile id -> partition -> state.
States = dict[str, dict[str, State]]


class Shard(Value, frozen=True, kw_only=True):
    """The part of a fold that one op does: buckets `low` to `high` (exclusive) of its claims."""

    asset: str
    claims: list[Claim]
    # Plans of closed partitions that are as they were: counted, not folded.
    unchanged: list[str]
    low: int
    high: int


class Folded(Value, frozen=True, kw_only=True):
    """What a shard's fold did; counts are of profiles."""

    # Profiles that the partitions contribute to, by partition, and all of them once.
    profiles: dict[str, int]
    distinct: int


def fold_shard(
    shard: Shard,
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    profiles: Collection[Document],
) -> Folded:
    """Fold a shard of the claimed plans into the profiles."""
    results, retired, unsure = _results(shard, ledger)
    states = read_states(store, results, task.fields, shard)
    seen = {(partition, profile) for profile, said in states.items() for partition in said}
    for plan_id in shard.unchanged:
        seen.update(_mentioned(store, _results_of(ledger, ledger.plan(plan_id)), shard))
    folded = Folded(
        profiles=dict(Counter(partition for partition, _ in seen)),
        distinct=len({profile for _, profile in seen}),
    )
    for partition, profile in _mentioned(store, retired, shard):
        states.setdefault(profile, {}).setdefault(partition, {})
    folder = _Folder(asset, task, ledger, profiles, shard.claims, unsure)
    ids = sorted(states)
    for start in range(0, len(ids), CHUNK):
        folder.fold({profile: states[profile] for profile in ids[start : start + CHUNK]})
    return folded


def _results(
    shard: Shard, ledger: Ledger
) -> tuple[list[tuple[str, str]], list[tuple[str, str]], bool]:
    """Return (partition, key) of the results to fold, and of those to take back.

    The third value tells whether one of the latter may belong to a run that is still at work.
    """
    results: list[tuple[str, str]] = []
    retired: list[tuple[str, str]] = []
    unsure = False
    for claim in shard.claims:
        mine = _results_of(ledger, ledger.plan(claim.plan))
        results += mine
        for before in ledger.earlier(claim, shard.asset):
            unsure |= before["state"] != "folded"
            retired += [one for one in _results_of(ledger, before) if one not in mine]
    return results, retired, unsure


def _results_of(ledger: Ledger, plan: Document) -> list[tuple[str, str]]:
    """Return (partition, key) of the results of a plan's batches."""
    done = [batch for batch in ledger.batches_of(plan) if batch["state"] == "done"]
    return [(plan["partition"], batch["outcome"]["result"]) for batch in done]


def _read(store: BlockStore, key: str, shard: Shard, columns: list[str] | None) -> pa.Table:
    wanted = [("bucket", ">=", shard.low), ("bucket", "<", shard.high)]
    return pq.read_table(io.BytesIO(store.get(key)), columns=columns, filters=wanted)


def _mentioned(
    store: BlockStore, retired: Iterable[tuple[str, str]], shard: Shard
) -> Iterable[tuple[str, str]]:
    """Yield the (partition, profile) pairs that results mention."""
    for partition, key in retired:
        for profile in _read(store, key, shard, ["profile"])["profile"].unique().to_pylist():
            yield partition, profile


def read_states(
    store: BlockStore, results: Sequence[tuple[str, str]], fields: Fields, shard: Shard
) -> States:
    """Read a shard's part of results, given as (partition, key), and merge it."""
    if not results:
        return {}
    tables = []
    for partition, key in results:
        table = _read(store, key, shard, None)
        tables.append(table.append_column("partition", pa.repeat(partition, len(table))))
    table = pa.concat_tables(tables)
    parts = {}
    for name, field in fields.items():
        value = COLUMNS[field.type]
        columns = ["partition", "profile", *field.columns[:-1], value]
        part = table.filter(pc.field("field") == name).select(columns).to_pandas()
        part = part.rename(columns={value: "value"})
        parts[name] = field.reduce(part, ["partition", "profile"])
    return build_states(parts, fields)


def build_states(parts: Mapping[str, pd.DataFrame], fields: Fields) -> States:
    """Turn reduced columns (partition, profile, then the field's) into states, row by row."""
    states: States = defaultdict(lambda: defaultdict(dict))
    for name, part in parts.items():
        field = fields[name]
        values = part["value"].tolist()
        if field.rule == "latest":
            values = [list(pair) for pair in zip(part["at"].tolist(), values, strict=True)]
        where = zip(part["profile"].tolist(), part["partition"].tolist(), strict=True)
        if not field.keyed:
            for (profile, partition), value in zip(where, values, strict=True):
                states[profile][partition][name] = value
            continue
        for (profile, partition), key, value in zip(where, names(part["key"]), values, strict=True):
            state = states[profile][partition]
            if name in state:
                state[name][key] = value
            else:
                state[name] = {key: value}
    return states


def names(keys: pd.Series) -> list[str]:
    """Return keys as MongoDB holds them; each different key is looked at once."""
    codes, unique = pd.factorize(keys)
    written = [to_key(key) for key in unique]
    return [written[code] for code in codes]


def merge(fields: Fields, one: State, other: State) -> State:
    """Merge two states of one profile."""
    merged = dict(one)
    for name, value in other.items():
        merged[name] = fields[name].merge(merged[name], value) if name in merged else value
    return merged


def view(task: Task, state: State) -> Document:
    """Return what readers see of a state: every field, and those derived from them."""
    shown = {
        name: field.view(state.get(name, {} if field.keyed else None))
        for name, field in task.fields.items()
    }
    if task.derive is None:
        return shown
    plain = {
        name: {from_key(key): entry for key, entry in value.items()}
        if isinstance(value, dict)
        else value
        for name, value in shown.items()
    }
    return shown | task.derive(plain)


def total(fields: Fields, fold: Document) -> State:
    """Merge all that a profile's bookkeeping holds."""
    state: State = fold["base"]
    for entry in fold["open"].values():
        state = merge(fields, state, entry["fields"])
    return state


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
        self.epochs = {claim.partition: claim.epoch for claim in claims}
        self.closed = ledger.closed_partitions(asset.name) - set(self.epochs)
        # Whether a slower run may still write: then an emptied profile stays as a fence.
        self.unsure = unsure

    def fold(self, states: States) -> None:
        """Fold a chunk; documents that others changed in between are read and folded again."""
        for _ in range(ROUNDS):
            old = {doc["_id"]: doc for doc in self.profiles.find({"_id": {"$in": list(states)}})}
            live = self.ledger.live(self.asset.name, self.claims)
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
            if any(one["code"] != 11000 for one in error.details["writeErrors"]):
                raise
            return False
        return done.matched_count + done.deleted_count == guarded

    def _write(self, profile: str, old: Document | None, states: dict[str, State]) -> Any:
        """Return the write that brings one profile up to date, or None where it is."""
        fold: Document = old["_fold"] if old else {"version": 0, "base": {}, "open": {}}
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
        new = {"version": fold["version"] + 1, "base": base, "open": open_}
        if closing or "merged" in fold:
            known = [*fold.get("merged", []), *closing]
            new["merged"] = [min(known), max(known)]
        as_read = {"_id": profile, "_fold.version": fold["version"]}
        is_empty = not base and not any(entry["fields"] for entry in open_.values())
        if is_empty and not self.unsure:
            return DeleteOne(as_read) if old else None
        document: Document = {"_id": profile}
        if not is_empty:
            document |= view(self.task, total(self.task.fields, new))
        document["_fold"] = new
        return ReplaceOne(as_read, document) if old else InsertOne(document)
