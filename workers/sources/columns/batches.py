"""Columns of rows to those of an item at once, where the rows one by one would say the same.

Types of Parquet, ORC and Arrow are held against those that msgspec takes for a field without
converting: whole numbers for `int`, text for `str`, and so on. Any other type, and any value that
would be refused, leaves the rows to be read one by one; so it is with the text of CSV.
"""

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.types as pt

from workers.declare.types import Number
from workers.sources.columns.conversion import has_good_values, moments, to_numbers, to_times
from workers.sources.columns.frames import Column
from workers.sources.columns.text import of_text


class Batches:
    """Reads batches of rows into record batches with the columns of an item's fields."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns

    def read(self, batch: pa.RecordBatch, is_text: bool) -> pa.RecordBatch | None:
        """Return the items of rows; None where these are to be read one by one.

        Rows of text are converted, and an empty cell of them says nothing.
        """
        arrays = []
        for column in self._columns:
            array = _converted(column, batch, of_text if is_text else _as_type)
            if array is None:
                return None
            arrays.append(array)
        return pa.RecordBatch.from_arrays(arrays, [column.name for column in self._columns])


def _converted(
    column: Column, batch: pa.RecordBatch, convert: Callable[[Column, pa.Array], pa.Array | None]
) -> pa.Array | None:
    """Return the column of a field; None where its rows are to be read one by one."""
    if column.key not in batch.schema.names:
        return None if column.is_required else pa.nulls(len(batch), column.type)

    array = convert(column, batch.column(column.key))
    if array is None or not has_good_values(column, array):
        return None
    if column.is_time:
        return to_times(column.kind, array)
    return to_numbers(array) if column.kind is Number else array


def _as_type(column: Column, array: pa.Array) -> pa.Array | None:
    """Return an array with the type of its column; of times and numbers, with one they have."""
    try:
        array.validate(full=True)  # text is UTF-8, which is left to whoever reads it
        kind = _type_for(column, array.type)
        if kind is None:
            return None
        if pt.is_timestamp(kind):
            return moments(array)
        return array if kind == array.type else array.cast(kind, safe=not pt.is_floating(kind))
    except pa.ArrowException:
        return None


def _type_for(column: Column, kind: pa.DataType) -> pa.DataType | None:
    """Return the type to cast an array of a type to; None where its values would not all do."""
    if column.is_list:
        is_list = pt.is_list(kind) or pt.is_large_list(kind)
        value_type = _value_type(column.kind, kind.value_type) if is_list else None
        return None if value_type is None else pa.list_(value_type)
    if pt.is_dictionary(kind):
        return _value_type(column.kind, kind.value_type)
    return _value_type(column.kind, kind)


def _value_type(wanted: type, kind: pa.DataType) -> pa.DataType | None:
    is_text = pt.is_string(kind) or pt.is_large_string(kind)
    if wanted is str:
        return pa.large_string() if is_text else None
    if wanted is bool:
        return pa.bool_() if pt.is_boolean(kind) else None
    if wanted is int:
        return pa.int64() if pt.is_integer(kind) else None
    if wanted is float:
        return pa.float64() if pt.is_integer(kind) or pt.is_floating(kind) else None
    return _type_of_ours(wanted, kind, is_text)


def _type_of_ours(wanted: type, kind: pa.DataType, is_text: bool) -> pa.DataType | None:
    """Return the type in which times and numbers are converted."""
    if is_text:
        return pa.large_string()
    if wanted is Number:
        return pa.float64() if pt.is_integer(kind) or pt.is_floating(kind) else None
    if pt.is_timestamp(kind) or pt.is_date32(kind):
        return pa.timestamp("us")
    if pt.is_integer(kind):
        return pa.int64()
    return pa.float64() if pt.is_floating(kind) else None
