"""Items that wait to contribute together: many at once, and no more than memory is for."""

import pyarrow as pa
import pytest

from workers.sources import taken as taken_
from workers.sources.formats.lines import Lines
from workers.sources.taken import Taken, Waiting
from workers.values import ByteRange


def range_of(key="k"):
    return ByteRange(key=key, etag="e", size=9, start=0, end=9, items=1)


def by_columns(values, content=b"{}"):
    batch = pa.record_batch({"value": values})
    return Taken(Lines(0, content), batch, range(len(values)))


def one_by_one(values):
    lines = [b"{}"] * len(values)
    return Taken(Lines(0, lines), list(values), range(len(values)))


def test_items_of_several_ranges_contribute_together_and_know_where_they_were_read():
    waiting = Waiting()
    waiting.add(range_of("first"), by_columns([1, 2], b"{}\n{}"))
    waiting.add(range_of("second"), by_columns([3]))
    (together,) = waiting.take()
    assert together.items["value"].to_pylist() == [1, 2, 3]
    origins = [together.origin_of(index) for index in range(3)]
    places = [(origin.range_.key, origin.place.position) for origin in origins]
    assert places == [("first", 0), ("first", 3), ("second", 0)]


def test_items_read_by_columns_and_one_by_one_contribute_apart():
    waiting = Waiting()
    for part in (by_columns([1]), one_by_one([2]), by_columns([3])):
        waiting.add(range_of(), part)
    first, second = waiting.take()
    assert first.items["value"].to_pylist() == [1, 3]
    assert second.items == [2]


@pytest.mark.parametrize(
    ("part", "bound"),
    [
        (one_by_one([1, 2]), "CHUNK_ITEMS"),
        (by_columns([1, 2]), "CHUNK_COLUMN_ITEMS"),
        (by_columns([1], b"{}"), "CHUNK_BYTES"),
        (one_by_one([1]), "CHUNK_BYTES"),
    ],
)
def test_items_wait_until_they_are_as_many_or_take_as_much_as_is_allowed(part, bound, monkeypatch):
    monkeypatch.setattr(taken_, bound, 4)
    waiting = Waiting()
    waiting.add(range_of(), part)
    assert not waiting.is_full
    waiting.add(range_of(), part)
    assert waiting.is_full


def test_what_was_taken_waits_no_longer(monkeypatch):
    monkeypatch.setattr(taken_, "CHUNK_RUNS", 1)
    waiting = Waiting()
    waiting.add(range_of(), by_columns([1]))
    assert waiting.is_full
    assert len(list(waiting.take())) == 1
    assert (waiting.is_full, waiting.items, list(waiting.take())) == (False, 0, [])
