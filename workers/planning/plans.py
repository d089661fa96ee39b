"""Plans: which batches a partition consists of, which are reused, and which are to run."""

from collections.abc import Iterable, Sequence
from typing import Any

from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch, Plan
from workers.planning.listing import Listing, groups_of, list_partition
from workers.planning.packing import pack, share
from workers.planning.sizing import Sizing, batch_seconds, decide_sizing, part_items
from workers.sources.slicing import Sliced
from workers.sources.source import source_of
from workers.store import BlockStore
from workers.values import Document, Range, Value

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


def expected_batch_items(ledger: Ledger, asset: Asset, slots: int) -> int:
    """Return a batch's items as far as they are known before the blocks are sampled."""
    return decide_sizing(asset.sizes, ledger.history(asset.name), 0, 0, slots).batch_items


def preview(
    store: BlockStore,
    ledger: Ledger,
    asset: Asset,
    task: Task,
    partitions: Iterable[str],
    slots: int,
) -> tuple[Work, int]:
    """Return what a run would do, and by how many masters; nothing at all is written."""
    generation = ledger.claims.generation(asset.name)
    listings = [list_partition(store, ledger, asset, task, p, generation) for p in partitions]
    full, groups = expected_batch_items(ledger, asset, slots), groups_of(asset, listings)
    source = source_of(asset, store, ledger)
    sliced = [source.cut(one, asset.sizes, full, dry_run=True) for one in groups]
    return make_plans(store, ledger, asset, "preview", listings, sliced, slots), len(groups)


def describe_work(work: Work, asset: Asset, slicers: int, slots: int) -> dict[str, Any]:
    """Return a plan in numbers, for people and for programs."""
    workers = len(share(work.to_run, slots, asset.sizes))
    steps = FIXED_STEPS + slicers + workers
    return {
        "blocks": sum(made.blocks for made in work.plans),
        "bytes": sum(made.bytes for made in work.plans),
        "items_estimated": sum(made.items for made in work.plans),
        "masters": slicers,
        "batches": sum(len(made.batches) for made in work.plans),
        "batches_reused": sum(len(made.reused) for made in work.plans),
        "workers": workers,
        "batch_items": work.sizing.batch_items,
        "decided_by": work.sizing.decided_by,
        "seconds_per_item": work.sizing.seconds_per_item,
        "learned_from_batches": work.sizing.learned_from,
        "work_seconds": round(sum(work.to_run.values()), 1),
        "overhead_seconds": round(steps * STEP_SECONDS, 1),
    }


def make_plans(
    store: BlockStore,
    ledger: Ledger,
    asset: Asset,
    run: str,
    listings: Sequence[Listing],
    groups: Sequence[Sliced],
    slots: int,
) -> Work:
    """Pack new ranges beside kept batches; `Ledger.save` writes the answer, if it is to be done."""
    ranges = _gather(groups)
    items = sum(one.items for cuts in ranges.values() for one in cuts)
    plain_bytes = sum(group.plain_bytes for group in groups)
    parts = sum(len({one.key for one in cuts}) for cuts in ranges.values())
    sizing = decide_sizing(
        asset.sizes, ledger.history(asset.name), items, plain_bytes, slots, parts
    )
    part = part_items(sizing.seconds_per_item)
    work = Work(plans=[], new=[], to_run={}, again=[], sizing=sizing)
    for listing in listings:
        cuts, size = ranges.get(listing.partition, []), sizing.batch_items
        packed = pack(asset, listing.version, listing.partition, cuts, size, part, listing.round)
        packed += listing.made
        batches = sorted([*listing.kept, *(batch.id for batch in packed)])
        known = {b["_id"]: b for b in ledger.batches.find({"_id": {"$in": batches}})}
        new = [batch for batch in packed if batch.id not in known]
        done = {i for i, b in known.items() if b["state"] == "done"}
        lost: list[str] = []
        if not _is_closed(ledger, asset, listing, batches):
            lost = _without_result(store, known.values())
            expected = {b["_id"]: (b["items"], b["parts"]) for b in known.values()}
            expected |= {b.id: (b.items, len(b.ranges)) for b in new}
            work.to_run.update(
                {
                    one: batch_seconds(sizing.seconds_per_item, *expected[one])
                    for one in batches
                    if one not in done or one in lost
                }
            )
            failed = [i for i, b in known.items() if b["state"] == "failed"]
            work.again.extend([*lost, *failed])
        work.new.extend(new)
        work.plans.append(
            Plan(
                asset=asset.name,
                partition=listing.partition,
                run=run,
                version=listing.version,
                generation=listing.generation,
                round=listing.round.number,
                listed=listing.listed,
                news=listing.news,
                blocks=listing.blocks,
                bytes=listing.bytes,
                batches=batches,
                reused=sorted(done - set(lost)),
                items=sum(b["items"] for b in known.values() if not b["redrives"])
                + sum(b.items for b in new if not b.redrives),
            )
        )
    return work


def _is_closed(ledger: Ledger, asset: Asset, listing: Listing, batches: list[str]) -> bool:
    """Tell whether a partition is closed, so that nothing of it is run; Refused where changed."""
    closed = ledger.claims.closed(
        {
            "asset": asset.name,
            "generation": listing.generation,
            "partition": listing.partition,
            "round": listing.round.number,
        }
    )
    if closed and closed["batches"] != batches:
        raise Refused(
            f"{asset.name}: partition {listing.partition} is closed (more than "
            f"{asset.open_partitions} partitions behind the newest), and its blocks, its code or "
            f"its dead letters have changed since. `fanfold rebuild {asset.name}` makes all "
            "profiles anew from the partitions as they are now; finished batches are reused"
        )
    return closed is not None


def _without_result(store: BlockStore, batches: Iterable[Document]) -> list[str]:
    """Return the done batches whose result is no longer in S3."""
    done = {b["_id"]: b["outcome"]["result"] for b in batches if b["state"] == "done"}
    if not done:
        return []
    folder = next(iter(done.values())).rpartition("/")[0]
    there = {block.key for block in store.list(f"{folder}/")}
    return [batch for batch, key in done.items() if key not in there]


def _gather(groups: Iterable[Sliced]) -> dict[str, list[Range]]:
    """Bring together the ranges that several masters cut, by partition."""
    ranges: dict[str, list[Range]] = {}
    for group in groups:
        for partition, cuts in group.ranges.items():
            ranges.setdefault(partition, []).extend(cuts)
    return ranges
