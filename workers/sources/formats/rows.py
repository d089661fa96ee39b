"""A run of rows, as CSV, text and Parquet give them."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from workers.values import Place, PlaceKind


class Rows(msgspec.Struct, frozen=True):
    """A run of rows by column, with their places; a row that could not be read is its reason."""

    rows: list[dict[str, Any] | str]
    # What the positions count: with one of them it makes the place of a row.
    kind: PlaceKind
    positions: Sequence[int] | Sequence[str]
    # Rows of text, as in CSV, are converted to the item's types; others must have them.
    is_text: bool

    def place(self, index: int) -> Place:
        """Return the place of a row in its block."""
        return Place(kind=self.kind, position=self.positions[index])

    def raw(self, index: int) -> bytes:
        """Return a row as a dead letter shows it."""
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
        return [Rows(rows, self.kind, positions, is_text=self.is_text)]
