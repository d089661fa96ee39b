"""Times of ORC that Arrow does not have: they are read from the streams of their column."""

import itertools
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.containers import Shelf, block_of, items_of, orc_body, rows_by_place
from workers.declare import Time
from workers.sources.formats.containers import orc_process
from workers.sources.formats.containers.groups import S3File
from workers.sources.formats.containers.kinds import GROUPS
from workers.sources.formats.containers.orc_footer import read_ending, read_footer
from workers.sources.formats.containers.orc_integers import bits, integers
from workers.sources.formats.containers.orc_times import _clock, read_times

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 12, 30, tzinfo=UTC)
OLD = datetime(1000, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
NOW = datetime(2026, 1, 31, 12, 30, 15, 123_456, tzinfo=UTC)


class Timed(msgspec.Struct):
    n: int
    ts: Time


@pytest.mark.parametrize("version", ["0.11", "0.12"])
@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("compression", ["uncompressed", "zlib", "snappy", "lz4", "zstd"])
def test_times_far_away_have_the_right_year_and_others_their_fractions(version, zone, compression):
    times = [NOW, FOREVER, None, OLD, NOW + timedelta(seconds=1)] * 30
    table = pa.table({"n": range(150), "ts": pa.array(times, pa.timestamp("us", zone))})
    body = orc_body(table, compression=compression, file_version=version)
    rows = rows_by_place("orc", body, ["n", "ts"])
    assert list(rows.values()) == [{"n": n, "ts": time} for n, time in enumerate(times)]
    assert [row["ts"] for row in rows_by_place("orc", body, ["ts"]).values()] == times

    items, reasons = items_of("orc", body, Timed)
    assert len(items) == 120
    assert len(reasons) == 30  # those without a time
    assert items[1].ts == FOREVER.timestamp() * 1_000


def test_many_rows_are_held_some_at_a_time_and_stay_in_order():
    times = [FOREVER - timedelta(seconds=n) for n in range(25_000)]
    table = pa.table({"n": range(25_000), "ts": times})
    rows = rows_by_place("orc", orc_body(table, batch_size=1_024), ["n", "ts"])
    assert [row["ts"] for row in rows.values()] == times


def test_arrow_reads_times_on_a_machine_that_knows_no_zones(monkeypatch):
    body = orc_body(pa.table({"ts": pa.array([NOW], pa.timestamp("us", "UTC"))}))
    monkeypatch.setenv("TZDIR", "/nowhere")  # where Arrow looks first
    monkeypatch.setattr(orc_process, "_idle", [])
    window = orc_process.Window(S3File(Shelf(body), block_of(body)), len(body))
    (batch,) = orc_process.read_stripe(window, len(body), 0, ["ts"])
    orc_process.end_processes()
    assert batch.column("ts").to_pylist() == [NOW]


MOMENTS = st.integers(-9_000_000_000_000_000, 9_000_000_000_000_000)
RUNS = st.one_of(
    st.lists(st.none() | MOMENTS, max_size=40),
    st.builds(lambda start, step, count: [start + step * n for n in range(count)],
              MOMENTS, st.integers(-10**9, 10**9), st.integers(0, 700)),
    st.builds(lambda start, steps: list(itertools.accumulate(steps, initial=start)),
              MOMENTS, st.lists(st.integers(0, 10**8), max_size=600)),
    st.builds(lambda start, more: [start + value for value in more], MOMENTS,
              st.lists(st.integers(0, 1_000) | st.integers(0, 10**14), max_size=600)),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(runs=st.lists(RUNS, max_size=3), version=st.sampled_from(["0.11", "0.12"]))
def test_our_reading_of_times_is_that_of_what_was_written(runs, version):
    moments = [moment for run in runs for moment in run]
    table = pa.table({"ts": pa.array(moments, pa.timestamp("us"))})
    body = orc_body(table, file_version=version, compression="uncompressed")
    shelf = Shelf(body)
    ending = read_ending(body[-256:], len(body))
    end = len(body) - ending.bytes
    footer = read_footer(body[end - ending.footer_bytes : end], ending, block_of(body).size)

    column, is_moment = footer.times["ts"]
    values = []
    for stripe, group in zip(footer.stripes, footer.groups, strict=True):
        array = read_times(
            lambda start, end: shelf.body[start:end], stripe, ending, column, is_moment, group.rows
        )
        values += array.cast(pa.int64()).to_pylist()
    assert values == moments


def test_a_clock_of_the_writer_is_read_as_it_stood():
    first = datetime(2015, 1, 1, tzinfo=UTC)
    summer = datetime(2015, 7, 1, tzinfo=UTC)
    clock = _clock("America/New_York")
    assert EPOCH + timedelta(microseconds=clock(0, 0)) == first
    # Half a year later, less the hour that the clock was put forward.
    seconds = round((summer - first).total_seconds()) - 3_600
    assert EPOCH + timedelta(microseconds=clock(seconds, 0)) == summer


# The examples of the specification
@pytest.mark.parametrize(
    ("data", "values"),
    [
        ("0a2710", [10_000] * 5),
        ("5e035ca1ab1edeadbeef", [23_713, 43_806, 57_005, 48_879]),
        (
            "8e132b2107d01e00147028323c46505a646e78828c96a0aab4befce8",
            [2030, 2000, 2020, 1_000_000, *range(2040, 2200, 10)],
        ),
        ("c609020222424246", [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]),
    ],
)
def test_the_examples_of_the_specification_are_read(data, values):
    encoded = bytes.fromhex(data)
    assert integers(encoded, len(values), is_signed=False, version=2) == values


def test_the_examples_of_the_first_version_are_read():
    assert integers(bytes.fromhex("610007"), 100, is_signed=False, version=1) == [7] * 100
    assert integers(bytes.fromhex("61ff64"), 100, is_signed=False, version=1) == [
        *range(100, 0, -1)
    ]
    assert integers(bytes.fromhex("fb0203070b0d"), 5, is_signed=False, version=1) == [
        2, 3, 7, 11, 13
    ]  # fmt: skip
    assert bits(bytes.fromhex("ff80"), 8) == [True, *[False] * 7]


def test_damaged_times_never_raise_and_each_row_is_accounted_for():
    times = [NOW + timedelta(seconds=n * n) for n in range(500)] + [FOREVER]
    table = pa.table({"ts": pa.array(times, pa.timestamp("us"))})
    for compression in ("uncompressed", "zlib"):
        body = orc_body(table, compression=compression)
        for seed in range(20):
            chooser = Random(seed)
            damaged = bytearray(body)
            for _ in range(chooser.choice([1, 5])):
                damaged[chooser.randrange(3, len(body) * 3 // 4)] = chooser.randrange(256)
            assert len(rows_by_place("orc", bytes(damaged), ["ts"])) == 501


def test_times_that_cannot_be_read_are_the_reasons_of_their_rows():
    table = pa.table({"ts": pa.array([FOREVER, OLD] * 50, pa.timestamp("us"))})
    body = bytearray(orc_body(table, compression="uncompressed"))
    (stripe,) = GROUPS["orc"](Shelf(body), block_of(body))
    body[stripe.start : len(body) * 2 // 3] = b"\xff" * (len(body) * 2 // 3 - stripe.start)
    rows = list(rows_by_place("orc", bytes(body), ["ts"]).values())
    assert len(rows) == 100
    assert all(row.startswith("the stripe is damaged: its times cannot be read") for row in rows)
