"""A run of rows, as CSV, text and Parquet give them."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from workers.sources.formats.containers.arrow_values import values_of
from workers.values import Place, PlaceKind


class Rows(msgspec.Struct, frozen=True):
    """A run of rows by column, with their places; a row that could not be read is its reason."""

    # The rows, or the columns that they are made from once somebody asks for a row.
    content: list[dict[str, Any] | str] | pa.RecordBatch
    # What the positions count: with one of them it makes the place of a row.
    kind: PlaceKind
    positions: Sequence[int] | Sequence[str]
    # Rows of text, as in CSV, are converted to the item's types; others must have them.
    is_text: bool
    # The bytes of each row as they stand, where a row was made from bytes.
    raws: Sequence[bytes] = ()
    # What a person should know of the block; the first run of it says so.
    warnings: tuple[str, ...] = ()
    # Columns that the block's key says, for rows that lack them; None is a missing value.
    path: dict[str, str | None] = {}
    # Columns that take dates and bytes as they are, where rows are made from columns.
    verbatim: frozenset[str] = frozenset()

    @property
    def rows(self) -> list[dict[str, Any] | str]:
        """The rows, one by one."""
        if isinstance(self.content, pa.RecordBatch):
            rows = values_of(self.content, self.verbatim)
            msgspec.structs.force_setattr(self, "content", rows)
        rows_: list[dict[str, Any] | str] = self.content
        return rows_

    @property
    def nbytes(self) -> int:
        """What the rows take in memory; of rows one by one, what their bytes take."""
        if isinstance(self.content, pa.RecordBatch):
            return int(self.content.nbytes)
        return sum(map(len, self.raws))

    def every_position(self) -> np.ndarray:
        """Return what tells each row from the others of its block, whatever range it is read in.

        It is what its place counts.
        """
        return np.array(self.positions, np.int64)

    def place(self, index: int) -> Place:
        """Return the place of a row in its block."""
        return Place(kind=self.kind, position=self.positions[index])

    def raw(self, index: int) -> bytes:
        """Return a row as a dead letter shows it."""
        if self.raws:
            return self.raws[index]
        row = self.rows[index]
        return b"" if isinstance(row, str) else msgspec.json.encode(row, enc_hook=str)

    def pick(self, places: Collection[Place]) -> "list[Rows]":
        """Return the rows at these places as one run; no run where there are none."""
        wanted = {place.position for place in places if place.kind is self.kind}
        numbers = [number for number, position in enumerate(self.positions) if position in wanted]
        if not numbers:
            return []

        rows = [self.rows[number] for number in numbers]
        positions: list[Any] = [self.positions[number] for number in numbers]
        raws = [self.raws[number] for number in numbers] if self.raws else []
        return [
            msgspec.structs.replace(self, content=rows, positions=positions, raws=raws, warnings=())
        ]
