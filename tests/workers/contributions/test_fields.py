import math
from datetime import UTC, datetime
from fractions import Fraction
from functools import reduce
from random import Random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.contributions.accumulators import Contributed
from workers.contributions.columns import WrongType
from workers.contributions.exact import to_float, write
from workers.contributions.fields import (
    Latest,
    LatestBy,
    Marked,
    Max,
    MaxBy,
    Min,
    MinBy,
    Set,
    Sum,
    SumBy,
    from_key,
    to_key,
)
from workers.contributions.results import Merger

NUMBERS = st.integers(-5, 5)
FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
FIELDS = [Sum(), SumBy(), Min(), Max(), Latest(), LatestBy(), Latest(str), Marked(bool), Set()]
FIELDS += [MinBy(), MaxBy(), MinBy(str), MaxBy(datetime)]
FIELDS += [kind(float) for kind in (Sum, SumBy, Min, MinBy, Max, MaxBy, Latest, LatestBy)]


def contributed(field):
    """Draw what can be contributed to a field: lists of (key, at, value)."""
    kinds = {str: st.sampled_from("abc"), bool: st.integers(0, 1), float: FLOATS}
    values = st.just(1) if isinstance(field, Set) else kinds.get(field.type, NUMBERS)
    return st.lists(st.tuples(st.sampled_from("xyz"), NUMBERS, values), min_size=1, max_size=12)


def framed(field, rows):
    """Return contributions as columns, as a batch has them."""
    frame = pd.DataFrame(rows, columns=["key", "at", "value"]).assign(profile="p")
    return field.checked(frame[["profile", *field.columns]], "it")


def merged(field, frames):
    """Return the rows of contributions to one field that were taken in chunk by chunk."""
    merger = Merger({"it": field})
    for frame in frames:
        merger.add({"it": frame})
    return merger.merged()


def state_of(merged):
    """Return the state of the only profile that was merged."""
    (accumulator,) = Contributed(merged).all().values()
    return accumulator["it"]


def states(field, rows):
    """Return the state of each row by itself."""
    alone = exact_text if field.is_sum_of_floats else lambda value: value
    values = [[at, value] if field.rule == "latest" else alone(value) for _, at, value in rows]
    return [{row[0]: v} for row, v in zip(rows, values, strict=True)] if field.keyed else values


def exact_text(value):
    numerator, denominator = value.as_integer_ratio()
    return write(numerator, 1 - denominator.bit_length())


def by_columns(field, rows):
    """Return the state of all rows, as the columns' rule has it."""
    return state_of(merged(field, [framed(field, rows)]))


@pytest.mark.parametrize("field", FIELDS, ids=repr)
@settings(deadline=None)
@given(data=st.data(), seed=st.integers())
def test_merging_gives_the_same_in_any_order_and_by_columns(field, data, seed):
    rows = data.draw(contributed(field))
    in_order = reduce(field.merge, states(field, rows))
    shuffled = states(field, rows)
    Random(seed).shuffle(shuffled)
    while len(shuffled) > 1:  # any grouping, too
        shuffled.insert(0, field.merge(shuffled.pop(), shuffled.pop(0)))
    assert shuffled[0] == in_order == by_columns(field, rows)


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=1))
def test_a_sum_of_floats_is_that_of_their_fractions(values):
    whole = sum(map(Fraction, values))
    state = by_columns(Sum(float), [("x", 0, value) for value in values])
    shown = Sum(float).to_reader(state)
    assert Sum(float).exact_input(state) == whole
    assert shown == (float(whole) if abs(whole) < 2**1023 else to_float(state))
    assert SumBy(float).exact_input({"a%2Eb": state}) == {"a.b": whole}


@given(st.text())
def test_any_text_survives_as_a_key(text):
    name = to_key(text)
    assert from_key(name) == text
    assert not set(name) & set(".$\0")


@given(st.text(), st.text())
def test_different_texts_are_different_keys(first, second):
    assert (to_key(first) == to_key(second)) == (first == second)


def test_readers_see_dates_truth_values_and_sorted_sets():
    assert Min(datetime).to_reader(891388800123) == datetime(1998, 4, 1, 0, 0, 0, 123000, UTC)
    assert LatestBy(bool).to_reader({"a": [5, 1]}) == {"a": True}
    assert Marked(bool).to_reader({"b": [5, 1], "a%2E": [1, 1], "c": [1, 0]}) == ["a.", "b"]
    assert Set().to_reader({"b": 1, "a": 1}) == ["a", "b"]


def test_a_sum_beyond_64_bits_is_exact():
    assert by_columns(Sum(), of_numbers(2**62, 2**62, -5)) == 2**63 - 5
    assert by_columns(Sum(), of_numbers(-(2**63), 2**63 - 1, -1)) == -2
    assert by_columns(Sum(), of_numbers(2**62, 2**62)) == 2**63
    assert by_columns(Sum(), of_numbers(*[2**62 + 1] * 4, *[0] * 1_000)) == 2**64 + 4


def of_numbers(*values):
    return [("x", 0, value) for value in values]


@pytest.mark.parametrize("dtype", ["int8", "uint64", "Int64", object])
def test_sums_are_of_64_bits_whatever_pandas_holds_them_in(dtype):
    few = pd.DataFrame({"profile": ["a"] * 3, "key": ["k"] * 3, "value": [127, 127, 1]})
    rows = merged(SumBy(), [SumBy().checked(few.astype({"value": dtype}), "it")]).fields["it"]
    assert (rows.value.dtype, rows.value.tolist()) == ("int64", [255])


def test_a_sum_of_a_type_that_cannot_be_added_is_refused_when_it_is_declared():
    with pytest.raises(TypeError, match="int or float"):
        Sum(str)


def test_a_total_of_nothing_is_zero_of_its_type():
    assert repr(Sum().to_reader(None)) == "0"
    assert repr(Sum(float).to_reader(None)) == "0.0"
    assert repr(Sum(float).exact_input(None)) == "Fraction(0, 1)"
    assert SumBy(float).exact_input(None) == {}


def of_floats(*values):
    return pd.DataFrame({"profile": "p", "value": values})


@pytest.mark.parametrize("kind", [Sum, Min, Max])
def test_a_value_that_is_missing_or_infinite_is_an_error_that_names_the_field(kind):
    for bad in (math.inf, -math.inf):
        with pytest.raises(WrongType, match=f"'heat' need finite numbers as values, not {bad}"):
            kind(float).checked(of_floats(1.0, bad), "heat")
    with pytest.raises(ValueError, match="'heat' lacks"):
        kind(float).checked(of_floats(1.0, math.nan), "heat")
    with pytest.raises(ValueError, match="'heat' lacks"):
        kind().checked(of_floats(1, None), "heat")


def test_zero_has_one_sign():
    values = Min(float).checked(of_floats(0.0, -0.0), "heat")["value"]
    assert repr(values.tolist()) == "[0.0, 0.0]"


def test_whole_numbers_are_taken_for_floats_and_text_is_refused():
    assert Sum(float).checked(of_floats(1, 2), "heat")["value"].dtype == "float64"
    mixed = of_floats(1, 2.5).astype({"value": object})
    assert Sum(float).checked(mixed, "heat")["value"].dtype == "float64"
    for text in ("3p0", "warm"):
        with pytest.raises(WrongType, match="'heat' need finite numbers as values, not '"):
            Sum(float).checked(of_floats(text), "heat")
