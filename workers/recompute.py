"""What profiles have to say: recomputed from what they were made of, in one process.

No plan, batch or result is used, only the blocks and the task; but for tasks that observe the
world, whose results are all there is.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from workers.contributions.accumulators import (
    Accumulator,
    Accumulators,
    build_accumulators,
    merge_accumulators,
    read_accumulators,
    to_reader,
)
from workers.contributions.results import Merger
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Malformed
from workers.ledger.ledger import Ledger
from workers.ledger.records import Plan
from workers.sources.blocks import blocks_of_partition
from workers.sources.items import ItemReader, contribute
from workers.sources.source import Source, source_of
from workers.store import BlockStore
from workers.values import BUCKETS, Block, ByteRange, Document, Place, ProfileRange, Range

RAW_BLOCKS = "the raw blocks"
STORED_RESULTS = "the stored results of what workers saw"


class Recomputed(NamedTuple):
    """What profiles have to say: their fields by id, how many items say it, whence it is."""

    profiles: dict[str, Document]
    items: int
    against: str


def recompute(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    partitions: Sequence[str] | None,
) -> Recomputed:
    """Return what profiles have to say of all partitions, or of those given.

    What a task observed of the world is folded again from its results. Profiles made of other
    profiles are recomputed from those as they are, all of them.
    """
    if asset.source:
        blocks = source_of(asset, ledger, store).blocks(asset, "")
        recomputed = recompute_blocks(asset, task, ledger, store, blocks)
        return recomputed._replace(against=f"the profiles of {asset.source} as they are")
    if task.observe:
        return _fold_results(asset, task, ledger, store, partitions)
    return recompute_blocks(asset, task, ledger, store, _raw_blocks(asset, store, partitions))


def recompute_plan(
    asset: Asset, task: Task, ledger: Ledger, store: BlockStore, plan: Plan
) -> Recomputed:
    """Return what the blocks that a plan was folded from have to say.

    Refused where one of them was replaced or removed since.
    """
    if task.observe:
        partitions = None if asset.source else [plan.partition]
        return recompute(asset, task, ledger, store, partitions)

    ranges = [range_ for batch in ledger.batches_of(plan) for range_ in batch.ranges]
    blocks = {Block(key=part.key, etag=part.etag, size=part.size) for part in ranges}
    in_order = sorted(blocks, key=lambda block: block.key)
    return recompute_blocks(asset, task, ledger, store, in_order)


def _fold_results(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    partitions: Sequence[str] | None,
) -> Recomputed:
    """Return what the results say that profiles were folded from."""
    current = ledger.claims.generation(asset.name)
    plans = ledger.claims.folded_plans(asset.name, current, *(partitions or ()))

    results = [("", s3_key) for plan in plans for s3_key in plan.results.values()]
    accumulators = read_accumulators(store, results, task.fields, range(BUCKETS))
    items = sum(plan.counts.used for plan in plans if plan.counts)
    return Recomputed(_profiles(task, accumulators), items, STORED_RESULTS)


def recompute_blocks(
    asset: Asset, task: Task, ledger: Ledger, store: BlockStore, blocks: Iterable[Block]
) -> Recomputed:
    """Return what blocks have to say."""
    reader, framer = ItemReader(task.item), ItemReader(task.observation_type)
    source = source_of(asset, ledger, store)
    merger = Merger(task.fields)

    items_used = 0
    for block in blocks:
        for items in _items(asset, source, reader, block):
            observations = _observe_anew(task, items)
            for first, last, frames in contribute(task, framer, observations):
                if not isinstance(frames, Exception):
                    merger.add(frames)
                    items_used += last - first

    parts = {name: frame.assign(partition="") for name, frame in merger.merged().items()}
    profiles = _profiles(task, build_accumulators(parts, task.fields))
    return Recomputed(profiles, items_used, RAW_BLOCKS)


def _observe_anew(task: Task, items: list[Any]) -> list[Any]:
    """Return what a task makes of items when no profile is known; items where it does not look."""
    if task.observe is None:
        return items
    answers = task.observe.observe(items, [{}] * len(items))
    return [answer for answer in answers if answer and not isinstance(answer, Exception)]


def _raw_blocks(
    asset: Asset, store: BlockStore, partitions: Sequence[str] | None
) -> Iterator[Block]:
    """Yield the blocks of all partitions in S3, or of those given."""
    if partitions is None:
        for block in store.list(asset.layout.root):
            if asset.partition_of(block.key):
                yield block
        return
    for partition in partitions:
        yield from blocks_of_partition(asset, store, partition)


def _items(asset: Asset, source: Source, reader: ItemReader, block: Block) -> Iterator[list[Any]]:
    """Yield the usable items of a block, by chunks."""
    if block.size == 0:
        return

    kind = ProfileRange if asset.source else ByteRange
    whole: Range = kind(
        key=block.key, etag=block.etag, size=block.size, start=0, end=block.size, items=0
    )
    try:
        for run in source.read(whole, reader.columns):
            yield reader.items(run, _ignore)[0]
    except Malformed:
        pass  # what was read before the block breaks off counts; the run keeps a dead letter


def _ignore(_place: Place, _item: bytes, _reason: str) -> None:
    """Leave a bad item out; that it is bad is for a run to say."""


def _profiles(task: Task, accumulators: Accumulators) -> dict[str, Document]:
    """Return the profiles that readers see, by id."""
    profiles = {}
    for profile_id, by_key in accumulators.items():
        total: Accumulator = {}
        for accumulator in by_key.values():
            total = merge_accumulators(task.fields, total, accumulator)

        fields = to_reader(task.fields, task.derive, total)
        if fields:
            profiles[profile_id] = fields
    return profiles
