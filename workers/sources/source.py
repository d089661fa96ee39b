"""What a source of items can do; blocks in S3 and the profiles of another asset are sources.

Both are listed as blocks, cut into ranges and read as lines or rows, so whatever lies between a
listing and a worker's items is the same for both.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from workers.declare.asset import Asset, Sizes
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch
from workers.sources.blocks import Blocks
from workers.sources.formats.header import Columns
from workers.sources.formats.lines import Lines
from workers.sources.formats.rows import Rows
from workers.sources.gaps import Gap
from workers.sources.heads import NONE_ASKED, AskedHeads
from workers.sources.profiles import Profiles
from workers.sources.slicing import Sliced
from workers.store import BlockStore
from workers.values import Block, Range


class Source(Protocol):
    """What a kind of source can do."""

    def blocks(self, asset: Asset, partition: str) -> list[Block]:
        """Return the blocks of a partition."""

    def slice(
        self,
        gaps: Sequence[Gap],
        columns: Columns,
        sizes: Sizes,
        batch_items: int,
        dry_run: bool = False,
    ) -> Sliced:
        """Cut gaps into ranges of a fraction of a batch each; a dry run writes nothing."""

    def read(
        self, ranges: Sequence[Range], columns: Columns
    ) -> Iterator[tuple[Range, Iterator[Lines | Rows]]]:
        """Yield each range with what starts in it.

        Malformed comes out of the inner iterator where a block breaks off, after all that was
        good; the ranges behind are read all the same.
        """


def source_of(
    owner: Asset | Batch, ledger: Ledger, store: BlockStore, asked: AskedHeads = NONE_ASKED
) -> Source:
    """Return the source of an asset's, or a batch's, items; some heads may have been asked for."""
    if not owner.source:
        return Blocks(store, owner.format, asked)

    if isinstance(owner, Batch):
        own_profiles = ledger.profiles(owner.asset, owner.generation)
    else:
        own_profiles = ledger.profiles(owner.name)
    return Profiles(ledger, ledger.profiles(owner.source), own_profiles)
