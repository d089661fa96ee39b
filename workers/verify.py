"""Recompute profiles from the raw blocks, in one process, and hold MongoDB against them.

No plan, batch or result is used: only the blocks, the task and the profiles.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from pymongo.collection import Collection

from workers.batch import contribute
from workers.blocks import BlockStore
from workers.errors import Malformed, Refused
from workers.formats import format_of, read
from workers.items import ItemReader
from workers.model import Asset, Block, Document, Range
from workers.results import Contributed
from workers.states import build_states, merge, view
from workers.task import Task

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


def verify(
    asset: Asset,
    task: Task,
    store: BlockStore,
    profiles: Collection[Document],
    partitions: Sequence[str] | None = None,
) -> Verdict:
    """Compare the profiles with the blocks: of all partitions in S3, or of those given.

    For all partitions, whole documents are compared as readers see them; for some, what the
    profiles hold of these partitions. Refused where those have merged with others for good.
    """
    expected, items = _expected(asset, task, store, _blocks(asset, store, partitions))
    actual = {}
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
    )


def spot_check(
    asset: Asset,
    task: Task,
    store: BlockStore,
    profiles: Collection[Document],
    partition: str,
    blocks: Iterable[Block],
) -> tuple[int, list[str]]:
    """Recompute a partition from its raw blocks; compare up to SAMPLE of its profiles.

    Returns how many were compared, and those that say something else of the partition. Refused
    where a block was replaced or removed since.
    """
    expected, _ = _expected(asset, task, store, blocks)
    chosen = random.Random(partition).sample(sorted(expected), min(SAMPLE, len(expected)))  # noqa: S311
    found = {one["_id"]: one for one in profiles.find({"_id": {"$in": chosen}})}
    differing = [
        one
        for one in chosen
        if one not in found or _shown(found[one], asset, task, [partition]) != expected[one]
    ]
    return len(chosen), sorted(differing)


def _blocks(asset: Asset, store: BlockStore, partitions: Sequence[str] | None) -> Iterator[Block]:
    """Yield the blocks of all partitions in S3, or of those given."""
    if partitions is None:
        found = store.list(asset.layout.root)
        yield from (block for block in found if asset.partition_of(block.key))
    else:
        for partition in partitions:
            yield from store.of_partition(asset, partition)


def _expected(
    asset: Asset, task: Task, store: BlockStore, blocks: Iterable[Block]
) -> tuple[dict[str, str], int]:
    """Return each profile's canonical text as the blocks say it, and how many items count."""
    reader, contributed, items = ItemReader(task.item), Contributed(task.fields), 0
    for block in blocks:
        items += _count(block, asset, task, store, reader, contributed)
    parts = {name: frame.assign(partition="") for name, frame in contributed.merged().items()}
    states = build_states(parts, task.fields)
    return {one: _canonical(view(task, state[""])) for one, state in states.items()}, items


def _count(
    block: Block,
    asset: Asset,
    task: Task,
    store: BlockStore,
    reader: ItemReader,
    contributed: Contributed,
) -> int:
    if block.size == 0:
        return 0
    whole = Range(key=block.key, etag=block.etag, size=block.size, start=0, end=block.size, items=0)
    items = 0
    try:
        for run in read(store, whole, format_of(block.key, asset.format), reader.columns):
            good, _ = reader.items(run, _unheard)
            for first, last, frames in contribute(task, reader, good):
                if not isinstance(frames, Exception):
                    contributed.add(frames)
                    items += last - first
    except Malformed:
        pass  # what was read before the block breaks off counts; the run keeps a dead letter
    return items


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
    for partition, entry in fold["open"].items():
        if partition in wanted:
            state = merge(task.fields, state, entry["fields"])
    return _canonical(view(task, state)) if state else None


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
