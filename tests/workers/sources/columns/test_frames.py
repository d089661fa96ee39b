"""The frame of items has the dtypes of their fields, whatever their values and however read."""

import json

import msgspec
import pandas as pd
import pytest

from tests.support.both_ways import is_same_frame
from workers.declare import Number, Time
from workers.sources.columns.json_lines import MIN_BYTES
from workers.sources.formats.lines import Lines
from workers.sources.items import ItemReader


class Thing(msgspec.Struct):
    name: str
    at: Time
    amount: Number = None  # type: ignore[assignment]
    note: str | None = None
    count: int | None = None
    share: float | None = None
    is_new: bool | None = None
    seen: Time | None = None
    tags: list[str] | None = None
    parts: list[int] | None = None


class Parent(msgspec.Struct):
    thing: Thing
    by_name: dict[str, int]


FULL = {
    "note": "n",
    "count": 1,
    "share": 0.5,
    "is_new": True,
    "seen": 891388800,
    "tags": ["a", "b"],
    "parts": [1],
}
TEXT = pd.Series(["a"]).dtype


def frames(*fields, item=Thing):
    """Return the frame of things with such fields, read by columns and line by line."""
    lines = [json.dumps({"name": "a", "at": 891388800, "amount": 1} | part) for part in fields]
    content = "\n".join(lines * (MIN_BYTES // 20)).encode()
    by_columns = ItemReader(item, by_columns=True)
    batch = by_columns.items(Lines(0, content), pytest.fail).items
    items = ItemReader(item).items(Lines(0, content), pytest.fail).items
    assert not isinstance(batch, list)
    assert isinstance(items, list)
    return by_columns.frame(batch), by_columns.frame(items)


@pytest.mark.parametrize("fields", [[FULL], [FULL, {}], [{}], [{}, FULL]])
def test_frames_are_the_same_however_they_were_read(fields):
    one, other = frames(*fields)
    assert is_same_frame(one, other)


@pytest.mark.parametrize("fields", [[FULL], [FULL, {}], [{}]])
def test_dtypes_are_those_of_the_fields(fields):
    frame, _ = frames(*fields)
    has_missing = {} in fields
    assert frame["name"].dtype == frame["note"].dtype == TEXT
    assert frame["at"].dtype == "int64"
    assert frame["amount"].dtype == frame["share"].dtype == "float64"
    assert frame["count"].dtype == frame["seen"].dtype == ("float64" if has_missing else "int64")
    assert frame["is_new"].dtype == ("object" if has_missing else "bool")
    assert str(frame["tags"].dtype) == "list<item: large_string>[pyarrow]"


def test_a_list_column_gives_lists_and_explodes_to_a_row_for_each_value():
    frame = frames(FULL, {}, {"tags": []})[0][:3]
    assert list(frame["tags"].dropna()) == [["a", "b"], []]
    assert frame["tags"].list.len().fillna(0).tolist() == [2, 0, 0]
    assert frame.explode("tags")["tags"].dropna().tolist() == ["a", "b"]
    assert frame.dropna(subset=["tags"])["tags"].map(len).tolist() == [2, 0]


def test_values_that_no_column_can_hold_stay_what_they_are():
    reader = ItemReader(Thing)
    odd = Thing(name=b"\xff", at=1, note=7, count=2**70, tags=[1, "a"], parts=[2**70])
    frame = reader.frame([odd])
    assert frame.loc[0, ["name", "note", "count", "tags", "parts"]].tolist() == [
        b"\xff",
        7,
        2**70,
        [1, "a"],
        [2**70],
    ]


def test_fields_of_any_other_type_are_columns_of_objects():
    items = [Parent(Thing(name="a", at=1), {"a": 1})]
    assert ItemReader(Parent).frame(items)["by_name"].tolist() == [{"a": 1}]
