"""Rows of Parquet, ORC and Arrow are read by columns where that says what reading each row says."""

from datetime import date
from decimal import Decimal

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.both_ways import Reader
from tests.workers.sources.columns.test_json_lines import EVERYTHING, READINGS, Everything
from workers.declare import Number, Text, Time


class Dated(msgspec.Struct):
    name: Text
    at: Time
    amount: Number


DATED = Reader(Dated)


def is_read(reader, **columns):
    """Tell whether rows are read by columns; if so, they say what each row says."""
    by_columns, differing = reader.read_rows(pa.RecordBatch.from_pydict(columns))
    assert not differing
    return bool(by_columns)


def dated(**changed):
    good = {
        "name": pa.array(["a", "b"]),
        "at": pa.array([891388800123456, 1], pa.timestamp("us", "UTC")),
        "amount": pa.array([1.5, None]),
    }
    return is_read(DATED, **good | changed)


@pytest.mark.parametrize(
    "names",
    [
        pa.array(["ünï", "b"], pa.string()),
        pa.array(["a", "b"], pa.large_string()),
        pa.array(["a", "a"]).dictionary_encode(),
    ],
)
def test_text_is_read_by_columns(names):
    assert dated(name=names)


@pytest.mark.parametrize(
    "names",
    [
        pa.array(["", "b"]),
        pa.array([None, "b"]),
        pa.array([1, 2]),
        pa.array([b"a", b"b"]),
        pa.array([b"a", b"\xff"]).view(pa.string()),
        pa.array(["a", "x" * 1_025]),
    ],
)
def test_text_of_which_a_value_may_be_refused_is_read_row_by_row(names):
    assert not dated(name=names)


@pytest.mark.parametrize(
    "times",
    [
        pa.array([891388800, 5], pa.timestamp("s")),
        pa.array([891388800123, -1], pa.timestamp("ms", "Europe/Berlin")),
        pa.array([891388800123456789, -1], pa.timestamp("ns")),
        pa.array([891388800000500, 891388800001500], pa.timestamp("us")),
        pa.array([date(1998, 4, 1), date(1900, 1, 1)]),
        pa.array([891388800, 891388801], pa.int32()),
        pa.array([891388800.25, 891388801.0]),
        pa.array(["1998-04-01T00:00:00Z", "1998-04-01T00:00:00.5+02:00"]),
        pa.array(["01/Apr/1998:00:00:00 +0200", "1998-04-01"]),
    ],
)
def test_times_of_any_type_are_read_by_columns(times):
    assert dated(at=times)


@pytest.mark.parametrize(
    "times",
    [
        pa.array([None, 1], pa.timestamp("us")),
        pa.array([253402300800, 0], pa.timestamp("s")),
        pa.array([20260131, 891388800]),
        pa.array([float("nan"), 891388800.0]),
        pa.array([True, False]),
        pa.array(["soon", "1998-04-01"]),
    ],
)
def test_times_of_which_a_value_may_be_refused_are_read_row_by_row(times):
    assert not dated(at=times)


@pytest.mark.parametrize(
    ("amounts", "is_by_columns"),
    [
        (pa.array([1, 2**60 + 1]), True),
        (pa.array([float("nan"), -0.0]), True),
        (pa.array(["NA", "1.5"]), True),
        (pa.array([1.5, None], pa.float32()), True),
        (pa.array([1e151, 1.0]), False),
        (pa.array([float("inf"), 1.0]), False),
        (pa.array([Decimal("1.5"), Decimal(2)]), False),
        (pa.array([True, False]), False),
    ],
)
def test_numbers_are_read_by_columns_where_all_of_them_are_good(amounts, is_by_columns):
    assert dated(amount=amounts) == is_by_columns


def test_a_column_that_a_block_does_not_have_is_missing():
    assert is_read(EVERYTHING, text=pa.array(["a", "b"]))
    assert not is_read(READINGS, device=pa.array(["a"]), metric=pa.array(["b"]))


WHOLES = [pa.int8(), pa.int32(), pa.int64(), pa.uint16(), pa.uint64()]
FLOATS = [pa.float32(), pa.float64(), pa.float16()]
TEXTS = [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())]
MOMENTS = [*(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")), pa.timestamp("us", "UTC")]
OTHERS = [pa.bool_(), pa.date32(), pa.date64(), pa.decimal128(20, 3), pa.time64("us"), pa.null()]
whole_numbers = st.integers(0, 100) | st.integers(-(2**63), 2**64 - 1)
VALUES = st.one_of(
    st.none(),
    whole_numbers,
    st.integers(31_536_000, 2_100_000_000),
    st.floats(),
    st.floats(width=16),
    st.booleans(),
    st.text(max_size=4),
    st.datetimes().map(str),
    st.dates(),
    st.datetimes(),
    st.decimals(allow_nan=False, allow_infinity=False, places=3),
)


@st.composite
def columns(draw):
    """Return a column of two values of some type, that Arrow can make of values drawn."""
    kind = draw(st.sampled_from([*WHOLES, *FLOATS, *TEXTS, *MOMENTS, *OTHERS]))
    values = draw(st.lists(VALUES, min_size=2, max_size=2))
    if draw(st.booleans()) and draw(st.booleans()):
        kind, values = pa.list_(kind), [values, draw(st.sampled_from([None, [], values[:1]]))]
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.array(["text", "more"])


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(Everything.__struct_fields__), columns(), min_size=1))
def test_any_rows_say_the_same_both_ways(drawn):
    is_read(EVERYTHING, **drawn)


@settings(max_examples=500, deadline=None)
@given(
    name=st.sampled_from(Everything.__struct_fields__),
    kind=st.sampled_from([*WHOLES, *FLOATS, *MOMENTS]),
    numbers=st.lists(whole_numbers | st.none(), min_size=1, max_size=3),
)
def test_any_numbers_and_moments_say_the_same_both_ways(name, kind, numbers):
    try:
        array = pa.array(numbers, pa.int64()).cast(kind, safe=False)
    except (pa.ArrowException, OverflowError):
        array = pa.array([1.5, 2.0])
    is_read(EVERYTHING, **{name: array})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32) | st.none(), min_size=1, max_size=3))
def test_any_floats_say_the_same_both_ways(numbers):
    for name in ("real", "number", "at", "whole"):
        for kind in (pa.float32(), pa.float64()):
            is_read(EVERYTHING, **{name: pa.array(numbers, kind)})
