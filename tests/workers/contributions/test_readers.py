"""What readers see of states, and what of it leads back to them."""

from datetime import datetime

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contributions.exact import write
from workers.contributions.fields import (
    FIRST_MILLISECOND,
    LAST_MILLISECOND,
    Gone,
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
    to_key,
)
from workers.contributions.readers import ProfileError, Readers

WHOLE = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(allow_nan=False, allow_infinity=False)
TIME = st.integers(FIRST_MILLISECOND, LAST_MILLISECOND)
TRUTH = st.integers(0, 1)
EXACT = st.builds(write, WHOLE, st.integers(-50, 50))
KEY = st.text(max_size=5).map(to_key)


def by(values):
    return st.dictionaries(KEY, values, min_size=1, max_size=3)


def at(values):
    return st.tuples(TIME, values).map(list)


STATES = {
    "total": (Sum(), WHOLE),
    "exact": (Sum(float), EXACT),
    "totals": (SumBy(), by(WHOLE)),
    "exacts": (SumBy(float), by(EXACT)),
    "least": (Min(float), REAL),
    "first": (Min(datetime), TIME),
    "greatest": (Max(str), st.text()),
    "ever": (Max(bool), TRUTH),
    "firsts": (MinBy(datetime), by(TIME)),
    "greatests": (MaxBy(bool), by(TRUTH)),
    "last": (Latest(str), at(st.text())),
    "lasts": (LatestBy(datetime), by(at(TIME))),
    "marked": (Marked(bool), by(at(TRUTH))),
    "members": (Set(), by(st.just(1))),
}
FIELDS = {name: field for name, (field, _) in STATES.items()}


@given(st.fixed_dictionaries({}, optional={name: states for name, (_, states) in STATES.items()}))
def test_states_are_told_by_what_stands_in_mongodb(accumulator):
    readers = Readers(FIELDS, None)
    stored = bson.encode({**readers.shown(accumulator), "_fold": readers.hidden(accumulator)})
    options = bson.CodecOptions(tz_aware=True)
    document = bson.decode(stored, options)
    again = readers.states(document) | document["_fold"]
    assert readers.shown(again) == readers.shown(accumulator)
    for name, state in accumulator.items():
        assert again[name] == state


def test_derive_gets_what_readers_see_with_plain_keys_and_cannot_change_it():
    def derive(profile):
        got.append({name: value.copy() for name, value in profile.items()})
        profile["least"].clear()
        profile["members"].append("c")
        return {"of": {"x.y": 1}}

    got = []
    readers = Readers({"least": MinBy(), "members": Set()}, derive)
    shown = readers.shown({"least": {"a%2E": 5, "b": 6}, "members": {"b": 1}})
    assert got == [{"least": {"a.": 5, "b": 6}, "members": ["b"]}]
    assert shown["least"] == {"a%2E": 5, "b": 6}
    assert shown["members"] == ["b"]
    assert shown["of"] == {"x%2Ey": 1}


def test_a_derive_that_fails_names_itself():
    with pytest.raises(ProfileError, match="derive: ZeroDivisionError in the task"):
        Readers({"total": Sum()}, lambda profile: {"rate": 1 / profile["total"]}).shown({})


@pytest.mark.parametrize("name", ["total", "_id", "_fold"])
def test_a_derive_that_makes_what_the_profile_has_already_is_refused(name):
    with pytest.raises(ProfileError, match=f"derive: makes {name}, which the profile has"):
        Readers({"total": Sum()}, lambda _: {name: 1}).shown({})


def test_where_the_latest_mark_says_gone_there_is_nothing_to_see():
    readers = Readers({"score": Latest(float), "gone": Gone()}, None)
    assert readers.shown({"score": [1, 0.5], "gone": [2, 1]}) == {}
    assert readers.shown({"score": [3, 0.5], "gone": [2, 0]}) == {"score": 0.5}
