"""Values by column: which are good, and times and numbers as Time.read and Number.read read them.

What most programs write is converted at once. Of anything else each different value is read once.
None stands for a column in which a value is refused, or could be read otherwise.
"""

from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from workers.contributions.exact import LARGEST
from workers.contributions.fields import LAST_MILLISECOND
from workers.declare.times import FIRST_BELIEVED, FIRST_LIKE_A_DATE, UNITS, Time
from workers.declare.types import Number
from workers.sources.columns.frames import Column

EXACT_IN_FLOATS = 2**53  # whole numbers below it are floats without a loss


def has_good_values(column: Column, array: pa.Array) -> bool:
    """Tell whether no value is missing that must not be, and all texts are as long as they must be.

    It takes null for said where a field can be null, though it may be absent.
    """
    can_be_null = column.is_nullable or (column.kind is Number and not column.is_list)
    if array.null_count and not can_be_null:
        return False

    values = array.flatten() if column.is_list else array
    if column.is_list and values.null_count:
        return False
    return column.kind is not str or _are_lengths_good(column, values)


def _are_lengths_good(column: Column, texts: pa.Array) -> bool:
    """Tell whether all texts are as long as they must be, in characters."""
    if not column.min_length and column.max_length is None:
        return True

    least, most = _bounds(pc.binary_length(texts))
    if least is None:
        return True
    if column.min_length > 1 or (column.max_length is not None and most > column.max_length):
        least, most = _bounds(pc.utf8_length(texts))
    return least >= column.min_length and (column.max_length is None or most <= column.max_length)


def moments(array: pa.Array) -> pa.Array:
    """Return times and dates as the microseconds that Python's own values of them have."""
    if pa.types.is_timestamp(array.type):
        unit = "us" if array.type.unit == "ns" else array.type.unit
        array = array.cast(pa.timestamp(unit, array.type.tz), safe=False)
    zone = array.type.tz if pa.types.is_timestamp(array.type) else None
    return array.cast(pa.timestamp("us", zone))


def to_times(kind: type[Time], array: pa.Array) -> pa.Array | None:
    """Return a column of text or numbers as milliseconds; nulls stay."""
    if array.null_count == len(array):
        return pa.nulls(len(array), pa.int64())
    if pa.types.is_timestamp(array.type):
        return _times_of_moments(array)
    if pa.types.is_large_string(array.type):
        return _times_of_text(kind, array)
    if pa.types.is_floating(array.type):
        return _times_of_floats(kind, array)
    return _times_of_wholes(kind, array)


def to_numbers(array: pa.Array) -> pa.Array | None:
    """Return a column of text or floats as floats; NaN where a number is missing."""
    if pa.types.is_large_string(array.type):
        array = _numbers_of_text(array)
    elif not are_within(array, -LARGEST, LARGEST):
        return None
    return None if array is None else pc.fill_null(array, float("nan"))


def _numbers_of_text(texts: pa.Array) -> pa.Array | None:
    """Return plain numbers at once, and else what each different text means.

    What msgspec takes for a float in JSON's notation is the same one to Python, but for -0.
    """
    try:
        numbers = msgspec.convert(texts.to_pylist(), list[float], strict=False)
    except msgspec.ValidationError:
        return _read_different(Number, texts, pa.float64())
    array = pa.array(numbers, pa.float64())
    may_differ = pc.any(pc.and_(pc.equal(array, 0.0), pc.starts_with(texts, "-"))).as_py()
    if may_differ or not are_within(array, -LARGEST, LARGEST):
        return _read_different(Number, texts, pa.float64())
    return array


def _times_of_wholes(kind: type[Time], array: pa.Array) -> pa.Array | None:
    if not kind.unit:
        if are_within(array, FIRST_BELIEVED, FIRST_LIKE_A_DATE - 1):
            return pc.multiply(array, 1_000)
        return _read_different(kind, array, pa.int64())

    per_second = UNITS[kind.unit].per_second
    last = min(LAST_MILLISECOND * per_second // 1_000, 2**62)
    if not are_within(array, 0, last):
        return _read_different(kind, array, pa.int64())
    if per_second <= 1_000:
        return pc.multiply(array, 1_000 // per_second)
    per_millisecond = per_second // 1_000
    return pc.divide(pc.add(array, per_millisecond // 2), per_millisecond)


def _times_of_floats(kind: type[Time], array: pa.Array) -> pa.Array | None:
    """Return the milliseconds of plain epoch seconds; of these alone, 5.0 may stand for 5."""
    is_plain = are_within(array, FIRST_BELIEVED, FIRST_LIKE_A_DATE - 1)
    if kind.unit or not is_plain or pc.any(pc.is_nan(array)).as_py():
        return None
    return _rounded(pc.multiply(array, 1_000.0))


def _times_of_text(kind: type[Time], array: pa.Array) -> pa.Array | None:
    """Return the milliseconds of ISO 8601, where all values have a zone or none has one."""
    if (wholes := _wholes_of_text(kind, array)) is not None:
        return _times_of_wholes(kind, wholes)
    for zone in ("UTC", None):
        try:
            times = _times_of_moments(array.cast(pa.timestamp("us", zone)))
        except pa.ArrowException:
            continue
        if times is not None:
            return times
    return _read_different(kind, array, pa.int64())


def _wholes_of_text(kind: type[Time], texts: pa.Array) -> pa.Array | None:
    """Return texts as the whole numbers that they write; None where one may write a date."""
    least, most = (1, 18) if kind.unit else (9, 10)
    if not are_within(pc.binary_length(texts), least, most):
        return None
    return texts.cast(pa.int64()) if pc.all(pc.ascii_is_decimal(texts)).as_py() else None


def _times_of_moments(array: pa.Array) -> pa.Array | None:
    """Return microseconds as milliseconds; years that floats cannot say exactly are left out."""
    microseconds = array.cast(pa.int64())
    if not are_within(microseconds, -EXACT_IN_FLOATS, EXACT_IN_FLOATS):
        return None
    seconds = pc.divide(microseconds.cast(pa.float64()), 1_000_000.0)
    return _rounded(pc.multiply(seconds, 1_000.0))


def _rounded(milliseconds: pa.Array) -> pa.Array:
    return pc.floor(pc.add(milliseconds, 0.5)).cast(pa.int64())


def _read_different(kind: Any, array: pa.Array, type_: pa.DataType) -> pa.Array | None:
    """Return values as the type reads each different one of them."""
    encoded = array.dictionary_encode()
    try:
        values = [kind.read(value) for value in encoded.dictionary.to_pylist()]
    except (ValueError, TypeError):
        return None
    return pa.array(values, type_).take(encoded.indices)


def are_within(array: pa.Array, least: float, most: float) -> bool:
    """Tell whether all values that are not null or NaN lie between two bounds, or are one."""
    low, high = _bounds(array)
    return low is None or bool(least <= low and high <= most)


def _bounds(array: pa.Array) -> tuple[Any, Any]:
    """Return the least and the greatest value; None where there is no value."""
    bounds = pc.min_max(array).as_py()
    return bounds["min"], bounds["max"]
