"""Blocks in S3 as a source: list those of a partition, slice them, read them."""

from collections.abc import Iterator, Sequence
from urllib.parse import unquote

import msgspec

from workers.declare.asset import Asset, Sizes
from workers.errors import Malformed
from workers.sources.formats.header import Columns
from workers.sources.formats.lines import Lines
from workers.sources.formats.reader import read_range
from workers.sources.formats.rows import Rows
from workers.sources.gaps import Gap
from workers.sources.heads import NONE_ASKED, AskedHeads, Head, read_heads
from workers.sources.objects import blocks_of_partition
from workers.sources.slicing import Sliced, slice_gaps
from workers.store import BlockStore
from workers.values import Block, BrokenRange, Place, Range

# What Hive, and all that writes as it does, puts into a key for a missing value.
MISSING_IN_PATH = "__HIVE_DEFAULT_PARTITION__"


class Blocks:
    """Blocks in S3, written as their first bytes, their suffixes and the asset say."""

    def __init__(self, store: BlockStore, declared: str, asked: AskedHeads = NONE_ASKED) -> None:
        self.store = store
        self.declared = declared
        self.asked = asked

    def blocks(self, asset: Asset, partition: str) -> list[Block]:
        return list(blocks_of_partition(asset, self.store, partition))

    def slice(
        self,
        gaps: Sequence[Gap],
        columns: Columns,
        sizes: Sizes,
        batch_items: int,
        dry_run: bool = False,
    ) -> Sliced:
        return slice_gaps(self.store, gaps, self.declared, columns, sizes, batch_items, dry_run)

    def read(
        self, ranges: Sequence[Range], columns: Columns
    ) -> Iterator[tuple[Range, Iterator[Lines | Rows]]]:
        heads = read_heads(self.store, [range_.block for range_ in ranges], self.asked)
        for range_, head in zip(ranges, heads, strict=True):
            yield range_, self._read(range_, head, columns)

    def _read(self, range_: Range, head: Head, columns: Columns) -> Iterator[Lines | Rows]:
        """Yield what starts in a range, with the columns that the block's key says."""
        if isinstance(range_, BrokenRange):
            raise Malformed(range_.reason, range_.place)

        path = path_columns(range_.key, columns)
        columns = columns.without(path)
        form = head.look(self.declared, columns)
        try:
            for run in read_range(head, range_, form, columns):
                yield msgspec.structs.replace(run, path=path) if path else run
        except Malformed as error:
            # What concerns the whole block is said once, by the range that begins it.
            if error.place != Place.rest(0) or not range_.start:
                raise


def path_columns(key: str, columns: Columns) -> dict[str, str | None]:
    """Return the columns that a key says, as in `action=like/part-0.parquet`; None is missing."""
    path: dict[str, str | None] = {}
    for folder in key.split("/")[:-1]:
        name, is_column, text = folder.partition("=")
        name = unquote(name)
        if is_column and name in columns.names:
            path[name] = None if text == MISSING_IN_PATH else unquote(text)
    return path
