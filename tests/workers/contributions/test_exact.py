import math
import statistics
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.contributions.exact import (
    LARGEST,
    ZERO,
    add,
    root,
    squares,
    to_float,
    to_fraction,
    totals,
    write,
)
from workers.contributions.groups import groups_of

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def totals_of(numbers, values):
    """Return the texts of the sums of groups, given the number of each value's group."""
    numbers = np.array(numbers)
    return totals(groups_of(numbers, int(numbers.max()) + 1), values).tolist()


def total(values):
    """Return the text of a sum, by columns."""
    return totals_of([0] * len(values), np.array(values, dtype="float64"))[0]


@pytest.mark.parametrize(
    ("whole", "power", "text"),
    [(0, 5, "0p0"), (12, 0, "3p2"), (-0x1A3, -3, "-1a3p-3"), (1 << 200, -7, "1p193")],
)
def test_a_sum_has_one_text(whole, power, text):
    assert write(whole, power) == text
    assert to_fraction(text) == Fraction(whole) * Fraction(2) ** power


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=40))
def test_a_sum_by_columns_is_the_sum_of_fractions(values):
    whole = sum(map(Fraction, values))
    assert to_fraction(total(values)) == whole
    try:
        expected = float(whole)
    except OverflowError:
        expected = math.inf if whole > 0 else -math.inf
    assert to_float(total(values)) == expected


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=2, max_size=12), st.data())
def test_sums_of_parts_add_up_to_the_same_text(values, data):
    cut = data.draw(st.integers(1, len(values) - 1))
    first = total(values[:cut])
    second = total(values[cut:])
    assert add(first, second) == add(second, first) == total(values)
    mixed = np.array([first, *values[cut:]], dtype=object)
    assert totals_of([0] * len(mixed), mixed) == [total(values)]


def test_each_group_has_its_own_sum():
    sums = totals_of([1, 0, 1, 2], np.array([1.5, 2, 1e300, -4]))
    assert [to_fraction(text) for text in sums] == [2, Fraction(1e300) + Fraction(3, 2), -4]


def test_texts_and_floats_of_several_groups_are_summed_side_by_side():
    values = np.array(["3p-1", 0.5, "1p0", 2.0, "-1p1", "5p0"], dtype=object)
    sums = totals_of([0, 0, 1, 2, 2, 2], values)
    assert [to_fraction(text) for text in sums] == [2, 1, 5]


def test_numbers_that_cancel_leave_nothing_behind():
    assert total([1e300, 5e-324, -1e300]) == "1p-1074"
    assert total([0.1, -0.1, -0.0]) == ZERO


def test_many_mantissas_of_ones_do_not_wrap():
    values = [math.nextafter(2.0, 0)] * 300_000 + [-math.nextafter(2.0, 0)] * 299_999
    assert to_float(total(values)) == math.nextafter(2.0, 0)


def test_every_float_there_is_fits_a_text_of_bounded_length():
    assert len(total([1.7976931348623157e308] * 1000 + [5e-324])) < 550


def test_a_sum_beyond_all_floats_is_infinite_for_readers_and_comes_back():
    large = total([1.7e308, 1.7e308])
    assert to_float(large) == math.inf
    assert to_float(total([-1.7e308, -1.7e308])) == -math.inf
    assert to_float(add(large, total([-1.7e308]))) == 1.7e308


@settings(deadline=None)
@given(st.lists(st.floats(-LARGEST, LARGEST), max_size=20))
def test_two_columns_are_exactly_the_square_or_next_to_nothing_off(values):
    high, low = squares(pd.Series(values, dtype="float64"))
    for value, upper, lower in zip(values, high, low, strict=True):
        off = Fraction(upper) + Fraction(lower) - Fraction(value) ** 2
        is_tiny = 0 < abs(value) < 1e-145
        assert abs(off) < Fraction(1e-322) if is_tiny else off == 0


def test_a_number_whose_square_is_no_float_is_an_error():
    with pytest.raises(ValueError, match=r"beyond 1e\+150"):
        squares(pd.Series([1.0, -1.1e150]))


@settings(deadline=None)
@given(st.fractions(min_value=0) | FLOATS.map(lambda x: Fraction(abs(x))))
def test_a_root_is_rounded_once(value):
    rounded = Fraction(root(value))
    below = Fraction(math.nextafter(float(rounded), -1))
    above = Fraction(math.nextafter(float(rounded), math.inf))
    assert max((rounded + below) / 2, 0) ** 2 <= value <= ((rounded + above) / 2) ** 2


@settings(deadline=None)
@given(st.lists(FLOATS.filter(lambda x: abs(x) < 1e150), min_size=2, max_size=10))
def test_a_root_is_what_statistics_has(values):
    exactly = [Fraction(value) for value in values]
    n, s, q = len(exactly), sum(exactly), sum(value**2 for value in exactly)
    assert root((q - s * s / n) / (n - 1)) == statistics.stdev(exactly)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Fraction(0), 0.0),
        (Fraction(9, 4), 1.5),
        (Fraction(2), math.sqrt(2)),
        # Halfway between two floats, and next to it: the even one, and the nearer one.
        (Fraction((1 << 54) + 2) ** 2, float(1 << 54)),
        (Fraction((1 << 54) + 2) ** 2 + 1, float((1 << 54) + 4)),
        (Fraction((1 << 54) + 2) ** 2 - 1, float(1 << 54)),
        (Fraction(1, 1 << 2148), 5e-324),
        (Fraction(1 << 2046), 2.0**1023),
    ],
)
def test_roots_worked_out_by_hand(value, expected):
    assert root(value) == expected
