"""What identifies an item: the same however it was read, and another for every other item."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.declare.times import Time
from workers.declare.types import Number
from workers.errors import Refused
from workers.sources.formats.lines import Lines
from workers.sources.items import ItemReader
from workers.sources.unique import Identity


class Reading(msgspec.Struct):
    device: str
    at: Time
    number: int | None = None
    value: Number | None = None
    tags: list[str] = []


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
readings = st.fixed_dictionaries(
    {"device": texts, "at": st.integers(1_000_000_000, 1_000_000_009)},
    optional={"number": st.integers(-(2**40), 2**40) | st.none()},
)


def ids(items: list[Any], by_columns: bool, *fields: str) -> list[bytes | None]:
    content = "\n".join(json.dumps(item) for item in items).encode()
    reader = ItemReader(Reading, by_columns)
    taken = reader.items(Lines(0, content), lambda *_: None)
    found, indices = Identity(Reading, fields).ids(taken)
    by_index = dict(zip(indices.tolist(), found.tolist(), strict=True))
    return [by_index.get(index) for index in range(len(items))]


@given(st.lists(readings, min_size=1, max_size=30))
def test_two_items_have_one_id_where_and_only_where_their_fields_are_the_same(items):
    found = ids(items, False, "device", "number")
    for item, id_ in zip(items, found, strict=True):
        is_whole = item["device"] and item.get("number") is not None
        assert (id_ is not None) == bool(is_whole)
    whole = [item for item, id_ in zip(items, found, strict=True) if id_]
    said = {(item["device"], item["number"]) for item in whole}
    assert len(said) == len({id_ for id_ in found if id_})


@given(st.lists(readings, min_size=1, max_size=30), st.sampled_from(["device", "at"]))
def test_an_id_is_the_same_whether_items_are_read_by_columns_or_one_by_one(items, field):
    wide = [item | {"device": item["device"] + "x" * 300} for item in items] * 40
    assert ids(wide, True, field, "at") == ids(wide, False, field, "at")


def test_parts_of_an_id_are_told_apart():
    first, second = ids([{"device": "a1", "at": 1e9}, {"device": "a", "at": 1e9}], False, "device")
    assert first != second


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("id", "has no such field; it has device, at, number, value, tags"),
        ("value", "holds others"),
        ("tags", "holds others"),
    ],
)
def test_a_field_that_cannot_identify_is_refused(field, why):
    with pytest.raises(Refused, match=why):
        Identity(Reading, ["device", field])
