"""What values of Parquet, ORC and Arrow become, through the reader of items."""

import io
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.containers import ARROW_BODIES, arrow_body, items_of, parquet_body
from workers.declare import Time
from workers.declare.types import Number

WHEN = datetime(2026, 1, 31, 12, 30, 15, 123_456, tzinfo=UTC)
MOMENT = 1_769_862_615_123_456  # the same in microseconds
MIDNIGHT = 1_769_817_600_000  # of its day, in milliseconds


class Timed(msgspec.Struct):
    ts: Time


class Anything(msgspec.Struct):
    value: Any


class Dated(msgspec.Struct):
    value: date | None


class Binary(msgspec.Struct):
    value: bytes


def value_of(kind: str, array: pa.Array, item: type[msgspec.Struct] = Anything) -> Any:
    """Return the first value of a column of a container, as an item has it."""
    items, reasons = items_of(kind, ARROW_BODIES[kind](pa.table({"value": array})), item)
    assert not reasons
    return items[0].value


def times_of(kind: str, array: pa.Array) -> tuple[list[int], list[str]]:
    items, reasons = items_of(kind, ARROW_BODIES[kind](pa.table({"ts": array})), Timed)
    return [item.ts for item in items], reasons


@pytest.mark.parametrize("kind", ["parquet", "arrow", "orc"])
@pytest.mark.parametrize("zone", [None, "UTC", "+13:45", "America/New_York"])
@pytest.mark.parametrize(("unit", "scale"), [("s", 10**6), ("ms", 1_000), ("us", 1)])
def test_a_timestamp_of_any_unit_and_zone_is_its_moment(kind, zone, unit, scale):
    array = pa.array([MOMENT // scale], pa.timestamp(unit, zone))
    moments, _ = times_of(kind, array)
    assert moments == [round(MOMENT // scale * scale / 1_000)]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "orc"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_timestamp_of_nanoseconds_is_a_plain_datetime_at_microseconds(kind, zone):
    value = value_of(kind, pa.array([MOMENT * 1_000 + 789], pa.timestamp("ns", zone)))
    assert type(value) is datetime
    assert value == WHEN


def test_a_zone_that_nobody_knows_does_not_hide_the_moment():
    assert value_of("parquet", pa.array([MOMENT], pa.timestamp("us", "Mars/Phobos"))) == WHEN


@pytest.mark.parametrize("kind", ["parquet", "arrow", "orc"])
def test_a_date_is_its_midnight(kind):
    days = pa.array([date(2026, 1, 31)], pa.date32())
    assert times_of(kind, days)[0] == [MIDNIGHT]
    assert value_of(kind, days) == datetime(2026, 1, 31, tzinfo=UTC)


def test_a_date_of_64_bits_is_its_midnight():
    assert times_of("arrow", pa.array([date(2026, 1, 31)], pa.date64()))[0] == [MIDNIGHT]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "orc"])
def test_a_field_that_is_a_date_gets_a_date(kind):
    assert value_of(kind, pa.array([date(2026, 1, 31)]), Dated) == date(2026, 1, 31)


YEARS = [datetime(year, 6, 1) for year in (1, 1000, 1676, 1970, 2263, 2500, 9998)]


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_times_far_away_have_the_right_year(unit):
    array = pa.array(YEARS, pa.timestamp(unit))
    for kind in ("parquet", "arrow"):
        moments, _ = times_of(kind, array)
        assert moments == [year.replace(tzinfo=UTC).timestamp() * 1_000 for year in YEARS]


def test_the_times_of_96_bits_that_spark_writes_have_the_right_year():
    table = pa.table({"ts": pa.array(YEARS, pa.timestamp("us"))})
    items, reasons = items_of(
        "parquet", parquet_body(table, use_deprecated_int96_timestamps=True), Timed
    )
    assert not reasons
    assert [item.ts for item in items] == [
        year.replace(tzinfo=UTC).timestamp() * 1_000 for year in YEARS
    ]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_time_beyond_the_year_9999_is_the_reason_of_its_own_row(kind):
    array = pa.array([MOMENT, 10**18, MOMENT], pa.timestamp("us"))
    moments, (reason,) = times_of(kind, array)
    assert len(moments) == 2
    assert reason.startswith("column ts: ")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "orc"])
def test_a_map_is_a_dict(kind):
    array = pa.array([[("a", 1), ("b", None)]], pa.map_(pa.string(), pa.int64()))
    assert value_of(kind, array) == {"a": 1, "b": None}


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_map_with_a_key_twice_is_refused(kind):
    array = pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64()))
    body = ARROW_BODIES[kind](pa.table({"value": array}))
    assert items_of(kind, body, Anything) == (
        [],
        ["column value: ValueError: a map has a key twice"],
    )


@pytest.mark.parametrize("kind", ["parquet", "arrow", "orc"])
def test_values_inside_others_mean_the_same_as_outside(kind):
    inner = pa.struct([("day", pa.date32()), ("raw", pa.binary())])
    maps = pa.map_(pa.string(), pa.list_(pa.timestamp("us")))
    array = pa.array(
        [{"deep": [{"day": date(2026, 1, 31), "raw": b"text"}, None], "at": [("k", [WHEN, None])]}],
        pa.struct([("deep", pa.list_(inner)), ("at", maps)]),
    )
    midnight = datetime(2026, 1, 31, tzinfo=UTC)
    assert value_of(kind, array) == {
        "deep": [{"day": midnight, "raw": "text"}, None],
        "at": {"k": [WHEN, None]},
    }


@pytest.mark.parametrize("kind", ["parquet", "arrow", "orc"])
def test_bytes_that_are_utf_8_are_text_unless_the_field_is_of_bytes(kind):
    assert value_of(kind, pa.array(["ünï".encode()])) == "ünï"
    assert value_of(kind, pa.array([b"text"]), Binary) == b"text"
    assert value_of(kind, pa.array([b"\xff"])) == b"\xff"


ARRAYS = {
    "large text": (pa.array(["a"], pa.large_string()), "a"),
    "text views": (pa.array(["a"], pa.string_view()), "a"),
    "a dictionary": (pa.array(["a"]).dictionary_encode(), "a"),
    "64 bits without a sign": (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
    "half a float": (pa.array([1.5], pa.float16()), 1.5),
    "a decimal": (pa.array([Decimal("12.50")], pa.decimal128(10, 2)), Decimal("12.50")),
    "a list": (pa.array([["a", None]]), ["a", None]),
    "a large list": (pa.array([["a"]], pa.large_list(pa.string())), ["a"]),
    "a list of three": (pa.array([[1, 2, 3]], pa.list_(pa.int8(), 3)), [1, 2, 3]),
    "a struct": (pa.array([{"a": {"b": 1}}]), {"a": {"b": 1}}),
    "a time of day": (pa.array([time(1, 2, 3, 4)]), time(1, 2, 3, 4)),
    "a time of day in nanoseconds": (pa.array([1_001], pa.time64("ns")), time(microsecond=1)),
    "a duration": (pa.array([timedelta(seconds=1)]), timedelta(seconds=1)),
    "a duration in nanoseconds": (
        pa.array([1_001], pa.duration("ns")),
        timedelta(microseconds=1),
    ),
    "nothing": (pa.nulls(1), None),
    "truth": (pa.array([True]), True),
}


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("name", ARRAYS)
def test_every_kind_of_column_has_its_value(kind, name):
    array, expected = ARRAYS[name]
    value = value_of(kind, array)
    assert value == expected
    assert type(value) is type(expected)


def test_a_dictionary_of_dates_is_of_midnights():
    array = pa.array([date(2026, 1, 31)]).dictionary_encode()
    assert value_of("arrow", array) == datetime(2026, 1, 31, tzinfo=UTC)


def test_a_view_of_a_list_is_a_list():
    assert value_of("arrow", pa.array([[1, 2]], pa.list_view(pa.int64()))) == [1, 2]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "orc"])
def test_a_number_that_is_none_stays_nan(kind):
    class Measured(msgspec.Struct):
        value: Number

    assert math.isnan(value_of(kind, pa.array([math.nan]), Measured))


def not_text(values: list[bytes]) -> pa.Array:
    """Return an array of text that is none, as sloppy writers have it."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values).buffers())


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_text_that_is_not_utf_8_is_the_reason_of_its_own_row(kind):
    table = pa.table({"value": not_text([b"a", b"\xff", b"b"])})
    items, (reason,) = items_of(kind, ARROW_BODIES[kind](table), Anything)
    assert [item.value for item in items] == ["a", "b"]
    assert reason.startswith("column value: UnicodeDecodeError")


def test_a_uuid_is_its_text():
    storage = pa.array([bytes(range(16))], pa.binary(16))
    array = pa.ExtensionArray.from_storage(pa.uuid(), storage)
    assert value_of("arrow", array) == "00010203-0405-0607-0809-0a0b0c0d0e0f"


def test_a_parquet_file_of_another_writer_reads_the_same():
    file = io.BytesIO()
    pq.write_table(pa.table({"ts": [WHEN]}), file, version="1.0", store_schema=False)
    assert [item.ts for item in items_of("parquet", file.getvalue(), Timed)[0]] == [MOMENT // 1_000]


def test_only_wanted_columns_are_looked_at():
    table = pa.table({"value": [1, 2], "far": pa.array([10**18] * 2, pa.timestamp("us"))})
    for kind in ("parquet", "arrow"):
        items, reasons = items_of(kind, ARROW_BODIES[kind](table), Anything)
        assert [item.value for item in items] == [1, 2]
        assert not reasons


def test_arrow_compressed_inside_reads_the_same():
    for compression in ("lz4", "zstd"):
        body = arrow_body(pa.table({"value": list(range(500))}), compression=compression)
        items, _ = items_of("arrow", body, Anything)
        assert [item.value for item in items] == list(range(500))
