"""From Arrow's columns to rows of Python's values, as items take them.

A time is a datetime in UTC, whatever its unit and zone; without a zone it is UTC. A date is its
midnight, and bytes that are UTF-8 are text, unless the item's own field wants dates or bytes. A
map is a dict. What no Python value can say, such as the year 10000, is the reason of its row.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

Convert = Callable[[Any], Any]


def values_of(batch: pa.RecordBatch, verbatim: frozenset[str]) -> list[dict[str, Any] | str]:
    """Return rows as Python's values; a row of which a value has none is the reason.

    Dates and bytes stay what they are in the columns named `verbatim`.
    """
    names = batch.schema.names
    reasons: dict[int, str] = {}
    values = []
    for name, array in zip(names, batch.columns, strict=True):
        values.append(_column(name, array, name in verbatim, reasons))

    rows: list[dict[str, Any] | str] = [
        dict(zip(names, cells, strict=True)) for cells in zip(*values, strict=True)
    ]
    for number, reason in reasons.items():
        rows[number] = reason
    return rows


def validated(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch after all of its buffers were checked; Arrow's own error where one is wrong.

    Text that is not UTF-8 passes: it concerns its own row, and no other.
    """
    for array in batch.columns:
        _as_bytes(array).validate(full=True)
    return batch


def _as_bytes(array: pa.Array) -> pa.Array:
    """Return an array of text as one of bytes; any other as it is."""
    if pt.is_string(array.type):
        return array.view(pa.binary())
    return array.view(pa.large_binary()) if pt.is_large_string(array.type) else array


def _column(name: str, array: pa.Array, is_verbatim: bool, reasons: dict[int, str]) -> list[Any]:
    """Return the values of a column; `reasons` hears of each that has none."""
    convert = _converter(array.type, is_verbatim)
    with suppress(Exception):  # whatever converting raises concerns some of these values
        return _values(_plain(array), convert)

    values = []
    for number in range(len(array)):
        try:
            values += _values(_plain(array.slice(number, 1)), convert)
        except Exception as error:  # noqa: BLE001  and here, just this one
            reasons.setdefault(number, f"column {name}: {type(error).__name__}: {error}")
            values.append(None)
    return values


def _values(array: pa.Array, convert: Convert | None) -> list[Any]:
    values: list[Any] = array.to_pylist()
    if convert is None:
        return values
    return [None if value is None else convert(value) for value in values]


def _plain(array: pa.Array) -> pa.Array:
    """Return an array of types whose values are plain Python's, with times in UTC."""
    kind = _plain_type(array.type)
    # Only nanoseconds are cut, to the microseconds that Python has: nothing can overflow.
    return array if kind == array.type else array.cast(kind, safe=False)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pt.is_timestamp(kind):
        unit = "us" if kind.unit == "ns" else kind.unit
        return pa.timestamp(unit, "UTC" if kind.tz else None)
    if kind in (pa.duration("ns"), pa.time64("ns")):
        return pa.duration("us") if pt.is_duration(kind) else pa.time64("us")
    if pt.is_dictionary(kind):
        return _plain_type(kind.value_type)
    return _plain_nested(kind)


def _plain_nested(kind: pa.DataType) -> pa.DataType:
    if pt.is_struct(kind):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in kind])
    if pt.is_map(kind):
        key = kind.key_field.with_type(_plain_type(kind.key_type))
        return pa.map_(key, kind.item_field.with_type(_plain_type(kind.item_type)))
    if not _is_list(kind):
        return kind

    field = kind.value_field.with_type(_plain_type(kind.value_type))
    if pt.is_fixed_size_list(kind):
        return pa.list_(field, kind.list_size)
    if pt.is_list(kind):
        return pa.list_(field)
    # Views stay: Arrow 26 casts them to arrays without the last offset.
    return pa.large_list(field) if pt.is_large_list(kind) else kind


def _converter(kind: pa.DataType, is_verbatim: bool) -> Convert | None:
    """Return what makes an item's value of one of Arrow's; None where it is one already."""
    if pt.is_dictionary(kind):
        return _converter(kind.value_type, is_verbatim)
    if pt.is_map(kind):
        return _map_converter(kind, is_verbatim)
    if pt.is_struct(kind):
        return _struct_converter(kind, is_verbatim)
    if _is_list(kind):
        return _list_converter(kind, is_verbatim)
    return _plain_converter(kind, is_verbatim)


def _plain_converter(kind: pa.DataType, is_verbatim: bool) -> Convert | None:
    if pt.is_timestamp(kind):
        return in_utc
    if pt.is_float16(kind):
        return float
    if kind == pa.uuid():
        return str

    if pt.is_date(kind):
        return None if is_verbatim else midnight
    return text_of if _is_binary(kind) and not is_verbatim else None


def _list_converter(kind: pa.DataType, is_verbatim: bool) -> Convert | None:
    convert = _converter(kind.value_type, is_verbatim)
    if convert is None:
        return None
    return lambda values: [_or_none(convert, value) for value in values]


def _map_converter(kind: pa.DataType, is_verbatim: bool) -> Convert:
    of_key = _converter(kind.key_type, is_verbatim)
    of_item = _converter(kind.item_type, is_verbatim)

    def convert(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        values = {_or_none(of_key, key): _or_none(of_item, item) for key, item in pairs}
        if len(values) < len(pairs):
            raise ValueError("a map has a key twice")
        return values

    return convert


def _struct_converter(kind: pa.DataType, is_verbatim: bool) -> Convert | None:
    converters = {field.name: _converter(field.type, is_verbatim) for field in kind}
    if not any(converters.values()):
        return None
    return lambda values: {
        name: _or_none(converters[name], value) for name, value in values.items()
    }


def _or_none(convert: Convert | None, value: Any) -> Any:
    return value if convert is None or value is None else convert(value)


def _is_binary(kind: pa.DataType) -> bool:
    is_fixed: bool = pt.is_fixed_size_binary(kind)
    is_view: bool = pt.is_binary_view(kind)
    return is_fixed or is_view or kind in (pa.binary(), pa.large_binary())


def _is_list(kind: pa.DataType) -> bool:
    is_view: bool = pt.is_list_view(kind) or pt.is_large_list_view(kind)
    is_plain: bool = pt.is_list(kind) or pt.is_large_list(kind)
    return is_view or is_plain or bool(pt.is_fixed_size_list(kind))


def in_utc(value: datetime) -> datetime:
    """Return a time with its zone, which is UTC where none is said."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def midnight(value: date) -> datetime:
    """Return the first moment of a date, in UTC."""
    return datetime(value.year, value.month, value.day, tzinfo=UTC)


def text_of(value: bytes) -> str | bytes:
    """Return bytes as the text that they are, or as they are where they are none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
