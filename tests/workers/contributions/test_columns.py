"""What a contribution may be: of each kind of field, and whatever pandas holds it in."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contributions.columns import WrongType, as_floats, as_text, as_whole_numbers
from workers.contributions.fields import Latest, Max, SumBy

WHAT = "contributions need it"
WHOLE = st.integers(-(2**63), 2**63 - 1)


def column(values, dtype=object):
    return pd.Series(values, index=range(5, 5 + len(values)), dtype=dtype)


@given(st.lists(WHOLE | st.booleans() | st.integers(-(2**53), 2**53).map(float), min_size=1))
def test_whole_numbers_of_any_kind_side_by_side_are_64_bits(values):
    whole = as_whole_numbers(column(values), WHAT)
    assert (whole.dtype, whole.tolist()) == ("int64", [int(value) for value in values])
    assert whole.index.tolist() == column(values).index.tolist()


@pytest.mark.parametrize(
    "dtype", ["int8", "uint64", "float64", "float32", "Int64", "Float64", "int64[pyarrow]", object]
)
def test_whole_numbers_in_any_column_of_pandas_are_64_bits(dtype):
    whole = as_whole_numbers(column([1, 0, 7], dtype), WHAT)
    assert (whole.dtype, whole.tolist()) == ("int64", [1, 0, 7])


def test_truth_values_and_whole_decimals_are_whole_numbers():
    assert as_whole_numbers(column([True, False], "boolean"), WHAT).tolist() == [1, 0]
    assert as_whole_numbers(column([np.True_, np.float32(2.0)]), WHAT).tolist() == [1, 2]
    assert as_whole_numbers(column([Decimal("12.00"), 3]), WHAT).tolist() == [12, 3]


@pytest.mark.parametrize(
    "bad",
    [
        2**63,
        -(2**63) - 1,
        2.0**63,
        1.5,
        float("inf"),
        Decimal("1.5"),
        "7",
        b"7",
        dt.date(2026, 1, 1),
    ],
)
def test_what_is_no_whole_number_of_64_bits_is_named(bad):
    shown = (
        repr(bad).replace("(", r"\(").replace(")", r"\)").replace(".", r"\.").replace("+", r"\+")
    )
    with pytest.raises(WrongType, match=f"need it, not {shown}"):
        as_whole_numbers(column([1, bad]), WHAT)
    with pytest.raises(WrongType):
        as_whole_numbers(pd.Series([bad]), WHAT)


@pytest.mark.parametrize(
    "dtype", ["str", "string", "string[python]", "category", object, "string[pyarrow]"]
)
def test_text_in_any_column_of_pandas_is_text(dtype):
    text = as_text(column(["a", "ü\0", ""], dtype), WHAT)
    assert (text.dtype, text.tolist()) == ("str", ["a", "ü\0", ""])


@pytest.mark.parametrize("bad", [7, 1.5, b"a", ["a"], "a\ud83d", pd.Timestamp(0)])
def test_what_is_no_text_is_named(bad):
    with pytest.raises(WrongType, match="contributions need it, not "):
        as_text(column(["a", bad]), WHAT)


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**300), 10**300))
)
def test_numbers_side_by_side_are_floats(values):
    floats = as_floats(column(values), WHAT)
    assert floats.dtype == "float64"
    assert floats.tolist() == [float(value) for value in values]


def test_decimals_are_the_nearest_floats():
    assert as_floats(column([Decimal("0.1"), 1]), WHAT).tolist() == [0.1, 1.0]


@pytest.mark.parametrize("bad", ["1.5", True, float("inf"), Decimal("Infinity"), 10**400, None])
def test_what_is_no_finite_float_is_named(bad):
    with pytest.raises(WrongType, match="contributions need it, not "):
        as_floats(column([1.5, bad]), WHAT)


def test_a_field_of_times_holds_the_years_1_to_9999():
    for value in (-62135596800000, 253402300799999):
        rows = pd.DataFrame({"profile": ["a"], "value": [value]})
        shown = Max(dt.datetime).to_reader(
            Max(dt.datetime).checked(rows, "seen")["value"].tolist()[0]
        )
        assert shown.year in (1, 9999)
    for value in (-62135596800001, 253402300800000, 1_769_860_800_000_000, pd.Timestamp(0)):
        rows = pd.DataFrame({"profile": ["a"], "value": [value]})
        with pytest.raises(
            WrongType, match="'seen' need the milliseconds of a Time as values, not"
        ):
            Max(dt.datetime).checked(rows, "seen")


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"profile": 7}, "text as profiles, not 7"),
        ({"key": 1.5}, "text as keys, not 1.5"),
        ({"value": "many"}, r"whole numbers \(of 64 bits\) as values, not 'many'"),
    ],
)
def test_each_column_of_a_contribution_has_a_kind(bad, says):
    row = {"profile": "ann", "key": "tea", "value": 1}
    with pytest.raises(WrongType, match=f"contributions to 'bought' need {says}"):
        SumBy().checked(pd.DataFrame([row | bad]), "bought")


def test_the_time_of_a_latest_value_is_a_whole_number():
    rows = pd.DataFrame({"profile": ["ann"], "at": [1.5], "value": [1]})
    with pytest.raises(WrongType, match=r"milliseconds of a Time as at, not 1\.5"):
        Latest().checked(rows, "last")
    assert Latest().checked(rows.assign(at=[2.0]), "last")["at"].dtype == "int64"
