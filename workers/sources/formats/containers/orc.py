"""ORC: read stripes through ranged requests.

Our own reading of the footer says where stripes lie and how many rows they have; Arrow reads
stripes, in a process of its own. A stripe is held in memory whole, with the wanted columns. One
with times that Arrow does not have gets these from us.
"""

from collections.abc import Iterator
from itertools import chain

import pyarrow as pa

from workers.errors import Malformed
from workers.sources.formats.containers.groups import (
    CHUNK_ROWS,
    DAMAGE,
    Container,
    Group,
    S3File,
    read_groups,
)
from workers.sources.formats.containers.orc_footer import (
    Ending,
    Footer,
    read_ending,
    read_footer,
)
from workers.sources.formats.containers.orc_process import Died, Window, read_stripe
from workers.sources.formats.containers.orc_times import read_times
from workers.sources.formats.header import Columns
from workers.sources.formats.rows import Rows
from workers.store import Opener
from workers.values import Block, Place, Range

POSTSCRIPT_BYTES = 256  # bytes of a postscript at most


def orc_groups(store: Opener, block: Block | Range) -> list[Group]:
    """Return the stripes of a block; Malformed where its footer cannot be right."""
    return _File(store, block).footer.groups


def read_orc(store: Opener, range_: Range, columns: Columns) -> Iterator[Rows]:
    """Yield the rows of the stripes that start in a range, with the wanted columns."""
    file = _File(store, range_)
    groups = dict(enumerate(file.footer.groups))
    container = Container("stripe", groups, file.footer.names, file.batches)
    yield from read_groups(container, range_, columns)


class _File:
    """A block by its footer."""

    def __init__(self, store: Opener, block: Block | Range) -> None:
        self._size = block.size
        self._file = S3File(store, block)
        self._window = Window(self._file, block.size)
        self._ending, self.footer = self._read()

    def _read(self) -> tuple[Ending, Footer]:
        size = self._size
        try:
            tail = self._file.between(max(size - POSTSCRIPT_BYTES, 0), size)
            ending = read_ending(tail, size)
            end = size - ending.bytes
            data = self._file.between(end - ending.footer_bytes, end)
            return ending, read_footer(data, ending, size)
        except (Malformed, *DAMAGE) as error:
            raise Malformed(f"not ORC: {error}", Place.rest(0)) from error

    def batches(self, number: int, wanted: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a stripe; Arrow's errors and OSError where it is damaged."""
        runs = read_stripe(self._window, self._size, number, wanted)
        try:
            first = next(runs, None)
        except Died:
            raise
        except DAMAGE:
            times = [name for name in wanted if name in self.footer.times]
            if not times:
                raise
            yield from self._with_times(number, wanted, times)
            return
        if first:
            yield from chain([first], runs)

    def _with_times(
        self, number: int, wanted: list[str], times: list[str]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a stripe, with times that we have read."""
        rows = self.footer.groups[number].rows
        stripe = self.footer.stripes[number]
        arrays = {}
        for name in times:
            column, is_moment = self.footer.times[name]
            arrays[name] = read_times(
                self._window.between, stripe, self._ending, column, is_moment, rows
            )

        others = [name for name in wanted if name not in times]
        if not others:
            yield from pa.table(arrays).to_batches(CHUNK_ROWS)
            return

        first_row = 0
        for batch in read_stripe(self._window, self._size, number, others):
            parts = [array.slice(first_row, len(batch)) for array in arrays.values()]
            yield pa.RecordBatch.from_arrays(batch.columns + parts, [*batch.schema.names, *arrays])
            first_row += len(batch)
