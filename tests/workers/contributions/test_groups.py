"""Rows by groups: the same as a dict in Python makes of them, whether codes are close or far."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.contributions.groups import (
    greatest,
    groups_of,
    latest,
    least,
    sums,
)

WHOLE = st.integers(-(2**63), 2**63 - 1)


def by_code(codes, values):
    """Return the values of each code, by code."""
    lists = {}
    for code, value in sorted(zip(codes, values, strict=True)):
        lists.setdefault(code, []).append(value)
    return lists


# What codes are multiplied by, so that they are close to each other or far from it.
SPREADS = pytest.mark.parametrize("spread", [1, 1_000_000_007], ids=["close", "far"])


@SPREADS
@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), WHOLE), min_size=1, max_size=40))
def test_groups_merge_as_in_python(spread, rows):
    codes = [code * spread for code, _ in rows]
    values = [value for _, value in rows]
    groups = groups_of(np.array(codes), 21 * spread)
    expected = by_code(codes, values)
    column = np.array(values)

    assert groups.codes.tolist() == list(expected)
    assert groups.codes[groups.of_rows].tolist() == codes
    assert sums(groups, column).tolist() == [sum(group) for group in expected.values()]
    assert least(groups, column).tolist() == [min(group) for group in expected.values()]
    assert greatest(groups, column).tolist() == [max(group) for group in expected.values()]


@SPREADS
@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(-3, 3), st.floats(allow_nan=False)),
        min_size=1,
        max_size=40,
    )
)
def test_the_latest_value_is_the_greater_of_two_that_are_equally_late(spread, rows):
    codes = [code * spread for code, _, _ in rows]
    groups = groups_of(np.array(codes), 6 * spread)
    at = np.array([at for _, at, _ in rows])
    values = np.array([value for _, _, value in rows])

    pairs = list(zip(*latest(groups, at, values), strict=True))
    expected = by_code(codes, [(at, value) for _, at, value in rows])
    assert pairs == [max(group) for group in expected.values()]


def test_sums_are_of_64_bits_where_these_hold_them_all():
    groups = groups_of(np.array([0, 0, 1]), 2)
    assert sums(groups, np.array([2**62, -(2**62), 7])).dtype == "int64"
    assert sums(groups, np.array([2**62, 2**62, 7])).tolist() == [2**63, 7]
    assert sums(groups, np.array([2**63, -1, 7], dtype=object)).dtype == "int64"


def test_codes_far_apart_take_no_cell_each():
    groups = groups_of(np.array([2**62, 3, 2**62]), 2**62 + 1)
    assert groups.codes.tolist() == [3, 2**62]
    assert groups.of_rows.tolist() == [1, 0, 1]
