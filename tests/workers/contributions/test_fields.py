import math
from datetime import UTC, datetime
from fractions import Fraction
from functools import reduce
from random import Random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from workers.contributions.results import to_table, values_of

NUMBERS = st.integers(-5, 5)
FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
FIELDS = [Sum(), SumBy(), Min(), Max(), Latest(), LatestBy(), Latest(str), Marked(bool), Set()]
FIELDS += [MinBy(), MaxBy(), MinBy(str), MaxBy(datetime)]
FIELDS += [kind(float) for kind in (Sum, SumBy, Min, MinBy, Max, MaxBy, Latest, LatestBy)]


@pytest.fixture(params=["few", "many"], autouse=True, scope="module")
def rows_at_once(request):
    """Merge few rows in Python, as a small batch does, and then the same by columns."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "many":
            patch.setattr("workers.contributions.fields.FEW_ROWS", 0)
            patch.setattr("workers.contributions.exact.FEW_ADDENDS", 0)
        yield


def contributed(field):
    """Draw what can be contributed to a field: lists of (key, at, value)."""
    kinds = {str: st.sampled_from("abc"), bool: st.integers(0, 1), float: FLOATS}
    values = st.just(1) if isinstance(field, Set) else kinds.get(field.type, NUMBERS)
    return st.lists(st.tuples(st.sampled_from("xyz"), NUMBERS, values), min_size=1, max_size=12)


def framed(field, rows):
    """Return contributions as columns, as a batch has them."""
    frame = pd.DataFrame(rows, columns=["key", "at", "value"]).assign(profile="p")
    return field.checked(frame[["profile", *field.columns]], "it")


def state_of(field, reduced):
    """Return the state that reduced columns hold."""
    values = reduced["value"].tolist()
    if field.rule == "latest":
        values = [list(pair) for pair in zip(reduced["at"].tolist(), values, strict=True)]
    return dict(zip(reduced["key"], values, strict=True)) if field.keyed else values[0]


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
    return state_of(field, field.reduce(framed(field, rows), ["profile"]))


@pytest.mark.parametrize("field", FIELDS, ids=repr)
@settings(deadline=None)
@given(data=st.data(), seed=st.integers())
def test_merging_gives_the_same_in_any_order_and_by_columns(field, data, seed):
    rows = data.draw(contributed(field))
    merged = reduce(field.merge, states(field, rows))
    shuffled = states(field, rows)
    Random(seed).shuffle(shuffled)
    while len(shuffled) > 1:  # any grouping, too
        shuffled.insert(0, field.merge(shuffled.pop(), shuffled.pop(0)))
    assert shuffled[0] == merged == by_columns(field, rows)


@pytest.mark.parametrize("field", FIELDS, ids=repr)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_columns_that_were_merged_before_merge_with_others(field, data):
    rows = data.draw(contributed(field))
    frame = framed(field, rows)
    cut = data.draw(st.integers(0, len(rows)))
    before = field.reduce(frame[:cut], ["profile"])
    again = field.reduce(pd.concat([before, frame[cut:]], ignore_index=True), ["profile"])
    assert state_of(field, again) == by_columns(field, rows)


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=1))
def test_a_sum_of_floats_is_that_of_their_fractions(values):
    whole = sum(map(Fraction, values))
    state = by_columns(Sum(float), [("x", 0, value) for value in values])
    shown = Sum(float).to_reader(state)
    assert Sum(float).derive_input(state, shown) == whole
    assert shown == (float(whole) if abs(whole) < 2**1023 else to_float(state))
    keyed = SumBy(float)
    assert keyed.derive_input({"a%2Eb": state}, keyed.to_reader({"a%2Eb": state})) == {"a.b": whole}


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


def test_a_sum_beyond_64_bits_is_exact_and_kept_as_text():
    whole = pd.DataFrame({"profile": ["a"] * 3, "value": [2**62, 2**62, -5]})
    merged = Sum().reduce(whole, ["profile"])
    assert merged["value"].tolist() == [2**63 - 5]
    assert to_table("total", merged, "number")["number"].to_pylist() == [2**63 - 5]
    whole["value"] = [-(2**63), 2**63 - 1, -1]
    assert Sum().reduce(whole, ["profile"])["value"].tolist() == [-2]
    more = pd.DataFrame({"profile": ["a", "a", "b"], "value": [2**62, 2**62, -7]})
    table = to_table("total", Sum().reduce(more, ["profile"]), "number")
    assert table["number"].to_pylist() == [None, -7]
    assert table["text"].to_pylist() == [str(2**63), None]
    assert values_of(table, "number").tolist() == [2**63, -7]


@pytest.mark.parametrize("rows", [2, 1_000])
def test_sums_beyond_64_bits_stay_exact_beside_others(rows):
    large = pd.DataFrame({"profile": "a", "value": [2**62 + 1] * 2 + [0] * (rows - 2)})
    merged = [Sum().reduce(part, ["profile"]) for part in (large, large.head(1), large.head(1))]
    total = Sum().reduce(pd.concat(merged, ignore_index=True), ["profile"])
    assert total["value"].tolist() == [2**64 + 4]


def test_small_sums_stay_in_64_bits():
    few = pd.DataFrame({"profile": ["a"] * 3, "key": ["k"] * 3, "value": [127, 127, 1]})
    merged = SumBy().reduce(few.astype({"value": "int8"}), ["profile"])
    assert (merged["value"].dtype, merged["value"].tolist()) == ("int64", [255])


def test_a_sum_of_a_type_that_cannot_be_added_is_refused_when_it_is_declared():
    with pytest.raises(TypeError, match="int or float"):
        Sum(str)


def test_a_total_of_nothing_is_zero_of_its_type():
    assert repr(Sum().to_reader(None)) == "0"
    assert repr(Sum(float).to_reader(None)) == "0.0"
    assert repr(Sum(float).derive_input(None, 0.0)) == "Fraction(0, 1)"
    assert SumBy(float).derive_input({}, {}) == {}


def test_derive_gets_what_readers_see_with_plain_keys():
    assert MinBy().derive_input({"a%2E": 5}, {"a%2E": 5}) == {"a.": 5}
    assert Set().derive_input({"b": 1}, ["b"]) == ["b"]
    assert Max(float).derive_input(0.5, 0.5) == 0.5


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
