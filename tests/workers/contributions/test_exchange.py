"""What is taken back of a total: as if it had never been said, or not known."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.contributions.test_readers import FIELDS
from workers.contributions.accumulators import merge_accumulators
from workers.contributions.exact import write
from workers.contributions.exchange import Unknowable, exchanged
from workers.contributions.fields import Latest, Max, MaxBy, Set, Sum, SumBy

FEW = st.integers(-2, 2)
EXACT = st.builds(write, FEW, st.integers(-1, 1))
SAID = {
    name: st.text("ab", max_size=1) if field.type is str else FEW for name, field in FIELDS.items()
}


def states(name):
    field = FIELDS[name]
    values = EXACT if field.is_sum_of_floats else SAID[name]
    if field.rule == "latest":
        values = st.tuples(FEW, values).map(list)
    return st.dictionaries(st.sampled_from("ab"), values, min_size=1) if field.keyed else values


ACCUMULATORS = st.fixed_dictionaries({}, optional={name: states(name) for name in FIELDS})


def merged(*accumulators):
    return reduce(lambda first, second: merge_accumulators(FIELDS, first, second), accumulators)


@given(st.lists(ACCUMULATORS), ACCUMULATORS, ACCUMULATORS)
def test_a_part_that_is_exchanged_leaves_what_would_be_there_without_it(others, old, new):
    total = merged({}, *others, old)
    try:
        result = exchanged(FIELDS, total, old, new)
    except Unknowable:
        return
    expected = merged({}, *others, new)
    for name, state in result.items():
        is_nothing = name not in expected and FIELDS[name].is_zero(state)
        assert is_nothing or state == expected[name]
    assert expected.keys() <= result.keys()


@pytest.mark.parametrize(
    ("field", "others", "old", "new", "expected"),
    [
        (Sum(), 5, 2, 3, 8),
        (SumBy(), {"a": 1}, {"a": 1, "b": 1}, {"b": 2}, {"a": 1, "b": 2}),
        (Max(), 5, 7, 8, 8),
        (Max(), 9, 7, None, 9),
        (MaxBy(), {"a": 1}, {"a": 5}, {"a": 5}, {"a": 5}),
        (Latest(), [3, 1], [4, 1], [5, 0], [5, 0]),
        (Set(), {"a": 1}, {"b": 1}, {"b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}),
    ],
)
def test_what_grows_is_exchanged_without_a_look_at_others(field, others, old, new, expected):
    fields = {"it": field, "events": Sum()}
    total = {"it": field.merge(others, old), "events": 2}
    more = {"events": 1} | ({} if new is None else {"it": new})
    assert exchanged(fields, total, {"it": old, "events": 1}, more)["it"] == expected


@pytest.mark.parametrize(
    ("field", "total", "old"),
    [(Max(), 7, 7), (SumBy(), {"a": 1}, {"a": 1}), (Set(), {"a": 1}, {"a": 1})],
)
def test_what_only_the_old_part_may_have_said_is_not_known(field, total, old):
    fields = {"it": field, "events": Sum()}
    with pytest.raises(Unknowable):
        exchanged(fields, {"it": total, "events": 1}, {"it": old}, {"events": 1})
    with pytest.raises(Unknowable):
        exchanged(fields, {"it": total}, {"it": old}, {})
