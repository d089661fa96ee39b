"""What counts as a time, and what becomes a dead letter instead of another time."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.declare import Time
from workers.sources.formats.lines import Lines
from workers.sources.items import ItemReader

NOON = 1769860800  # 2026-01-31T12:00:00Z
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))


class Seen(msgspec.Struct):
    ts: Time(unit="ms")
    until: Time(unit="us") | None = None


def milliseconds(moment):
    return (moment - datetime(1970, 1, 1, tzinfo=moment.tzinfo and UTC)) // timedelta(
        milliseconds=1
    )


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31 12:00:00",
        "2026-01-31T12:00",
        "2026-01-31T12",
        "2026-01-31t12:00:00z",
        "2026-01-31T12:00:00.0000000Z",
        "2026-01-31 12:00:00,000",
        "2026-01-31T12:00:00.000000000+00:00",
        "2026-01-31T13:00:00+0100",
        "2026-01-31T13:00:00+01",
        "2026-01-31 12:00:00 UTC",
        "2026-01-31 12:00:00 GMT",
        "2026-01-31 13:00:00 +0100",
        "2026/01/31 12:00:00",
        "20260131T120000Z",
        "20260131120000",
        " 2026-01-31T12:00:00Z ",
        "31/Jan/2026:12:00:00 +0000",
        "[31/Jan/2026:13:00:00 +0100]",
        "Sat, 31 Jan 2026 12:00:00 GMT",
        "31 Jan 2026 13:00:00 +0100",
        "Sat Jan 31 12:00:00 2026",
        "Sat Jan 31 12:00:00 +0000 2026",
        "1769860800",
        "1769860800.0",
        "1.7698608e9",
        NOON,
        float(NOON),
        Decimal(NOON),
        datetime(2026, 1, 31, 12),
        datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1))),
        pd.Timestamp("2026-01-31 12:00:00"),
    ],
)
def test_a_moment_is_read_as_people_and_programs_write_it(text):
    assert Time.read(text) == NOON * 1000


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("20260131", "2026-01-31T00:00:00+00:00"),
        ("2026-W05-6", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31Z", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31+02:00", "2026-01-30T22:00:00+00:00"),
        (date(2026, 1, 31), "2026-01-31T00:00:00+00:00"),
        ("2026-01-31T24:00:00", "2026-02-01T00:00:00+00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
        ("1998-04-01 00:00:00.123456", "1998-04-01T00:00:00.123000+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        ("9999-12-31", "9999-12-31T00:00:00+00:00"),
        (date(9999, 12, 31), "9999-12-31T00:00:00+00:00"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59+00:00"),
        ("9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59.999000+00:00"),
    ],
)
def test_dates_fractions_and_the_ends_of_time_have_their_moment(value, moment):
    read = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=Time.read(value))
    assert read.isoformat() == moment


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_iso_8601_is_read_to_the_millisecond(moment, offset):
    moment = moment.replace(
        microsecond=moment.microsecond // 1000 * 1000, tzinfo=timezone(timedelta(minutes=offset))
    )
    assert Time.read(moment.isoformat()) == Time.read(moment) == milliseconds(moment)
    assert Time.read(f" {moment.isoformat(' ')}") == milliseconds(moment)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (20260131, '20260131 looks like a date, .* write "2026-01-31", or declare Time.unit="s"'),
        (20260131.0, "looks like a date"),
        (2026013112, 'looks like a date, .* write "2026-01-31T12:00:00Z"'),
        ("2026013112", "looks like a date"),
        (202601311200, "looks like a date"),
        (20260131120000, "looks like a date"),
        (1769860800000, 'looks like milliseconds: declare Time.unit="ms"'),
        ("1769860800000", "looks like milliseconds"),
        ("1712012341530", "looks like milliseconds"),  # Python takes it for 1712-01-23T15:30
        (1769860800000000, 'looks like microseconds: declare Time.unit="us"'),
        (1769860800000000000, 'looks like nanoseconds: declare Time.unit="ns"'),
        (0, "of the years 1971 to 2099, or ISO 8601, got 0: .* declare what it counts"),
        (1, "got 1"),
        ("0", "got 0"),
        (-1, "got -1"),
        (46053, "got 46053"),
        (4102444800, "got 4102444800"),
        (10**400, "got 1000"),
    ],
)
def test_a_number_that_is_hardly_epoch_seconds_is_none_and_the_reason_says_the_way_out(value, says):
    with pytest.raises(ValueError, match=says):
        Time.read(value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("soon", "Expected ISO 8601 or epoch seconds, got 'soon'"),
        ("01/31/2026", "got '01/31/2026', which may begin with the day or with the month"),
        ("31.01.2026 12:00", "may begin with the day or with the month"),
        ("2026-01-31-08:00", "got '2026-01-31-08:00'"),  # a zone, or a time
        ("2026-02-30T10:00:00Z", "day is out of range for month"),
        ("2026-01-31T25:00:00", "hour must be in"),
        ("31/Foo/2026:12:00:00", "Foo is no month"),
        ("1_769_860_800", "got '1_769_860_800'"),
        ("", "got ''"),
        ("1e999", "got inf"),
        ("9999-12-31T23:59:59-05:00", "Expected a time in the years 1 to 9999"),
        ("0001-01-01T00:00:00+01:00", "Expected a time in the years 1 to 9999"),
        (float("nan"), "got nan"),
        (Decimal("NaN"), "got nan"),
        (1e300, "got 1e.300"),
        (True, "got True"),
        (None, "got null"),
        ([], r"got \[\]"),
        (pd.NaT, "NaT"),
    ],
)
def test_what_is_no_time_is_quoted_in_the_reason(value, says):
    with pytest.raises((ValueError, TypeError), match=says):
        Time.read(value)


@pytest.mark.parametrize(
    ("unit", "value", "read"),
    [
        ("s", -1, -1000),
        ("s", 0, 0),
        ("s", "20260131", 20260131000),
        ("ms", 1769860800123, 1769860800123),
        ("ms", "1769860800123", 1769860800123),
        ("ms", -1, -1),
        ("ms", "2026-01-31T12:00:00Z", NOON * 1000),
        ("us", 1769860800123456, 1769860800123),
        ("ns", 1769860800123499999, 1769860800123),
        ("ns", 1769860800123500000, 1769860800124),
    ],
)
def test_a_declared_unit_says_what_numbers_count(unit, value, read):
    assert Time(unit=unit).read(value) == read


def test_a_number_of_a_declared_unit_lies_in_the_years_1_to_9999():
    with pytest.raises(ValueError, match=r"years 1 to 9999 \(UTC\), got 1769860800000000"):
        Time(unit="ms").read(1769860800000000)
    with pytest.raises(ValueError, match="Expected ISO 8601 or epoch milliseconds, got 'x'"):
        Time(unit="ms").read("x")


def test_a_unit_that_does_not_exist_is_named_when_it_is_declared():
    with pytest.raises(ValueError, match=r"Time\(unit='min'\): a unit is one of s, ms, us, ns"):
        Time(unit="min")


def test_times_of_a_unit_become_columns_of_milliseconds():
    reader = ItemReader(Seen)
    lines = [b'{"ts":1769860800123,"until":1769860800123456}', b'{"ts":"2026-01-31"}']
    items = reader.items(Lines(0, lines), pytest.fail).items
    frame = reader.frame(items)
    assert (frame["ts"].dtype, frame["ts"].tolist()) == ("int64", [1769860800123, 1769817600000])
    assert frame["until"].tolist()[0] == 1769860800123


@pytest.mark.parametrize("value", [1e306, "1e306", -1e308])
def test_a_number_whose_milliseconds_are_beyond_floats_is_no_time(value):
    with pytest.raises(ValueError, match="the years 1 to 9999"):
        Time(unit="ms").read(value)
