"""A run of rows, as CSV, text and Parquet give them."""

from typing import Any

import msgspec


class Rows(msgspec.Struct, frozen=True):
    """A run of rows by column, with their places; a row that could not be read is its reason."""

    rows: list[dict[str, Any] | str]
    places: list[str]
    # Rows of text, as in CSV, are converted to the item's types; others must have them.
    is_text: bool

    def place(self, index: int) -> str:
        """Name the place of a row in its block."""
        return self.places[index]

    def raw(self, index: int) -> bytes:
        """Return a row as a dead letter shows it."""
        row = self.rows[index]
        return b"" if isinstance(row, str) else msgspec.json.encode(row, enc_hook=str)
