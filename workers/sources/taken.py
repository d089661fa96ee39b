"""What was read and has not contributed yet, and where each item of it was read."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa

from workers.sources.columns.frames import Items, join_items
from workers.sources.formats.lines import Lines
from workers.sources.formats.rows import Rows
from workers.values import Place, Range

# Items, and runs of them, that contribute together: a call costs as much for ten as for a thousand,
# and pandas' share of it only vanishes with many thousands. Memory bounds them: items that were
# made one by one take many times the bytes of columns.
CHUNK_ITEMS = 10_000
CHUNK_COLUMN_ITEMS = 100_000
CHUNK_BYTES = 8 << 20
CHUNK_RUNS = 64


class Taken(NamedTuple):
    """The items of a run that can be read, and the number of each in the run."""

    run: Lines | Rows
    items: Items
    numbers: Sequence[int]

    @property
    def is_by_columns(self) -> bool:
        """Whether no object was made for each item."""
        return not isinstance(self.items, list)

    def only(self, indices: Sequence[int]) -> "Taken":
        """Return the items at these indices alone."""
        if len(indices) == len(self.items):
            return self
        numbers = [self.numbers[index] for index in indices]
        if isinstance(self.items, pa.RecordBatch):
            return Taken(self.run, self.items.take(pa.array(indices, pa.int64())), numbers)
        return Taken(self.run, [self.items[index] for index in indices], numbers)

    def without(self, places: Collection[Place]) -> "Taken":
        """Return the items but for those at some places."""
        are_kept = [self.run.place(number) not in places for number in self.numbers]
        return self.only([index for index, is_kept in enumerate(are_kept) if is_kept])


class Origin(NamedTuple):
    """Where an item was read: its number in a run of a range."""

    range_: Range
    run: Lines | Rows
    number: int

    @property
    def place(self) -> Place:
        return self.run.place(self.number)


Part = tuple[Range, Taken]


class TakenItems(NamedTuple):
    """Items that can contribute together, and what tells where each was read."""

    items: Items
    origin_of: Callable[[int], Origin]


class Waiting:
    """Items that wait for others to contribute with."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Let nothing wait any more."""
        self._parts: list[Part] = []
        # Those of the parts, from the first on, that were filtered.
        self._filtered = 0
        self.items = 0
        # Those of them that were made one by one.
        self._objects = 0
        self._bytes = 0

    def add(self, range_: Range, taken: Taken) -> None:
        """Let the items of a run wait."""
        self._parts.append((range_, taken))
        self.items += len(taken.items)
        self._objects += 0 if taken.is_by_columns else len(taken.items)
        self._bytes += taken.run.nbytes

    def filter(self, keep: Callable[[list[Part]], Iterable[Part]]) -> None:
        """Let only what `keep` returns wait on, of the items that it has not been asked about."""
        known, new = self._parts[: self._filtered], self._parts[self._filtered :]
        if new:
            kept = list(keep(new))
            self.clear()
            for range_, taken in [*known, *kept]:
                self.add(range_, taken)
        self._filtered = len(self._parts)

    @property
    def is_full(self) -> bool:
        """Whether they are as many as should contribute together."""
        return (
            self._objects >= CHUNK_ITEMS
            or self.items >= CHUNK_COLUMN_ITEMS
            or self._bytes >= CHUNK_BYTES
            or len(self._parts) >= CHUNK_RUNS
        )

    @property
    def read_singly(self) -> list[Any]:
        """The items that wait; none where some of them were read by columns."""
        if self._objects < self.items:
            return []
        return [item for _, taken in self._parts for item in taken.items]

    def take(self) -> Iterator[TakenItems]:
        """Yield all that wait: those read one by one together, and those read by columns."""
        by_kind: dict[bool, list[Part]] = {}
        for range_, taken in self._parts:
            by_kind.setdefault(taken.is_by_columns, []).append((range_, taken))
        self.clear()

        for parts in by_kind.values():
            yield _joined(parts)


def _joined(parts: Sequence[Part]) -> TakenItems:
    starts = list(accumulate((len(taken.items) for _, taken in parts), initial=0))

    def origin_of(index: int) -> Origin:
        part = bisect_right(starts, index) - 1
        range_, taken = parts[part]
        return Origin(range_, taken.run, taken.numbers[index - starts[part]])

    return TakenItems(join_items([taken.items for _, taken in parts]), origin_of)
