"""Parquet, ORC and Arrow: rows in groups, cut anywhere, and groups that are damaged."""

import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.containers import (
    ARROW_BODIES,
    Shelf,
    arrow_body,
    block_of,
    orc_body,
    parquet_body,
    rows_by_place,
    runs_of,
)
from workers.errors import Malformed
from workers.sources.formats.containers import orc_process
from workers.sources.formats.containers.kinds import GROUPS
from workers.sources.formats.containers.orc import read_orc
from workers.sources.formats.header import Columns
from workers.values import ByteRange, Place, PlaceKind

KINDS = list(ARROW_BODIES)
ROWS = 3_500
TABLE = pa.table(
    {
        "n": range(ROWS),
        "user": [f"user{n % 40}" for n in range(ROWS)],
        "topics": [["a", "b"][: n % 3] for n in range(ROWS)],
    }
)
BODIES = {kind: write(TABLE) for kind, write in ARROW_BODIES.items()}
N = Columns(("n",))


def numbers(rows):
    return [row["n"] for row in rows.values()]


@pytest.mark.parametrize("kind", KINDS)
def test_groups_rise_and_hold_all_rows(kind):
    groups = GROUPS[kind](Shelf(BODIES[kind]), block_of(BODIES[kind]))
    starts = [group.start for group in groups]
    assert len(groups) > 3
    assert starts == sorted(set(starts))
    assert sum(group.rows for group in groups) == ROWS
    first_rows = [sum(group.rows for group in groups[:number]) for number in range(len(groups))]
    assert [group.row for group in groups] == first_rows


@settings(deadline=None)  # the first stripe starts a process
@given(kind=st.sampled_from(KINDS), shares=st.lists(st.floats(0, 1), max_size=6))
def test_any_cuts_of_a_container_give_each_row_once(kind, shares):
    body = BODIES[kind]
    rows = rows_by_place(kind, body, ["n"], [round(share * len(body)) for share in shares])
    assert numbers(rows) == list(range(ROWS))


@pytest.mark.parametrize("kind", ["parquet", "orc"])
def test_the_place_of_a_row_is_its_number_in_the_file(kind):
    rows = rows_by_place(kind, BODIES[kind], ["n"])
    assert list(rows) == [Place(kind=PlaceKind.ROW, position=n) for n in range(ROWS)]


def test_the_place_of_a_row_of_arrow_is_its_number_in_its_record_batch():
    places = list(map(str, rows_by_place("arrow", BODIES["arrow"], ["n"])))
    assert places[0] == "row 0 of record batch 0"
    assert places[-1] == "row 99 of record batch 34"


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_with_none_of_the_columns_is_malformed_as_a_whole(kind):
    with pytest.raises(Malformed) as failure:
        list(runs_of(kind, BODIES[kind], Columns(("other",), frozenset({"other"}))))
    assert failure.value.place == Place.rest(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", [TABLE.slice(0, 0), pa.table({"n": pa.array([], pa.int64())})])
def test_a_container_without_rows_has_none(kind, table):
    body = ARROW_BODIES[kind](table)
    assert rows_by_place(kind, body, ["n"]) == {}
    assert sum(group.rows for group in GROUPS[kind](Shelf(body), block_of(body))) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_header_warns_of_comes_once_a_block(kind, monkeypatch):
    monkeypatch.setattr(
        "workers.sources.formats.containers.groups.check_header",
        lambda present, _: (f"{len(present)}",),
    )
    body = BODIES[kind]
    middle = len(body) // 2
    first = list(runs_of(kind, body, N, 0, middle))
    second = list(runs_of(kind, body, N, middle))
    assert [run.warnings for run in first] == [("3",)] + [()] * (len(first) - 1)
    assert [run.warnings for run in second] == [()] * len(second)
    assert second


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_is_refused_is_malformed(kind, monkeypatch):
    def refuse(_present, _columns):
        raise Malformed("no such column", Place.rest(0))

    monkeypatch.setattr("workers.sources.formats.containers.groups.check_header", refuse)
    with pytest.raises(Malformed, match="no such column"):
        list(runs_of(kind, BODIES[kind], N))


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_container_is_malformed_as_a_whole(kind):
    body = BODIES[kind]
    for end in (0, 1, 7, 30, len(body) // 2, len(body) - 1):
        with pytest.raises(Malformed, match="byte 0 to the end: not ") as failure:
            list(runs_of(kind, body[:end], N))
        assert failure.value.place == Place.rest(0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_group_takes_its_own_rows_and_no_others(kind):
    body = bytearray(BODIES[kind] if kind != "arrow" else arrow_body(TABLE, compression="zstd"))
    second, third = GROUPS[kind](Shelf(body), block_of(body))[1:3]
    # Of Arrow the metadata stays, which says how many rows there are.
    start = third.start - 500 if kind == "arrow" else second.start + 20
    body[start : start + 300] = b"\xff" * 300

    rows = rows_by_place(kind, bytes(body), ["n", "user"])
    reasons = [number for number, row in enumerate(rows.values()) if isinstance(row, str)]
    assert len(rows) == ROWS
    assert reasons == list(range(second.row, second.row + second.rows))


def test_rows_are_held_some_at_a_time():
    table = pa.table({"n": range(25_000)})
    bodies = {
        "parquet": parquet_body(table, row_group_size=25_000),
        "orc": orc_body(table, stripe_size=64 << 20),
        "arrow": arrow_body(table, 25_000),
    }
    for kind, body in bodies.items():
        assert [len(run.rows) for run in runs_of(kind, body, N)] == [10_000, 10_000, 5_000]


# ORC


@pytest.mark.parametrize("compression", ["uncompressed", "zlib", "snappy", "lz4", "zstd"])
def test_orc_of_any_compression_says_where_its_stripes_are(compression):
    chooser = random.Random(1)
    noise = [chooser.randbytes(100) for _ in range(ROWS)]
    body = orc_body(TABLE.append_column("noise", pa.array(noise)), compression=compression)
    groups = GROUPS["orc"](Shelf(body), block_of(body))
    assert len(groups) > 1
    assert numbers(rows_by_place("orc", body, ["n"])) == list(range(ROWS))


def test_only_some_requests_are_made_for_a_stripe():
    shelf = Shelf(BODIES["orc"])
    size = len(shelf.body)
    range_ = ByteRange(key="a", etag="e", size=size, start=0, end=size, items=1)
    list(read_orc(shelf, range_, Columns(("n", "user", "topics"))))
    assert len(shelf.asked) <= 3


def test_a_process_that_dies_leaves_the_rows_of_its_stripe_as_dead_letters():
    orc_process.end_processes()
    body = orc_body(TABLE)
    rows_by_place("orc", body, ["n"])
    ((_, process),) = orc_process._idle
    process._process.kill()

    rows = list(rows_by_place("orc", body, ["n"]).values())
    assert rows[:1_000] == ["the stripe is damaged: Arrow's reader of ORC died of it"] * 1_000
    assert rows[1_000:] == [{"n": n} for n in range(1_000, ROWS)]


def test_a_process_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(orc_process, "SILENT_SECONDS", 0)
    orc_process.end_processes()
    rows = rows_by_place("orc", orc_body(TABLE.slice(0, 10)), ["n"])
    assert set(rows.values()) == {
        "the stripe is damaged: Arrow's reader of ORC said nothing for 0 seconds"
    }


def test_a_read_that_is_given_up_ends_its_process():
    orc_process.end_processes()
    runs = runs_of("orc", BODIES["orc"], N)
    next(runs)
    runs.close()
    assert numbers(rows_by_place("orc", BODIES["orc"], ["n"])) == list(range(ROWS))


def test_an_error_of_s3_is_not_taken_for_damage(monkeypatch):
    shelf = Shelf(BODIES["orc"] + b"")
    size = len(shelf.body)
    range_ = ByteRange(key="a", etag="e", size=size, start=0, end=size, items=1)
    runs = read_orc(shelf, range_, N)
    next(runs)

    class Gone(Exception):
        pass

    def fail(*_):
        raise Gone

    monkeypatch.setattr(orc_process.Window, "between", fail)
    with pytest.raises(Gone):
        list(runs)


# Arrow


def test_feather_of_version_1_and_streams_of_arrow_are_refused_by_name():
    with pytest.raises(Malformed, match="Feather of version 1, which is not read"):
        list(runs_of("arrow", b"FEA1" + bytes(40) + b"FEA1", N))
    with pytest.raises(Malformed, match="a stream of Arrow is not read"):
        list(runs_of("arrow", b"\xff\xff\xff\xff" + bytes(100), N))


def test_a_record_batch_that_does_not_say_its_rows_leaves_the_rest_unread():
    body = bytearray(BODIES["arrow"])
    group = GROUPS["arrow"](Shelf(body), block_of(body))[3]
    body[group.start + 8 : group.start + 60] = bytes(52)

    rows = []
    with pytest.raises(Malformed) as failure:
        for run in runs_of("arrow", bytes(body), N):
            rows += run.rows
    assert failure.value.place == Place.rest(group.start)
    assert rows == [{"n": n} for n in range(300)]


@pytest.mark.parametrize("count", [4, 0])
def test_a_footer_that_leaves_out_a_record_batch_is_refused(count):
    body = arrow_body(pa.table({"n": range(50)}), 10)
    length = int.from_bytes(body[-10:-6], "little")
    groups = GROUPS["arrow"](Shelf(body), block_of(body))
    first_span = body.index(groups[0].start.to_bytes(8, "little"), len(body) - 10 - length)
    assert body[first_span - 4 : first_span] == (5).to_bytes(4, "little")

    damaged = body[: first_span - 4] + count.to_bytes(4, "little") + body[first_span:]
    with pytest.raises(Malformed, match="its footer leaves out record batches"):
        list(runs_of("arrow", damaged, N))


def test_a_record_batch_that_no_memory_should_hold_is_refused(monkeypatch):
    monkeypatch.setattr("workers.sources.formats.containers.arrow.MAX_BATCH_BYTES", 100)
    rows = rows_by_place("arrow", arrow_body(pa.table({"n": range(50)})), ["n"])
    assert len(rows) == 50
    assert all("write smaller ones" in row for row in rows.values())
