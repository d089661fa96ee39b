"""Recompute profiles from the raw blocks, in one process, and hold MongoDB against them.

No plan, batch or result is used, only the blocks, the task and the profiles; but for tasks that
look at the world, whose results are all there is.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial, reduce
from typing import Any

import msgspec

from workers.batch import contribute
from workers.contributions.accumulators import (
    Accumulators,
    build_accumulators,
    merge,
    read_accumulators,
    to_reader,
)
from workers.contributions.results import Merger
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Malformed, Refused
from workers.ledger.ledger import Ledger
from workers.sources.items import ItemReader
from workers.sources.source import Source, source_of
from workers.store import BlockStore
from workers.values import BUCKETS, Block, Document, Range, unit_partition

RAW = "the raw blocks"
SAMPLE = 100  # profiles that a spot check compares


class Verdict(msgspec.Struct, frozen=True):
    """What `verify` found."""

    match: bool
    profiles: int
    expected_profiles: int
    items: int
    digest: str
    expected_digest: str
    # The first ids whose profile differs, is missing or should not be there.
    differing: list[str]
    # What the profiles were held against.
    against: str


def verify_profiles(
    asset: Asset,
    task: Task,
    store: BlockStore,
    ledger: Ledger,
    partitions: Sequence[str] | None = None,
) -> Verdict:
    """Compare the profiles with the blocks: of all partitions in S3, or of those given.

    For all partitions, whole documents are compared as readers see them; for some, what the
    profiles hold of these partitions. Refused where those have merged with others for good.

    What a task saw of the world cannot be recomputed: its results are its raw data, and are folded
    again. Profiles made of other profiles are recomputed from those as they are, all of them.
    """
    if asset.source:
        partitions = None
    expected, items, against = _truth(asset, task, store, ledger, partitions)
    actual, profiles = {}, ledger.profiles(asset.name)
    for document in profiles.find({}, None if partitions else {"_fold": 0}).sort("_id", 1):
        shown = _shown(document, asset, task, partitions)
        if shown:
            actual[document["_id"]] = shown
    everyone = sorted(expected.keys() | actual.keys())
    differing = [one for one in everyone if expected.get(one) != actual.get(one)]
    return Verdict(
        match=not differing,
        profiles=len(actual),
        expected_profiles=len(expected),
        items=items,
        digest=_digest(actual),
        expected_digest=_digest(expected),
        differing=differing[:20],
        against=against,
    )


def spot_check(
    asset: Asset, task: Task, store: BlockStore, ledger: Ledger, plan: Document
) -> tuple[int, list[str], str]:
    """Recompute what a plan was folded from; compare up to SAMPLE of its profiles.

    Returns how many were compared, those that say something else of the partition, and what they
    were held against. Refused where a block was replaced or removed since.
    """
    only = None if asset.source else [plan["partition"]]
    if task.observe:
        expected, _, against = _truth(asset, task, store, ledger, only)
    else:
        raw = {
            Block(key=cut["key"], etag=cut["etag"], size=cut["size"])
            for batch in ledger.batches_of(plan)
            for cut in batch["ranges"]
        }
        blocks = sorted(raw, key=lambda block: block.key)
        expected, _ = _recomputed(asset, task, store, ledger, blocks)
        against = RAW
    chosen = random.Random(plan["_id"]).sample(sorted(expected), min(SAMPLE, len(expected)))  # noqa: S311
    profiles = ledger.profiles(asset.name)
    found = {one["_id"]: one for one in profiles.find({"_id": {"$in": chosen}})}
    differing = [
        one
        for one in chosen
        if one not in found or _shown(found[one], asset, task, only) != expected[one]
    ]
    return len(chosen), sorted(differing), against


def _truth(
    asset: Asset,
    task: Task,
    store: BlockStore,
    ledger: Ledger,
    partitions: Sequence[str] | None,
) -> tuple[dict[str, str], int, str]:
    """Return what profiles have to say by id, how many items say it, and where that is from."""
    if task.observe and not asset.source:
        plans = ledger.claims.folded_plans(
            asset.name, ledger.claims.generation(asset.name), *(partitions or ())
        )
        results = [("", key) for plan in plans for key in plan["results"].values()]
        states = read_accumulators(store, results, task.fields, range(BUCKETS))
        items = sum(plan["counts"]["used"] for plan in plans)
        return _canonical_views(task, states), items, "the stored results of what workers saw"
    if asset.source:
        blocks: Iterable[Block] = source_of(asset, store, ledger).blocks(asset, "")
        against = f"the profiles of {asset.source} as they are"
    else:
        blocks, against = _blocks(asset, store, partitions), RAW
    return (*_recomputed(asset, task, store, ledger, blocks), against)


def _blocks(asset: Asset, store: BlockStore, partitions: Sequence[str] | None) -> Iterator[Block]:
    """Yield the blocks of all partitions in S3, or of those given."""
    if partitions is None:
        found = store.list(asset.layout.root)
        yield from (block for block in found if asset.partition_of(block.key))
    else:
        for partition in partitions:
            yield from store.of_partition(asset, partition)


def _recomputed(
    asset: Asset, task: Task, store: BlockStore, ledger: Ledger, blocks: Iterable[Block]
) -> tuple[dict[str, str], int]:
    """Return each profile's canonical text as the blocks say it, and how many items count."""
    reader, framer = ItemReader(task.item), ItemReader(task.seen)
    source, contributed, used = source_of(asset, store, ledger), Merger(task.fields), 0
    for block in blocks:
        for items in _items(block, source, reader):
            seen = items
            if task.observe:
                answers = task.observe.look(items, [{}] * len(items))
                seen = [one for one in answers if one and not isinstance(one, Exception)]
            for first, last, frames in contribute(task, framer, seen):
                if not isinstance(frames, Exception):
                    contributed.add(frames)
                    used += last - first
    parts = {name: frame.assign(partition="") for name, frame in contributed.merged().items()}
    return _canonical_views(task, build_accumulators(parts, task.fields)), used


def _canonical_views(task: Task, states: Accumulators) -> dict[str, str]:
    shown = {
        one: to_reader(task, reduce(partial(merge, task.fields), state.values()))
        for one, state in states.items()
    }
    return {one: _canonical(document) for one, document in shown.items() if document}


def _items(block: Block, source: Source, reader: ItemReader) -> Iterator[list[Any]]:
    """Yield the usable items of a block, by chunks."""
    if block.size == 0:
        return
    whole = Range(key=block.key, etag=block.etag, size=block.size, start=0, end=block.size, items=0)
    try:
        for run in source.read(whole, reader.columns):
            yield reader.items(run, _unheard)[0]
    except Malformed:
        pass  # what was read before the block breaks off counts; the run keeps a dead letter


def _unheard(_place: str, _item: bytes, _reason: str) -> None:
    """Leave a bad item out; that it is bad is for a run to say."""


def _shown(
    document: Document, asset: Asset, task: Task, partitions: Sequence[str] | None
) -> str | None:
    """Return the canonical text of a document, or None where it holds nothing (of these)."""
    if partitions is None:
        document = {name: value for name, value in document.items() if name != "_id"}
        return _canonical(document) if document else None
    fold, state, wanted = document["_fold"], {}, set(partitions)
    if "merged" in fold:
        state = _base(document["_id"], fold, asset, partitions)
    for key, entry in fold["open"].items():
        if unit_partition(key) in wanted:
            state = merge(task.fields, state, entry["fields"])
    shown = to_reader(task, state) if state else {}
    return _canonical(shown) if shown else None


def _base(profile: str, fold: Document, asset: Asset, partitions: Sequence[str]) -> Document:
    """Return the merged base where it lies within the partitions, nothing where it lies outside."""
    first, last = fold["merged"]
    if last < partitions[0] or first > partitions[-1]:
        return {}
    if first < partitions[0] or last > partitions[-1]:
        raise Refused(
            f"{asset.name}: partitions {first} to {last} of profile {profile!r} have merged for "
            "good; verify a range that holds them all, or everything"
        )
    base: Document = fold["base"]
    return base


def _canonical(value: Any) -> str:
    """Return a text that two equal values share, whatever the order of their maps."""
    return json.dumps(value, sort_keys=True, default=_date)


def _date(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    raise TypeError(f"{type(value).__name__} in a profile")


def _digest(documents: dict[str, str]) -> str:
    hashed = hashlib.sha256()
    for one in sorted(documents):
        hashed.update(f"{json.dumps(one)}:{documents[one]}\n".encode())
    return hashed.hexdigest()
