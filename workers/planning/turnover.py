"""Which blocks of partitions came and left, where copies of an item count once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch
from workers.ledger.stays import StayState
from workers.values import Block


class Turnover(NamedTuple):
    """What a new listing of a partition changes."""

    # The stays that are over from now on.
    leaving: Sequence[int] = ()
    # Which recount new batches are of.
    recount: int = 0


class OpenStays:
    """The stays of the blocks that partitions had, or may still hold in profiles."""

    def __init__(self, asset: Asset, ledger: Ledger, partitions: Sequence[str]) -> None:
        self._asset, self._stays = asset.name, ledger.stays
        self._open = ledger.stays.open(asset.name, partitions) if asset.unique else {}
        self._recounts = ledger.stays.recounts(asset.name, partitions) if asset.unique else {}

    def turnover(self, partition: str, blocks: Sequence[Block]) -> Turnover:
        """Return what it changes that a partition consists of these blocks now."""
        present = {(block.key, block.etag) for block in blocks}
        leaving = [
            stay.id
            for stay in self._open.get(partition, [])
            if stay.state is StayState.LEAVING or (stay.key, stay.etag) not in present
        ]

        recount = self._recounts.get(partition, 0)
        if leaving:
            without = self._stays.recount_without(self._asset, partition, leaving)
            recount = max(recount, without)
        return Turnover(leaving, recount)


def record_stays(
    asset: Asset,
    ledger: Ledger,
    leaving: Mapping[str, Sequence[int]],
    new: Sequence[Batch],
) -> list[Batch]:
    """Record which stays are over, by partition, and that the blocks of new batches are there.

    Returns the new batches with the stays of what they read.
    """
    ledger.stays.leave(asset.name, leaving)
    blocks: dict[str, set[Block]] = defaultdict(set)
    for batch in new:
        blocks[batch.partition].update(range_.block for range_ in batch.ranges)
    ids = ledger.stays.begin(asset.name, blocks)
    return [
        msgspec.structs.replace(
            batch, stays=sorted({ids[range_.key, range_.etag] for range_ in batch.ranges})
        )
        for batch in new
    ]


def end_stays_of_old(asset: Asset, ledger: Ledger, generation: int) -> None:
    """Let copies of items elsewhere count what blocks counted that a finished rebuild lacks."""
    plans = ledger.folded.newest_folds(asset.name, generation)
    ledger.end_stays(asset.name, list(plans.values()))

    dropped = {
        partition: [stay.id for stay in stays]
        for partition, stays in ledger.stays.open(asset.name).items()
        if partition not in plans
    }
    ledger.stays.leave(asset.name, dropped)
    ledger.stays.end(asset.name, dict.fromkeys(dropped, ()))
