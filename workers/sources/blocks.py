"""Blocks in S3 as a source: list those of a partition, slice them, read them."""

from collections.abc import Iterator, Sequence

from workers.declare.asset import Asset, Sizes
from workers.sources.formats.format import format_of
from workers.sources.formats.lines import Lines
from workers.sources.formats.reader import read_range
from workers.sources.formats.rows import Rows
from workers.sources.slicing import Gap, Sliced, slice_gaps
from workers.store import BlockStore
from workers.values import Block, Range


def blocks_of_partition(asset: Asset, store: BlockStore, partition: str) -> Iterator[Block]:
    """Yield the blocks of one partition."""
    for block, _ in aged_blocks(asset, store, partition):
        yield block


def aged_blocks(asset: Asset, store: BlockStore, partition: str) -> Iterator[tuple[Block, float]]:
    """Yield the blocks of one partition, each with the seconds since it was written.

    Both times are of the clock of S3, so that ours may be wrong.
    """
    for prefix in asset.prefixes(partition):
        for block, age in store.list_aged(prefix):
            if asset.partition_of(block.key) == partition:
                yield block, age


class Blocks:
    """Blocks in S3, written as the asset declares or as their suffixes say."""

    def __init__(self, store: BlockStore, declared: str) -> None:
        self.store = store
        self.declared = declared

    def blocks(self, asset: Asset, partition: str) -> list[Block]:
        return list(blocks_of_partition(asset, self.store, partition))

    def slice(
        self, gaps: Sequence[Gap], sizes: Sizes, batch_items: int, dry_run: bool = False
    ) -> Sliced:
        return slice_gaps(self.store, gaps, self.declared, sizes, batch_items, dry_run)

    def read(self, range_: Range, columns: Sequence[str]) -> Iterator[Lines | Rows]:
        return read_range(self.store, range_, format_of(range_.key, self.declared), columns)
