"""What a run of a partition has to do: list its blocks, keep what was planned, plan what is new.

`fanfold plan` and the graph's ops call the same functions, so that what one shows the other does.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workers.blocks import OWN, BlockStore
from workers.errors import Refused
from workers.ledger import Document, Ledger, Plan
from workers.model import Asset, Batch, Range, Value, news
from workers.slicing import Gap, batch_seconds, gaps, pack


class Listing(Value, frozen=True, kw_only=True):
    """A partition as it lies in S3 now, held against the newest plan of it."""

    partition: str
    news: str
    blocks: int
    bytes: int
    # Batches of that plan whose blocks are all unchanged; they are never cut anew.
    kept: list[str]
    gaps: list[Gap]


class Work(Value, frozen=True, kw_only=True):
    """What a run is about to do."""

    plans: list[Plan]
    new: list[Batch]
    # The batches, new and kept, that have no result yet, and their expected seconds.
    to_run: dict[str, float]
    # Those of them that were done, but whose result is gone from S3.
    lost: list[str]


def result_key(batch: Batch) -> str:
    """Return the S3 key of a batch's result."""
    return f"{OWN}results/{batch.asset}/{batch.partition}/{batch.id}.parquet"


def list_partition(
    store: BlockStore, ledger: Ledger, asset: Asset, version: str, partition: str
) -> Listing:
    """List a partition's blocks and find which parts of them are not planned yet."""
    blocks = list(store.list(asset.prefix(partition)))
    present = {(block.key, block.etag) for block in blocks}
    planned = [_batch(doc) for doc in ledger.planned_batches(asset.name, version, partition)]
    kept = [b for b in planned if all((r.key, r.etag) in present for r in b.ranges)]
    covered: dict[str, list[Range]] = {}
    for batch in kept:
        for cut in batch.ranges:
            covered.setdefault(cut.key, []).append(cut)
    return Listing(
        partition=partition,
        news=news(blocks),
        blocks=len(blocks),
        bytes=sum(block.size for block in blocks),
        kept=[batch.id for batch in kept],
        gaps=[gap for b in blocks for gap in gaps(partition, b, covered.get(b.key, []))],
    )


def make_plans(
    store: BlockStore,
    ledger: Ledger,
    asset: Asset,
    version: str,
    run: str,
    listings: Sequence[Listing],
    ranges: Mapping[str, Sequence[Range]],
) -> Work:
    """Pack new ranges beside kept batches; `Ledger.save` writes the answer, if it is to be done."""
    work = Work(plans=[], new=[], to_run={}, lost=[])
    for listing in listings:
        packed = pack(asset, version, listing.partition, ranges.get(listing.partition, []))
        batches = sorted([*listing.kept, *(batch.id for batch in packed)])
        known = {b["_id"]: b for b in ledger.batches.find({"_id": {"$in": batches}})}
        lost = _without_result(store, known.values())
        reused = {i for i, b in known.items() if b["state"] == "done"} - set(lost)
        items = {b["_id"]: b["items"] for b in known.values()}
        items |= {b.id: b.items for b in packed}
        work.new.extend(batch for batch in packed if batch.id not in known)
        work.lost.extend(lost)
        work.to_run.update(
            {one: batch_seconds(asset.sizes, items[one]) for one in batches if one not in reused}
        )
        work.plans.append(
            Plan(
                asset=asset.name,
                partition=listing.partition,
                run=run,
                version=version,
                news=listing.news,
                blocks=listing.blocks,
                bytes=listing.bytes,
                batches=batches,
                reused=len(reused),
                items=sum(items.values()),
            )
        )
    _check_closed(ledger, asset, work.plans)
    return work


def _batch(document: Document) -> Batch:
    return Batch.of({**document, "id": document["_id"]})


def _without_result(store: BlockStore, batches: Iterable[Document]) -> list[str]:
    """Return the done batches whose result is no longer in S3."""
    done = {b["_id"]: result_key(_batch(b)) for b in batches if b["state"] == "done"}
    if not done:
        return []
    folder = next(iter(done.values())).rpartition("/")[0]
    there = {block.key for block in store.list(f"{folder}/")}
    return [batch for batch, key in done.items() if key not in there]


def _check_closed(ledger: Ledger, asset: Asset, plans: Sequence[Plan]) -> None:
    for plan in plans:
        closed = ledger.closed(asset.name, plan.partition)
        if closed and closed["batches"] != plan.batches:
            raise Refused(
                f"{asset.name}: partition {plan.partition} is closed (more than "
                f"{asset.keep_open} partitions behind the newest) and its blocks or code have "
                f"changed since. To fold it all the same, drop the collection {asset.name} and "
                "this asset's documents in plans, and run all its partitions again; finished "
                "batches are reused"
            )


def gather(groups: Iterable[Mapping[str, Sequence[Any]]]) -> dict[str, list[Range]]:
    """Bring together the ranges that several masters cut, by partition."""
    ranges: dict[str, list[Range]] = {}
    for group in groups:
        for partition, cuts in group.items():
            ranges.setdefault(partition, []).extend(Range.of(cut) for cut in cuts)
    return ranges
