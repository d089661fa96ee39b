"""What is in a partition, held against its newest plan: what is kept, and what is to be sliced."""

from collections.abc import Iterable, Sequence

from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch, as_batch
from workers.sources.slicing import Gap, gaps
from workers.sources.source import source_of
from workers.store import BlockStore
from workers.values import NO_ROUND, Range, Round, Value, blocks_digest


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
        news=blocks_digest(blocks),
        blocks=len(blocks),
        bytes=sum(block.size for block in blocks),
        kept=[batch.id for batch in kept],
        made=[],
        gaps=[] if asset.source and covered else found,  # ranges of ids leave nothing out
    )


def groups_of(asset: Asset, listings: Iterable[Listing]) -> list[list[Gap]]:
    """Return what is to be sliced, in groups for one master each."""
    work = [gap for listing in listings for gap in listing.gaps]
    each = asset.sizes.blocks_per_slicer
    return [work[start : start + each] for start in range(0, len(work), each)]


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
