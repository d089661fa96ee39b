"""What a run of a partition has to do: list its blocks, keep what was planned, plan what is new.

`fanfold plan` and the graph's ops call the same functions, so that what one shows the other does.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from workers.blocks import BlockStore
from workers.errors import Refused
from workers.ledger import Ledger, Plan
from workers.model import NO_ROUND, Asset, Batch, Document, Range, Round, Value, news
from workers.sizing import Sizing, batch_seconds, decide, part_items, share
from workers.slicing import Gap, Sliced, gaps, pack
from workers.sources import source_of
from workers.task import Task

FIXED_STEPS = 6  # list, queue, reconcile, publish, at least one fold; and the run itself
STEP_SECONDS = 0.5  # what starting an op costs one slot


class Listing(Value, frozen=True, kw_only=True):
    """A partition as it lies in S3 now, held against the newest plan of it."""

    partition: str
    version: str
    generation: int
    round: Round
    listed: float
    news: str
    blocks: int
    bytes: int
    # Batches of that plan whose blocks are all unchanged; they are never cut anew.
    kept: list[str]
    # Batches that are cut already, without a master: a redrive's.
    made: list[Batch]
    gaps: list[Gap]


class Work(Value, frozen=True, kw_only=True):
    """What a run is about to do."""

    plans: list[Plan]
    new: list[Batch]
    # The batches, new and kept, that have no result yet, and their expected seconds.
    to_run: dict[str, float]
    sizing: Sizing
    # Those of them that failed before, or whose result is gone from S3.
    again: list[str]


def list_partition(
    store: BlockStore,
    ledger: Ledger,
    asset: Asset,
    task: Task,
    partition: str,
    generation: int,
) -> Listing:
    """List a partition's blocks and find which parts of them are not planned yet.

    For a task that looks at the world, only a run that was not folded left anything to keep.
    """
    listed, version = ledger.now(), task.version
    blocks = source_of(asset, store, ledger).blocks(asset, partition)
    present = {(block.key, block.etag) for block in blocks}
    number, same = NO_ROUND, {}
    if task.observe:
        number = Round(generation, ledger.round_of(asset.name, partition, generation))
        same = {"generation": generation, "round": number.number}
    documents = ledger.planned_batches(asset.name, version, partition, **same)
    planned = [as_batch(one) for one in documents if one["format"] == asset.format]
    unfinished = {b["_id"] for b in documents if b["state"] != "done"}
    kept = [b for b in planned if all((r.key, r.etag) in present for r in b.ranges)]
    redrives = [b for b in kept if b.redrives]
    kept = [b for b in kept if not b.redrives]
    recut = _without_pieces(store, kept, unfinished)
    kept = [b for b in kept if not any(r.key in recut for r in b.ranges)]
    covered: dict[str, list[Range]] = {}
    for batch in kept:
        for cut in batch.ranges:
            covered.setdefault(cut.key, []).append(cut)
    # A redrive counts only beside the batches that found its items dead.
    ids = {b.id for b in kept}
    kept += [
        b
        for b in redrives
        if ids.issuperset(b.parents) and (b.id not in unfinished or b.version == version)
    ]
    found = [gap for b in blocks for gap in gaps(partition, b, covered.get(b.key, []))]
    return Listing(
        partition=partition,
        version=version,
        generation=generation,
        round=number,
        listed=listed,
        news=news(blocks),
        blocks=len(blocks),
        bytes=sum(block.size for block in blocks),
        kept=[batch.id for batch in kept],
        made=[],
        gaps=[] if asset.source and covered else found,  # ranges of ids leave nothing out
    )


def groups_of(asset: Asset, listings: Iterable[Listing]) -> list[list[Gap]]:
    """Return what is to be sliced, in groups for one master each."""
    work = [gap for listing in listings for gap in listing.gaps]
    each = asset.sizes.blocks_per_master
    return [work[start : start + each] for start in range(0, len(work), each)]


def grain_of(ledger: Ledger, asset: Asset, slots: int) -> int:
    """Return a batch's items as far as they are known before the blocks are sampled."""
    return decide(asset.sizes, ledger.history(asset.name), 0, 0, slots).batch_items


def preview(
    store: BlockStore,
    ledger: Ledger,
    asset: Asset,
    task: Task,
    partitions: Iterable[str],
    slots: int,
) -> tuple[Work, int]:
    """Return what a run would do, and by how many masters; nothing at all is written."""
    generation = ledger.epochs.generation(asset.name)
    listings = [list_partition(store, ledger, asset, task, p, generation) for p in partitions]
    full, groups = grain_of(ledger, asset, slots), groups_of(asset, listings)
    source = source_of(asset, store, ledger)
    sliced = [source.cut(one, asset.sizes, full, dry=True) for one in groups]
    return make_plans(store, ledger, asset, "preview", listings, sliced, slots), len(groups)


def describe(work: Work, asset: Asset, masters: int, slots: int) -> dict[str, Any]:
    """Return a plan in numbers, for people and for programs."""
    workers = len(share(work.to_run, slots, asset.sizes))
    steps = FIXED_STEPS + masters + workers
    return {
        "blocks": sum(made.blocks for made in work.plans),
        "bytes": sum(made.bytes for made in work.plans),
        "items_estimated": sum(made.items for made in work.plans),
        "masters": masters,
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
    sizing = decide(asset.sizes, ledger.history(asset.name), items, plain_bytes, slots, parts)
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
    closed = ledger.epochs.closed(
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
            f"{asset.keep_open} partitions behind the newest), and its blocks, its code or "
            f"its dead letters have changed since. `fanfold rebuild {asset.name}` makes all "
            "profiles anew from the partitions as they are now; finished batches are reused"
        )
    return closed is not None


def as_batch(document: Document) -> Batch:
    """Return the batch that a document of the ledger holds."""
    return Batch.of({**document, "id": document["_id"]})


def _without_result(store: BlockStore, batches: Iterable[Document]) -> list[str]:
    """Return the done batches whose result is no longer in S3."""
    done = {b["_id"]: b["outcome"]["result"] for b in batches if b["state"] == "done"}
    if not done:
        return []
    folder = next(iter(done.values())).rpartition("/")[0]
    there = {block.key for block in store.list(f"{folder}/")}
    return [batch for batch, key in done.items() if key not in there]


def _without_pieces(store: BlockStore, kept: Sequence[Batch], unfinished: set[str]) -> set[str]:
    """Return the blocks that have to be cut anew: pieces of them are needed and gone."""
    needed = {
        (one.key, one.piece.rpartition("/")[0])
        for batch in kept
        if batch.id in unfinished
        for one in batch.ranges
        if one.piece
    }
    return {key for key, folder in needed if not store.exists(f"{folder}/manifest.json")}


def _gather(groups: Iterable[Sliced]) -> dict[str, list[Range]]:
    """Bring together the ranges that several masters cut, by partition."""
    ranges: dict[str, list[Range]] = {}
    for group in groups:
        for partition, cuts in group.ranges.items():
            ranges.setdefault(partition, []).extend(cuts)
    return ranges
