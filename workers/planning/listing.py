"""What is in a partition, held against its newest plan: what is kept, and what is to be sliced."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import msgspec

from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch, Plan, Removed
from workers.ledger.removals import explain_removals, removed_since
from workers.planning.turnover import OpenStays, Turnover
from workers.sources.gaps import Gap, gaps_of
from workers.sources.objects import LeftOut
from workers.sources.source import source_of
from workers.sources.together import View, view_partition, view_together
from workers.store import REQUESTS_AT_ONCE, BlockStore
from workers.values import Block, Range, SegmentRange, Value, blocks_digest

PARTITIONS_AT_ONCE = 100  # whose plans and batches are read together, and held in memory


class Listing(Value, frozen=True, kw_only=True):
    """A partition as it lies in S3 now, held against the newest plan of it."""

    partition: str
    version: str
    generation: int
    round: int
    listed: float
    blocks_digest: str
    blocks: int
    bytes: int
    # What lies beside the blocks.
    left_out: LeftOut = LeftOut()
    # What went of the blocks that the profiles were made of.
    removed: Removed = Removed()
    # Batches of that plan whose blocks are all unchanged; they are never cut anew.
    kept: list[str]
    # New batches that need no slicer: a redrive's.
    ready: list[Batch]
    gaps: list[Gap]
    # Where copies of an item count once: which recount new batches are of, and the stays of blocks
    # that are not there any more.
    recount: int = 0
    leaving: list[int] = msgspec.field(default_factory=list)


class Group(Value, frozen=True, kw_only=True):
    """Gaps for one slicer, and the items that a batch will have as far as is known."""

    gaps: list[Gap]
    batch_items: int


class _Kept(NamedTuple):
    """The batches of the newest plan that a new one takes over, and the ranges they cover."""

    batches: list[Batch]
    ranges: dict[str, list[Range]]


class _Planned(NamedTuple):
    """The newest plans of partitions, and the batches of those that the code as it is made."""

    plans: Mapping[str, Plan]
    batches: Mapping[str, list[Batch]]
    # Those whose blocks are not to be lost: that which the profiles were made from.
    folds: Mapping[str, Plan]
    # Of the blocks of all of them, where copies of an item count once.
    stays: OpenStays


def list_partitions(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    partitions: Sequence[str],
    generation: int,
) -> list[Listing]:
    """List partitions, each held against the blocks that the profiles as they are were made of.

    What a task observed of the world stays though the blocks that asked for it go.
    """
    views = {} if asset.source else view_together(asset, store, partitions, ledger.now)
    listings: list[Listing] = []
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        for start in range(0, len(partitions), PARTITIONS_AT_ONCE):
            some = partitions[start : start + PARTITIONS_AT_ONCE]
            planned = _newest(asset, task, ledger, some)
            each = partial(list_partition, asset, task, ledger, store, generation, planned, views)
            listings += pool.map(each, some)
    return listings


def held_back(asset: Asset, listings: Iterable[Listing], is_rebuild: bool = False) -> str:
    """Return why partitions are held back that lost too many blocks; "" where none is."""
    removals = [(listing.partition, listing.removed) for listing in listings]
    return explain_removals(asset, removals, is_rebuild)


def _newest(asset: Asset, task: Task, ledger: Ledger, partitions: Sequence[str]) -> _Planned:
    plans = ledger.newest_plans(asset.name, partitions)
    of_this_code = [plan for plan in plans.values() if plan.version == task.version]
    folds: dict[str, Plan] = {}
    if not task.observe:
        current = ledger.claims.generation(asset.name)
        folds = ledger.folded.newest_folds(asset.name, current, *partitions)
    stays = OpenStays(asset, ledger, partitions)
    return _Planned(plans, ledger.batches_by_plan(of_this_code), folds, stays)


def list_partition(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    generation: int,
    newest: _Planned,
    views: Mapping[str, View],
    partition: str,
) -> Listing:
    """List a partition's blocks and find which parts of them are not planned yet.

    It may have been listed already, together with others.
    """
    view = views.get(partition) or _view(asset, ledger, store, partition)
    listed, blocks, left_out = view

    round_ = ledger.round_of(asset.name, partition, generation) if task.observe else 0
    planned = _planned_batches(asset, task, ledger, newest, partition, generation, round_)
    turnover = Turnover()
    if asset.unique:
        turnover = newest.stays.turnover(partition, blocks)
        planned = [batch for batch in planned if not batch.is_outdated_without(turnover.leaving)]
    kept = _kept_batches(store, task.version, planned, blocks)

    gaps: list[Gap] = []
    for block in blocks:
        gaps += gaps_of(partition, block, kept.ranges.get(block.key, []))
    if asset.source and kept.ranges:
        gaps = []  # ranges of ids leave nothing out

    return Listing(
        partition=partition,
        version=task.version,
        generation=generation,
        round=round_,
        listed=listed,
        blocks_digest=blocks_digest(blocks),
        blocks=len(blocks),
        bytes=sum(block.size for block in blocks),
        left_out=left_out,
        removed=removed_since(ledger, newest.folds.get(partition), blocks),
        kept=[batch.id for batch in kept.batches],
        ready=[],
        gaps=gaps,
        recount=turnover.recount,
        leaving=list(turnover.leaving),
    )


def _view(asset: Asset, ledger: Ledger, store: BlockStore, partition: str) -> View:
    """Return what is in a partition now."""
    if asset.source:
        listed = ledger.now()
        blocks = source_of(asset, ledger, store).blocks(asset, partition)
        return View(listed, blocks, LeftOut())
    return view_partition(asset, store, partition, ledger.now)


def _planned_batches(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    newest: _Planned,
    partition: str,
    generation: int,
    round_: int,
) -> list[Batch]:
    """Return the batches of the newest plan that this code made, read as the asset says now.

    Of a task that observes the world, only a run that was not folded left anything to keep.
    """
    plan = newest.plans.get(partition)
    if plan is None:
        return []

    is_same = not task.observe or (plan.generation, plan.round) == (generation, round_)
    if is_same and plan.id in newest.batches:
        batches = newest.batches[plan.id]
    else:
        same = {"generation": generation, "round": round_} if task.observe else {}
        batches = ledger.planned_batches(asset.name, task.version, partition, **same)
    said = (asset.format, asset.known_only, asset.unique)
    return [batch for batch in batches if (batch.format, batch.known_only, batch.unique) == said]


def _kept_batches(
    store: BlockStore, version: str, planned: Sequence[Batch], blocks: Sequence[Block]
) -> _Kept:
    """Return the planned batches that still stand, with what they cover of each block."""
    present = {(block.key, block.etag) for block in blocks}
    unchanged = [batch for batch in planned if _lies_in(batch, present)]
    base = [batch for batch in unchanged if not batch.is_redrive]
    lost = _blocks_without_segments(store, base)
    base = [batch for batch in base if not any(part.key in lost for part in batch.ranges)]

    ranges: dict[str, list[Range]] = defaultdict(list)
    for batch in base:
        for range_ in batch.ranges:
            ranges[range_.key].append(range_)

    # A redrive counts only beside the batches that found its items dead.
    kept = {batch.id for batch in base}
    redrives = [
        batch
        for batch in unchanged
        if batch.is_redrive
        and kept.issuperset(batch.parents)
        and (batch.is_done or batch.version == version)
    ]
    return _Kept([*base, *redrives], ranges)


def _lies_in(batch: Batch, present: set[tuple[str, str]]) -> bool:
    """Tell whether all that a batch reads is there, unchanged."""
    return all((range_.key, range_.etag) in present for range_ in batch.ranges)


def _blocks_without_segments(store: BlockStore, batches: Sequence[Batch]) -> set[str]:
    """Return the blocks that have to be cut anew: segments of them are needed and gone."""
    needed: set[tuple[str, str]] = set()
    for batch in batches:
        if not batch.is_done:
            segments = [part for part in batch.ranges if isinstance(part, SegmentRange)]
            needed.update((part.key, part.folder) for part in segments)
    return {key for key, folder in needed if not store.exists(f"{folder}/manifest.json")}


def groups_of(asset: Asset, listings: Iterable[Listing], batch_items: int) -> list[Group]:
    """Return what is to be sliced, in groups for one slicer each."""
    gaps = [gap for listing in listings for gap in listing.gaps]
    size = asset.sizes.blocks_per_slicer
    return [
        Group(gaps=gaps[start : start + size], batch_items=batch_items)
        for start in range(0, len(gaps), size)
    ]
