from datetime import UTC, datetime
from functools import reduce
from random import Random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import Refused
from workers.fields import (
    Latest,
    LatestBy,
    Marked,
    Max,
    Min,
    Sum,
    SumBy,
    Union,
    from_key,
    to_key,
)
from workers.results import to_table

NUMBERS = st.integers(-5, 5)
FIELDS = [Sum(), SumBy(), Min(), Max(), Latest(), LatestBy(), Latest(str), Marked(bool), Union()]


def said(field):
    """What can be said to a field: lists of (key, at, value)."""
    values = {str: st.sampled_from("abc"), bool: st.integers(0, 1)}.get(field.type, NUMBERS)
    values = st.just(1) if isinstance(field, Union) else values
    return st.lists(st.tuples(st.sampled_from("xyz"), NUMBERS, values), min_size=1, max_size=12)


def states(field, rows):
    """Return the state of each row by itself."""
    made = [[at, value] if field.rule == "latest" else value for _, at, value in rows]
    return [{row[0]: s} for row, s in zip(rows, made, strict=True)] if field.keyed else made


def by_columns(field, rows):
    """Return the state of all rows, as the columns' rule has it."""
    frame = pd.DataFrame(rows, columns=["key", "at", "value"]).assign(profile="p")
    merged = field.reduce(frame[["profile", *field.columns]], ["profile"])
    values = merged["value"].tolist()
    if field.rule == "latest":
        values = [list(pair) for pair in zip(merged["at"].tolist(), values, strict=True)]
    return dict(zip(merged["key"], values, strict=True)) if field.keyed else values[0]


@pytest.mark.parametrize("field", FIELDS, ids=repr)
@given(data=st.data(), seed=st.integers())
def test_merging_gives_the_same_in_any_order_and_by_columns(field, data, seed):
    rows = data.draw(said(field))
    merged = reduce(field.merge, states(field, rows))
    shuffled = states(field, rows)
    Random(seed).shuffle(shuffled)
    while len(shuffled) > 1:  # any grouping, too
        shuffled.insert(0, field.merge(shuffled.pop(), shuffled.pop(0)))
    assert shuffled[0] == merged == by_columns(field, rows)


@given(st.text())
def test_any_text_survives_as_a_key(text):
    name = to_key(text)
    assert from_key(name) == text
    assert not set(name) & set(".$\0")


@given(st.text(), st.text())
def test_different_texts_are_different_keys(one, other):
    assert (to_key(one) == to_key(other)) == (one == other)


def test_readers_see_dates_truth_values_and_sorted_sets():
    assert Min(datetime).view(891388800123) == datetime(1998, 4, 1, 0, 0, 0, 123000, UTC)
    assert LatestBy(bool).view({"a": [5, 1]}) == {"a": True}
    assert Marked(bool).view({"b": [5, 1], "a%2E": [1, 1], "c": [1, 0]}) == ["a.", "b"]
    assert Union().view({"b": 1, "a": 1}) == ["a", "b"]


def test_a_sum_beyond_64_bits_is_exact_and_refused_when_it_is_written():
    whole = pd.DataFrame({"profile": ["a"] * 3, "value": [2**62, 2**62, -5]})
    merged = Sum().reduce(whole, ["profile"])
    assert merged["value"].tolist() == [2**63 - 5]
    assert to_table("total", merged, "number")["number"].to_pylist() == [2**63 - 5]
    whole["value"] = [-(2**63), 2**63 - 1, -1]
    assert Sum().reduce(whole, ["profile"])["value"].tolist() == [-2]
    whole["value"] = [2**62, 2**62, 0]
    with pytest.raises(Refused, match="wrong type"):
        to_table("total", Sum().reduce(whole, ["profile"]), "number")


def test_small_sums_stay_in_64_bits():
    few = pd.DataFrame({"profile": ["a"] * 3, "key": ["k"] * 3, "value": [127, 127, 1]})
    merged = SumBy().reduce(few.astype({"value": "int8"}), ["profile"])
    assert (merged["value"].dtype, merged["value"].tolist()) == ("int64", [255])


def test_a_sum_of_floats_is_refused_when_it_is_declared():
    with pytest.raises(TypeError, match="exact"):
        Sum(float)
