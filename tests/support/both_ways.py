"""Chunks read by columns and item by item: both must say the same, to the letter."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
import pandas as pd
import pyarrow as pa

from tests.support.containers import Shelf
from workers.errors import Malformed
from workers.sources.columns.batches import Batches
from workers.sources.columns.frames import readable_columns
from workers.sources.columns.json_lines import JsonLines
from workers.sources.formats import csv, csv_chunks
from workers.sources.formats.format import format_of
from workers.sources.formats.lines import Lines
from workers.sources.formats.reader import read_range
from workers.sources.formats.rows import Rows
from workers.sources.items import ItemReader
from workers.values import ByteRange, PlaceKind


class BothWays(NamedTuple):
    """How many chunks were read by columns, and those of them that differ from their items."""

    by_columns: int = 0
    differing: tuple[bytes, ...] = ()

    def and_(self, other: "BothWays") -> "BothWays":
        return BothWays(self.by_columns + other.by_columns, (*self.differing, *other.differing))


class Reader:
    """Reads chunks of items of one type in both ways."""

    def __init__(self, item: type[msgspec.Struct]) -> None:
        self.by_line = ItemReader(item)
        columns = readable_columns(item)
        assert columns, f"{item.__name__} is read line by line"
        self.json_lines = JsonLines(columns, self.by_line._decode)
        self.batches = Batches(columns)

    def read(self, content: bytes) -> BothWays:
        """Hold what columns say of a chunk against what its lines say, if they say anything."""
        batch = self.json_lines.read(content)
        return self._compared(batch, Lines(0, content), content)

    def read_rows(self, rows: pa.RecordBatch, is_text: bool = False) -> BothWays:
        """Hold what columns say of rows against what each row says, if they say anything."""
        verbatim = self.by_line.columns.verbatim
        run = Rows(rows, PlaceKind.ROW, range(len(rows)), is_text=is_text, verbatim=verbatim)
        return self._compared(self.batches.read(rows, is_text), run, str(rows.schema).encode())

    def _compared(self, batch: Any, run: Lines | Rows, shown: bytes) -> BothWays:
        if batch is None:
            return BothWays()

        rejected: list[Any] = []
        taken = self.by_line.items(run, lambda *bad: rejected.append(bad))
        is_same = (
            not rejected
            and list(taken.numbers) == list(range(len(batch)))
            and taken.run is run
            and is_same_frame(self.by_line.frame(batch), self.by_line.frame(taken.items))
        )
        return BothWays(1, () if is_same else (shown,))

    def read_with_lines(self, content: bytes) -> BothWays:
        """Read a chunk, and each different line of it as a chunk of its own."""
        read = self.read(content)
        for line in dict.fromkeys(content.split(b"\n")):
            read = read.and_(self.read(line))
        return read

    def read_block(self, key: str, body: bytes, by_line: bool = True) -> BothWays:
        """Read the chunks of a block, as far as it can be read, and the lines of JSON in them."""
        read_chunk = self.read_with_lines if by_line else self.read
        read = BothWays()
        with patch.object(csv_chunks, "MIN_BYTES", 1):
            for run in self._runs(key, body):
                if isinstance(run.content, pa.RecordBatch):
                    read = read.and_(self.read_rows(run.content, run.is_text))
                elif isinstance(run.content, bytes):
                    read = read.and_(read_chunk(run.content))
            if ".csv" in key:
                read = read.and_(self._read_csv(key, body))
        return read

    def _read_csv(self, key: str, body: bytes) -> BothWays:
        """Hold the rows of chunks of a CSV against those of its records."""
        rows = placed_rows(self._runs(key, body))
        with patch.object(csv, "clean_rows", lambda *_: None):
            is_same = placed_rows(self._runs(key, body)) == rows
        return BothWays(0, () if is_same else (body,))

    def _runs(self, key: str, body: bytes) -> Iterator[Any]:
        size = len(body)
        range_ = ByteRange(key=key, etag="e", size=size, start=0, end=size, items=1)
        with suppress(Malformed):
            yield from read_range(Shelf(body), range_, format_of(key), self.by_line.columns)


def placed_rows(runs: Iterable[Rows]) -> list[Any]:
    """Return rows with their places, and what a dead letter shows of them."""
    return [
        (str(run.place(number)), row, run.raw(number))
        for run in runs
        for number, row in enumerate(run.rows)
    ]


def is_same_frame(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Tell whether two frames have the same columns, dtypes and values, signs of zeros included."""
    return _columns(one) == _columns(other)


def _columns(frame: pd.DataFrame) -> list[tuple[Any, Any, str]]:
    return [(name, column.dtype, repr(column.tolist())) for name, column in frame.items()]
