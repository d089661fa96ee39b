"""The objects in the place of a partition: which of them are its blocks, and which lie beside.

All that lists blocks does so here, so that plans, sensors, rebuilds and `verify` see the same.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from workers.declare.asset import Asset
from workers.store import BlockStore
from workers.values import Block, Value


class LeftOut(Value, frozen=True, kw_only=True):
    """Objects that lie in the place of a partition beside its blocks, and are not read."""

    objects: int = 0
    # The key of the first.
    example: str = ""


class Object(NamedTuple):
    """What S3 says of an object in the place of a partition."""

    block: Block
    # Since it was written, by the clock of S3 alone.
    seconds: float
    # Whether it is one of the partition's blocks.
    is_data: bool


def is_data(asset: Asset, block: Block) -> bool:
    """Tell whether an object in the place of a partition is one of its blocks.

    Objects without a byte hold no item: they mark folders, or what was never written.
    """
    return asset.reads_hidden or (block.size > 0 and not asset.is_beside_data(block.key))


def objects_of_partition(asset: Asset, store: BlockStore, partition: str) -> Iterator[Object]:
    """Yield what lies in the place of one partition, data or not."""
    for prefix in asset.prefixes(partition):
        for block, seconds in store.list_aged(prefix):
            if asset.owner_of(block.key) == partition:
                yield Object(block, seconds, is_data(asset, block))


def blocks_and_left_out(
    asset: Asset, store: BlockStore, partition: str
) -> tuple[list[Block], LeftOut]:
    """Return the blocks of one partition by their keys, and what was left out beside them."""
    return parted(
        (each.block, each.is_data) for each in objects_of_partition(asset, store, partition)
    )


def parted(objects: Iterable[tuple[Block, bool]]) -> tuple[list[Block], LeftOut]:
    """Return blocks by their keys, and what was left out, of objects that are data or not."""
    blocks = []
    left_out = []
    for block, is_block in objects:
        if is_block:
            blocks.append(block)
        else:
            left_out.append(block.key)
    blocks.sort(key=lambda block: block.key)  # hours without a zero in front are listed by number
    return blocks, LeftOut(objects=len(left_out), example=min(left_out, default=""))


def blocks_of_partition(asset: Asset, store: BlockStore, partition: str) -> Iterator[Block]:
    """Yield the blocks of one partition."""
    for block, _ in aged_blocks(asset, store, partition):
        yield block


def aged_blocks(asset: Asset, store: BlockStore, partition: str) -> Iterator[tuple[Block, float]]:
    """Yield the blocks of one partition, each with the seconds since it was written.

    Both times are of the clock of S3, so that ours may be wrong.
    """
    for object_ in objects_of_partition(asset, store, partition):
        if object_.is_data:
            yield object_.block, object_.seconds


def blocks_with_owners(asset: Asset, store: BlockStore) -> Iterator[tuple[str, Block]]:
    """Yield the blocks of all partitions, each with its partition in front."""
    for block in store.list(asset.layout.root):
        owner = asset.owner_of(block.key)
        if owner and is_data(asset, block):
            yield owner, block
