"""What profiles have to say: recomputed from what they were made of, in one process.

No plan, batch or result is used, only the blocks and the task; but for tasks that observe the
world, whose results are all there is.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
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
from workers.sources.items import ItemReader, contribute
from workers.sources.objects import blocks_of_partition, blocks_with_owners
from workers.sources.source import Source, source_of
from workers.store import BlockStore
from workers.values import BUCKETS, Block, ByteRange, Document, Place, ProfileRange, Range

CHUNK_ITEMS = 10_000  # that contribute in one call
READ_BLOCKS = 1_000  # blocks that are listed ahead of what reads them
RAW_BLOCKS = "the raw blocks"
STORED_RESULTS = "the stored results of what workers saw"


class UnreadPart(NamedTuple):
    """The block of which only a part can be read, and why."""

    key: str
    etag: str
    why: str

    def __str__(self) -> str:
        return f"{self.key}, {self.why}"


class Recomputed(NamedTuple):
    """What profiles have to say: their fields by id, how many items say it, whence it is."""

    profiles: dict[str, Document]
    items: int
    against: str
    # The blocks that could not be read whole.
    unread: tuple[UnreadPart, ...] = ()


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
    unread: list[UnreadPart] = []
    for items in _chunks(_items(asset, source, reader, blocks, unread)):
        observations = _observe_anew(task, items)
        for first, last, frames in contribute(task, framer, observations):
            if not isinstance(frames, Exception):
                merger.add(frames)
                items_used += last - first

    parts = {name: frame.assign(partition="") for name, frame in merger.merged().items()}
    profiles = _profiles(task, build_accumulators(parts, task.fields))
    return Recomputed(profiles, items_used, RAW_BLOCKS, tuple(unread))


def _chunks(parts: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """Yield items in fewer and larger parts, as a call of the task costs the same for ten."""
    chunk: list[Any] = []
    for part in parts:
        chunk += part
        if len(chunk) >= CHUNK_ITEMS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


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
        for _, block in blocks_with_owners(asset, store):
            yield block
        return
    for partition in partitions:
        yield from blocks_of_partition(asset, store, partition)


def _items(
    asset: Asset,
    source: Source,
    reader: ItemReader,
    blocks: Iterable[Block],
    unread: list[UnreadPart],
) -> Iterator[list[Any]]:
    """Yield the usable items of blocks, by chunks; `unread` gets the blocks that break off."""
    kind = ProfileRange if asset.source else ByteRange
    whole = (
        kind(key=block.key, etag=block.etag, size=block.size, start=0, end=block.size, items=0)
        for block in blocks
        if block.size
    )
    for ranges in iter(lambda: list[Range](islice(whole, READ_BLOCKS)), []):
        for range_, runs in source.read(ranges, reader.columns):
            try:
                for run in runs:
                    yield reader.items(run, _ignore).items
            except Malformed as error:  # what was read before counts; the run keeps a dead letter
                unread.append(UnreadPart(range_.key, range_.etag, str(error)))


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
