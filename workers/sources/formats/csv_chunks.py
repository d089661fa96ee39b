"""Chunks of CSV in which each line is a row by itself: columns of text at once.

Without a quote and an escape a line is a record, and its delimiters part its cells, for Arrow as
for Python's parser. So a chunk that has neither, and as many delimiters on each line as there are
columns but one, needs no parser of records. Of any other chunk the answer is None.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from workers.sources.formats.format import Format
from workers.sources.formats.lines import BOM, Lines, is_utf_8
from workers.sources.formats.rows import Rows
from workers.values import PlaceKind

MIN_BYTES = 4 << 10  # of fewer the records are read as fast
NEWLINE = ord("\n")


class _Each(Sequence[Any]):
    """So many values, each made once somebody asks for it."""

    def __init__(self, count: int, make: Callable[[int], Any]) -> None:
        self._count = count
        self._make = make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._make(index)


def clean_rows(run: Lines, names: Sequence[str], form: Format, offset: int) -> Rows | None:
    """Return the rows of a run, at an offset of its block; None where it may not be clean."""
    content = run.content
    if not isinstance(content, bytes) or len(content) < MIN_BYTES or content.startswith(BOM):
        return None

    lines = content
    if b"\r" in content:
        lines = content.replace(b"\r\n", b"\n").removesuffix(b"\r")
    if not _is_clean(lines, names, form):
        return None

    batch = _read(lines, names, form)
    if batch is None or len(batch) != lines.count(b"\n") + 1:
        return None
    starts = _Each(len(batch), lambda index: run.offset(index) + offset)
    raws = _Each(len(batch), lambda index: run.lines[index].removesuffix(b"\r"))
    return Rows(batch, PlaceKind.BYTE, starts, is_text=True, raws=raws)


def _is_clean(content: bytes, names: Sequence[str], form: Format) -> bool:
    """Tell whether each line has the cells of a row, and is none that repeats the names."""
    marks = (form.quote, form.escape, "\r", "\0")
    if any(mark.encode() in content for mark in marks if mark):
        return False
    if len(names) < 2 or len(set(names)) < len(names) or not form.delimiter.isascii():
        return False
    if form.delimiter.join(names).encode() in content or not is_utf_8(content):
        return False

    data = np.frombuffer(content, dtype="uint8")
    delimiters = np.flatnonzero(data == ord(form.delimiter))
    newlines = np.flatnonzero(data == NEWLINE)
    before = np.concatenate(([0], np.searchsorted(delimiters, newlines), [len(delimiters)]))
    return bool((np.diff(before) == len(names) - 1).all())


def _read(content: bytes, names: Sequence[str], form: Format) -> pa.RecordBatch | None:
    read_options = pyarrow.csv.ReadOptions(
        use_threads=False, block_size=len(content) + 1, column_names=names
    )
    parse_options = pyarrow.csv.ParseOptions(
        delimiter=form.delimiter,
        quote_char=False,
        double_quote=False,
        escape_char=False,
        newlines_in_values=False,
        ignore_empty_lines=False,
    )
    convert_options = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.large_string()),
        null_values=[],
        strings_can_be_null=False,
    )
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content), read_options, parse_options, convert_options
        )
    except pa.ArrowException:
        return None

    arrays = [column.combine_chunks() for column in table.columns]
    if form.nulls:
        nulls = pa.array(form.nulls, pa.large_string())
        arrays = [pc.if_else(pc.is_in(array, nulls), "", array) for array in arrays]
    return pa.RecordBatch.from_arrays(arrays, list(names))
