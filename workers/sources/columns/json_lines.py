"""Lines of JSON to columns at once, where that surely gives what reading each line gives.

Arrow reads a chunk two times as fast as items can be made one by one, but it takes several values
on a line for several rows, NaN for a number and -0 for a float. So the bytes of a chunk are looked
at first, and what Arrow made of them after. Wherever there is a doubt the answer is None, and the
chunk is read line by line: that Arrow refuses costs time, and never an item.
"""

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.json

from workers.declare.types import Number
from workers.sources.columns.conversion import are_within, has_good_values, to_numbers, to_times
from workers.sources.columns.frames import Column
from workers.sources.formats.lines import is_utf_8

# Bytes from which on a call of Arrow, which costs 0.2 ms in any case, is worth it.
MIN_BYTES = 32 << 10
# Brackets that open on a line, at most: none is nested deeper. msgspec gives up at 1,000 levels of
# nesting and calls; Arrow never does.
MAX_OPENINGS = 100
NEWLINE, CARRIAGE_RETURN, OPENING, CLOSING = b"\n\r{}"
BRACKET = ord("[")
ALL_BUT_CASE = 0xDF  # the bit that differs between { and [, and no others of JSON's marks

# Numbers that Arrow takes and JSON does not have, where a value can stand. (Expressions that begin
# with letters are found ten times as fast.)
NO_NUMBERS = {
    b"NaN": re.compile(rb"NaN(?<=[\s:,\[-]NaN)"),
    b"Inf": re.compile(rb"Inf(?<=[\s:,\[-]Inf)"),
}
# msgspec takes it for the whole number 0, which has no sign.
NEGATIVE_ZERO = re.compile(rb"-0[\s,}\]]")


class JsonLines:
    """Reads chunks of JSON lines into record batches, with the columns of an item's fields."""

    def __init__(self, columns: Sequence[Column], decode_item: Callable[[bytes], Any]) -> None:
        self._columns = columns
        # Reads one line, where a column does not tell whether a value was null or absent.
        self._decode = decode_item
        self._key_types = {column.key: column.type for column in columns}

    def read(self, content: bytes) -> pa.RecordBatch | None:
        """Return a chunk's items; None where they are to be read line by line."""
        newlines = _newlines_between_objects(content)
        if newlines is None or not _is_shallow(content, newlines) or _has_no_number(content):
            return None

        schema = self._schema(content[: _end_of_line(content)])
        table = _read(content, schema) if schema and is_utf_8(content) else None
        if table is None or table.num_rows != len(newlines) + 1:
            return None

        arrays = []
        for column in self._columns:
            array = _checked(column, table.column(column.key).combine_chunks(), content)
            if array is None:
                return None
            arrays.append(array)
        if not self._are_missing_rightly(table, content):
            return None
        return pa.RecordBatch.from_arrays(arrays, [column.name for column in self._columns])

    def _schema(self, line: bytes) -> pa.Schema | None:
        """Return the types of columns; times and numbers are what they are on the first line."""
        try:
            values = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

        types = dict(self._key_types)
        for column in self._columns:
            value = values.get(column.key)
            is_ours = column.is_time or column.kind is Number
            if is_ours and isinstance(value, str):
                types[column.key] = pa.large_string()
            elif is_ours and isinstance(value, float):
                types[column.key] = pa.float64()
        return pa.schema(list(types.items()))

    def _are_missing_rightly(self, table: pa.Table, content: bytes) -> bool:
        """Tell whether what a field wants said is null wherever it has no value, and not absent."""
        numbers: set[int] = set()
        for column in self._columns:
            nulls = table.column(column.key)
            if column.is_required and nulls.null_count:
                numbers.update(np.flatnonzero(nulls.is_null()).tolist())
        if not numbers:
            return True

        lines = content.split(b"\n")
        try:
            for number in numbers:
                self._decode(lines[number])
        except msgspec.DecodeError:
            return False
        return True


def _read(content: bytes, schema: pa.Schema) -> pa.Table | None:
    read_options = pyarrow.json.ReadOptions(use_threads=False, block_size=len(content) + 1)
    parse_options = pyarrow.json.ParseOptions(
        explicit_schema=schema, unexpected_field_behavior="ignore"
    )
    try:
        return pyarrow.json.read_json(pa.BufferReader(content), read_options, parse_options)
    except pa.ArrowException:
        return None


# What the bytes say


def _newlines_between_objects(content: bytes) -> np.ndarray | None:
    """Return where newlines stand, if each stands between two objects; None otherwise.

    No JSON has a newline there but between two values: in a list there would be a comma, in a text
    a newline is escaped. So what has as many values as lines has one on each.
    """
    if not (content.startswith(b"{") and content.endswith((b"}", b"}\r"))):
        return None

    data = np.frombuffer(content, dtype="uint8")
    newlines = np.flatnonzero(data == NEWLINE)
    ends = data[newlines - 1]
    if CARRIAGE_RETURN in ends:
        ends = np.where(ends == CARRIAGE_RETURN, data[newlines - 2], ends)
    is_between = (ends == CLOSING).all() and (data[newlines + 1] == OPENING).all()
    return newlines if is_between else None


def _is_shallow(content: bytes, newlines: np.ndarray) -> bool:
    """Tell whether no line can be nested deeply."""
    longest = np.diff(newlines, prepend=-1, append=len(content)).max()
    if longest <= 2 * MAX_OPENINGS:  # as each bracket is closed, or Arrow refuses the line
        return True

    data = np.frombuffer(content, dtype="uint8")
    brackets = np.flatnonzero((data & ALL_BUT_CASE) == BRACKET)
    before = np.concatenate(([0], np.searchsorted(brackets, newlines), [len(brackets)]))
    return bool(np.diff(before).max() <= MAX_OPENINGS)


def _has_no_number(content: bytes) -> bool:
    """Tell whether NaN or Infinity may stand for a number.

    A single letter is looked for first: where there is none, that takes a tenth of the time.
    """
    return any(
        word[:1] in content and word in content and form.search(content)
        for word, form in NO_NUMBERS.items()
    )


def _end_of_line(content: bytes) -> int:
    end = content.find(b"\n")
    return len(content) if end < 0 else end


# What the values say


def _checked(column: Column, array: pa.Array, content: bytes) -> pa.Array | None:
    """Return a column as the item's type has it; None where a value of it would be refused."""
    if not has_good_values(column, array):
        return None
    values = array.flatten() if column.is_list else array
    if pa.types.is_floating(values.type) and _may_differ(values, content):
        return None

    if column.is_time:
        return to_times(column.kind, array)
    return to_numbers(array) if column.kind is Number else array


def _may_differ(floats: pa.Array, content: bytes) -> bool:
    """Tell whether a float may be none that an item has.

    Arrow takes 0.02e310 for infinity, and a zero may be -0: that is a whole number where it has no
    point, and without a sign.
    """
    if not are_within(floats, -sys.float_info.max, sys.float_info.max):
        return True
    values = floats.to_numpy(zero_copy_only=False)
    has_negative_zero = bool((np.signbit(values) & (values == 0)).any())
    return has_negative_zero and NEGATIVE_ZERO.search(content) is not None
