"""From items to the frame that a task gets; its dtypes are those of the fields, whatever is read.

Text is pandas' `str`, with NaN where it is missing. Time is int64 milliseconds, Number is float64.
Whole numbers are int64, and float64 where one is missing; truth values then are objects. A list of
simple values is a column of Arrow's. Whatever else an item holds is what pandas makes of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from workers.contributions.columns import TEXT
from workers.declare.times import Time
from workers.declare.types import Number

text_dtype: Any = TEXT  # whose stubs lack what makes a column of Arrow's array
# A list of items, or what was read of them by columns: a record batch with a column a field.
Items = Sequence[Any]
PLAIN_TYPES: dict[Any, type] = {
    msgspec.inspect.StrType: str,
    msgspec.inspect.IntType: int,
    msgspec.inspect.FloatType: float,
    msgspec.inspect.BoolType: bool,
}
ARROW_TYPES = {
    str: pa.large_string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    Time: pa.int64(),
    Number: pa.float64(),
}


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A field of simple values, or of lists of them, which Arrow can hold in one column."""

    # What the item's type calls it, and what blocks do.
    name: str
    key: str
    # Of the values, or of the elements of lists: a key of ARROW_TYPES, or a Time in some unit.
    kind: type
    is_list: bool
    # None is one of its values.
    is_nullable: bool
    is_required: bool
    # Bounds in characters of text.
    min_length: int
    max_length: int | None
    # A column of it says all that reading each value says: text has no bounds but lengths, nothing
    # else has any, and what is missing is None.
    is_readable: bool

    @property
    def is_time(self) -> bool:
        """Whether it holds times, in whatever unit they are written."""
        return issubclass(self.kind, Time)

    @property
    def type(self) -> pa.DataType:
        """The type of its column in Arrow."""
        value_type = ARROW_TYPES[Time if self.is_time else self.kind]
        return pa.list_(value_type) if self.is_list else value_type


def item_columns(item: type[msgspec.Struct]) -> dict[str, Column | None]:
    """Return the columns of an item's fields by name; None where one is not of simple values."""
    info = msgspec.inspect.type_info(item)
    assert isinstance(info, msgspec.inspect.StructType)
    return {field.name: _column(field) for field in info.fields}


def readable_columns(item: type[msgspec.Struct]) -> list[Column]:
    """Return the columns in which items of a type can be read; none where that can say less.

    So it is with fields of other than simple values, with defaults other than None, and with types
    that have a say of their own in what an item is.
    """
    config = item.__struct_config__
    has_say = config.array_like or config.tag or config.forbid_unknown_fields
    if has_say or hasattr(item, "__post_init__"):
        return []

    columns = list(item_columns(item).values())
    readable = [column for column in columns if column and column.is_readable]
    return readable if len(readable) == len(columns) else []


def _column(field: msgspec.inspect.Field) -> Column | None:
    kind, is_nullable = _without_none(field.type)
    is_list = isinstance(kind, msgspec.inspect.ListType)
    has_bounds = is_list and bool(kind.min_length or kind.max_length is not None)
    values = _plain(kind.item_type) if is_list else kind

    value_kind: type | None = PLAIN_TYPES.get(type(values))
    if isinstance(values, msgspec.inspect.CustomType) and not is_list:
        is_ours = issubclass(values.cls, Time) or values.cls is Number
        value_kind = values.cls if is_ours else None
    if value_kind is None:
        return None

    is_text = isinstance(values, msgspec.inspect.StrType)
    is_bounded = any(
        getattr(values, name, None) is not None
        for name in ("pattern", "gt", "ge", "lt", "le", "multiple_of")
    )
    return Column(
        name=field.name,
        key=field.encode_name,
        kind=value_kind,
        is_list=is_list,
        is_nullable=is_nullable,
        is_required=field.required,
        min_length=(values.min_length or 0) if is_text else 0,
        max_length=values.max_length if is_text else None,
        is_readable=not (has_bounds or is_bounded) and (field.required or field.default is None),
    )


def _plain(kind: Any) -> Any:
    """Return a type without what its author notes about it."""
    return _plain(kind.type) if isinstance(kind, msgspec.inspect.Metadata) else kind


def _without_none(kind: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether it had it."""
    kind = _plain(kind)
    if not isinstance(kind, msgspec.inspect.UnionType):
        return kind, False
    others = [part for part in kind.types if not isinstance(part, msgspec.inspect.NoneType)]
    if len(others) != 1:
        return kind, False
    return _plain(others[0]), True


def join_items(parts: Sequence[Items]) -> Items:
    """Return the items of several parts, which are all of one kind, as one."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], pa.RecordBatch):
        batch: Items = pa.concat_batches(parts)
        return batch
    return [item for part in parts for item in part]


def to_frame(columns: Mapping[str, Column | None], items: Items) -> pd.DataFrame:
    """Return items as columns named as the type's fields."""
    values: dict[str, Any] = {}
    for name, column in columns.items():
        if isinstance(items, pa.RecordBatch):
            assert column
            values[name] = _to_pandas(column, items.column(name))
        else:
            values[name] = _of_values(column, [getattr(item, name) for item in items])
    return pd.DataFrame(values)


def _of_values(column: Column | None, values: list[Any]) -> Any:
    """Return values as their column; as they are where they are not of its type, or too large."""
    if column is None:
        return values
    if column.kind is Number:
        return np.array(values, dtype="float64")
    if column.is_time and not column.is_nullable:
        return np.array(values, dtype="int64")

    try:
        return _to_pandas(column, pa.array(values, column.type))
    except (ValueError, TypeError, OverflowError, pa.ArrowException):
        return values


def _to_pandas(column: Column, array: pa.Array) -> Any:
    if column.is_list:
        return pd.arrays.ArrowExtensionArray(array)
    if column.kind is str:
        return text_dtype.__from_arrow__(array)
    return array.to_numpy(zero_copy_only=False)
