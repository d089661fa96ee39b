"""Blocks in S3 as items."""

from collections.abc import Iterator, Sequence

from workers.declare.asset import Asset, Sizes
from workers.sources.formats.format import format_of
from workers.sources.formats.lines import Lines
from workers.sources.formats.reader import read_range
from workers.sources.formats.rows import Rows
from workers.sources.slicing import Gap, Sliced, slice_gaps
from workers.store import BlockStore
from workers.values import Block, Range


class Blocks:
    """Blocks in S3, written as the asset declares or as their suffixes say."""

    def __init__(self, store: BlockStore, declared: str) -> None:
        self.store, self.declared = store, declared

    def blocks(self, asset: Asset, partition: str) -> list[Block]:
        return list(self.store.of_partition(asset, partition))

    def cut(
        self, gaps: Sequence[Gap], sizes: Sizes, batch_items: int, dry_run: bool = False
    ) -> Sliced:
        return slice_gaps(self.store, gaps, self.declared, sizes, batch_items, dry_run)

    def read(self, cut: Range, columns: Sequence[str]) -> Iterator[Lines | Rows]:
        return read_range(self.store, cut, format_of(cut.key, self.declared), columns)
