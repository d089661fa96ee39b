"""Plans: which batches a partition consists of, which are reused, and which are to run."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec

from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch, Plan, Turn
from workers.planning.listing import PARTITIONS_AT_ONCE, Listing
from workers.planning.packing import pack
from workers.planning.sizing import Sizing, batch_seconds, decide_sizing, range_cost_items
from workers.sources.slicing import Sliced
from workers.store import REQUESTS_AT_ONCE, BlockStore
from workers.values import Range, Value

FIXED_STEPS = 6  # list, queue, reconcile, publish, at least one fold; and the run itself
STEP_SECONDS = 0.5  # what starting an op costs one slot


class Work(Value, frozen=True, kw_only=True):
    """What a run is about to do."""

    plans: list[Plan]
    new: list[Batch]
    # The batches, new and kept, that have no result yet, and their expected seconds.
    to_run: dict[str, float]
    sizing: Sizing
    # Those of them that failed before, or whose result is gone from S3.
    again: list[str]


class _Partition(NamedTuple):
    """A partition on its way to a plan."""

    listing: Listing
    planned: list[str]
    # Of these batches those that the ledger knows, and those that are new to it.
    known: dict[str, Batch]
    new: list[Batch]
    # The done ones whose result is gone from S3.
    lost: frozenset[str] = frozenset()


def expected_batch_items(asset: Asset, ledger: Ledger, slots: int) -> int:
    """Return a batch's items as far as they are known before the blocks are sampled."""
    return decide_sizing(asset.sizes, ledger.history(asset.name), 0, 0, slots).batch_items


def make_plans(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    run: str,
    listings: Sequence[Listing],
    sliced: Sequence[Sliced],
    slots: int,
) -> Work:
    """Pack new ranges beside kept batches; `Ledger.save` writes the answer, if it is to be done."""
    ranges = _ranges_by_partition(sliced)
    sizing = _sizing(asset, ledger, ranges, sliced, slots)
    work = Work(plans=[], new=[], to_run={}, again=[], sizing=sizing)

    for start in range(0, len(listings), PARTITIONS_AT_ONCE):
        some = listings[start : start + PARTITIONS_AT_ONCE]
        packed = [
            _pack(asset, task, listing, ranges.get(listing.partition, []), sizing)
            for listing in some
        ]
        for partition in _partitions(ledger, store, some, packed):
            _add(work, asset, task, run, partition)
    return work


def _partitions(
    ledger: Ledger,
    store: BlockStore,
    listings: Sequence[Listing],
    packed: Sequence[Sequence[Batch]],
) -> list[_Partition]:
    """Return what is known of the batches of partitions."""
    planned = [
        sorted([*listing.kept, *(batch.id for batch in new)])
        for listing, new in zip(listings, packed, strict=True)
    ]
    ledger_knows = ledger.batches_by_id(batch_id for ids in planned for batch_id in ids)

    partitions = []
    for listing, ids, batches in zip(listings, planned, packed, strict=True):
        known = {batch_id: ledger_knows[batch_id] for batch_id in ids if batch_id in ledger_knows}
        new = [batch for batch in batches if batch.id not in known]
        partitions.append(_Partition(listing, ids, known, new))

    lost = _without_result(store, [part.known for part in partitions])
    return [part._replace(lost=lost.intersection(part.known)) for part in partitions]


def _add(work: Work, asset: Asset, task: Task, run: str, partition: _Partition) -> None:
    """Add a partition to the work of a run."""
    listing, planned, known, new, lost = partition
    batches = known | {batch.id: batch for batch in new}
    for batch_id in planned:
        if not batches[batch_id].is_done or batch_id in lost:
            work.to_run[batch_id] = _expected_seconds(batches[batch_id], work.sizing)
    failed = [batch.id for batch in known.values() if batch.is_failed]
    work.again.extend([*lost, *failed])

    done = {batch.id for batch in known.values() if batch.is_done}
    base = [batch for batch in [*known.values(), *new] if not batch.is_redrive]
    work.new.extend(new)
    plan = _plan(asset, task.shown_version, listing, run, planned, done - lost, base)
    cost = work.sizing.seconds_per_item
    work.plans.append(msgspec.structs.replace(plan, seconds_per_item=cost))


def _ranges_by_partition(sliced: Iterable[Sliced]) -> dict[str, list[Range]]:
    """Bring together the ranges that several slicers cut, by partition."""
    by_partition: dict[str, list[Range]] = {}
    for group in sliced:
        for partition, ranges in group.ranges.items():
            by_partition.setdefault(partition, []).extend(ranges)
    return by_partition


def _sizing(
    asset: Asset,
    ledger: Ledger,
    ranges: Mapping[str, Sequence[Range]],
    sliced: Sequence[Sliced],
    slots: int,
) -> Sizing:
    """Choose the size of batches for all that was sliced."""
    items = sum(range_.items for parts in ranges.values() for range_ in parts)
    blocks = sum(len({range_.key for range_ in parts}) for parts in ranges.values())
    plain_bytes = sum(group.plain_bytes for group in sliced)

    history = ledger.history(asset.name)
    return decide_sizing(asset.sizes, history, items, plain_bytes, slots, blocks)


def _pack(
    asset: Asset, task: Task, listing: Listing, ranges: Sequence[Range], sizing: Sizing
) -> list[Batch]:
    """Return the new batches of a partition, those of a redrive included."""
    # What was observed in one generation says nothing of another.
    generation = listing.generation if task.observe else 0
    packed = pack(
        asset,
        listing.version,
        listing.partition,
        ranges,
        sizing.batch_items,
        range_cost_items(sizing.seconds_per_item),
        Turn(generation, listing.round, listing.recount),
    )
    return packed + listing.ready


def _without_result(store: BlockStore, partitions: Sequence[Mapping[str, Batch]]) -> frozenset[str]:
    """Return the done batches whose result is no longer in S3; they come by partition."""
    results: dict[str, str] = {}
    folders: set[str] = set()
    for batches in partitions:
        for batch in batches.values():
            if batch.is_done:
                results[batch.id] = batch.finished_outcome.result
                folders.add(batch.finished_outcome.result.rpartition("/")[0])

    def keys_in(folder: str) -> list[str]:
        return [block.key for block in store.list(f"{folder}/")]

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        present = {key for keys in pool.map(keys_in, sorted(folders)) for key in keys}
    return frozenset(batch_id for batch_id, key in results.items() if key not in present)


def _expected_seconds(batch: Batch, sizing: Sizing) -> float:
    return batch_seconds(sizing.seconds_per_item, batch.items, len(batch.ranges))


def _plan(
    asset: Asset,
    shown_version: str,
    listing: Listing,
    run: str,
    batch_ids: list[str],
    reused: Iterable[str],
    base: Iterable[Batch],
) -> Plan:
    return Plan(
        asset=asset.name,
        partition=listing.partition,
        run=run,
        version=listing.version,
        shown_version=shown_version,
        generation=listing.generation,
        round=listing.round,
        listed=listing.listed,
        blocks_digest=listing.blocks_digest,
        blocks=listing.blocks,
        bytes=listing.bytes,
        batches=batch_ids,
        reused=sorted(reused),
        items=sum(batch.items for batch in base),
        removed=listing.removed,
    )


def describe_work(work: Work, slicers: int, workers: int) -> dict[str, Any]:
    """Return a plan in numbers, for people and for programs."""
    steps = FIXED_STEPS + slicers + workers
    return {
        "blocks": sum(plan.blocks for plan in work.plans),
        "bytes": sum(plan.bytes for plan in work.plans),
        "items_estimated": sum(plan.items for plan in work.plans),
        "slicers": slicers,
        "batches": sum(len(plan.batches) for plan in work.plans),
        "batches_reused": sum(len(plan.reused) for plan in work.plans),
        "workers": workers,
        "batch_items": work.sizing.batch_items,
        "decided_by": work.sizing.decided_by,
        "seconds_per_item": work.sizing.seconds_per_item,
        "learned_from_batches": work.sizing.learned_from,
        "work_seconds": round(sum(work.to_run.values()), 1),
        "overhead_seconds": round(steps * STEP_SECONDS, 1),
    }
