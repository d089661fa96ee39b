"""Avro's Object Container Files: cut anywhere, read by the writer's schema, and damaged."""

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import fastavro
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.containers import avro_body, avro_schema, items_of, rows_by_place, runs_of
from workers.declare import Time
from workers.errors import Malformed
from workers.sources.formats.containers.avro import avro_density
from workers.sources.formats.containers.avro_codecs import CODECS, plain_data
from workers.sources.formats.containers.avro_schema import schema_of
from workers.sources.formats.header import Columns
from workers.values import Place

SCHEMA = avro_schema(n="long", user="string", topics={"type": "array", "items": "string"})
RECORDS = [{"n": n, "user": f"user{n % 40}", "topics": ["a", "b"][: n % 3]} for n in range(600)]
BODY = avro_body(SCHEMA, RECORDS)
N = Columns(("n",))
# fastavro has no zstd of its own here.
WRITTEN_CODECS = [codec for codec in CODECS if codec != "zstandard"]


def numbers(rows):
    return [row["n"] for row in rows.values()]


def header_bytes(body):
    """Return where the first block of records starts: behind the first marker."""
    return body.index(body[-16:]) + 16


def blocks_of(body):
    """Return where blocks of records start, by the marker alone."""
    marker = body[-16:]
    starts = []
    start = header_bytes(body)
    while start < len(body):
        starts.append(start)
        start = body.index(marker, start) + 16
    return starts


def read_until_malformed(body, columns=N):
    rows: list[Any] = []
    with pytest.raises(Malformed) as failure:
        for run in runs_of("avro", body, columns):
            rows += run.rows
    return rows, failure.value


# Cuts


@given(cuts=st.lists(st.integers(1, len(BODY) - 1), max_size=8, unique=True))
def test_any_cuts_of_a_file_give_each_record_once(cuts):
    assert numbers(rows_by_place("avro", BODY, ["n"], cuts)) == list(range(600))


def test_a_small_file_cut_at_every_byte_gives_each_record_once():
    body = avro_body(avro_schema(n="long"), [{"n": n} for n in range(9)], block_bytes=2)
    assert len(blocks_of(body)) > 3
    for cut in range(1, len(body)):
        assert numbers(rows_by_place("avro", body, ["n"], [cut])) == list(range(9))
    assert numbers(rows_by_place("avro", body, ["n"], range(1, len(body)))) == list(range(9))


def test_a_place_is_the_number_in_a_block_of_records_and_the_same_wherever_the_file_is_cut():
    whole = rows_by_place("avro", BODY, ["n"])
    assert str(next(iter(whole))) == f"row 0 of the block at byte {header_bytes(BODY)}"
    assert whole == rows_by_place("avro", BODY, ["n"], [500, 501, 5_000])


@pytest.mark.parametrize("codec", WRITTEN_CODECS)
def test_a_file_of_any_codec_is_read(codec):
    body = avro_body(SCHEMA, RECORDS, codec)
    rows = rows_by_place("avro", body, ["n", "user", "topics"], [len(body) // 2])
    assert list(rows.values()) == RECORDS


def test_a_marker_is_found_however_far_it_is(monkeypatch):
    monkeypatch.setattr("workers.sources.formats.containers.avro_framing.SCAN_BYTES", 50)
    body = avro_body(avro_schema(n="long", user="string"), [{"n": 0, "user": "x" * 9_000}] * 3)
    assert numbers(rows_by_place("avro", body, ["n"], range(1, len(body), 700))) == [0] * 3


def test_a_long_header_is_read_in_steps():
    schema = avro_schema(n="long") | {"doc": "long " * 60_000}
    assert numbers(rows_by_place("avro", avro_body(schema, [{"n": 7}]), ["n"], [900])) == [7]


def test_a_file_without_records_has_none():
    assert rows_by_place("avro", avro_body(SCHEMA, []), ["n"]) == {}


# Values


class Anything(msgspec.Struct):
    value: Any


class Timed(msgspec.Struct):
    value: Time


def value_of(kind, value, item=Anything):
    items, reasons = items_of("avro", avro_body(avro_schema(value=kind), [{"value": value}]), item)
    assert not reasons
    return items[0].value


WHEN = datetime(2026, 1, 31, 12, 30, 15, 123_456, tzinfo=UTC)
MOMENT = 1_769_862_615_123_456


def logical(kind, name, **more):
    return {"type": kind, "logicalType": name} | more


@pytest.mark.parametrize(
    ("name", "raw", "moment"),
    [
        ("timestamp-millis", MOMENT // 1_000, WHEN.replace(microsecond=123_000)),
        ("timestamp-micros", MOMENT, WHEN),
        ("timestamp-nanos", MOMENT * 1_000 + 7, WHEN),
        ("local-timestamp-millis", MOMENT // 1_000, WHEN.replace(microsecond=123_000)),
        ("local-timestamp-micros", MOMENT, WHEN),
        ("timestamp-micros", -1, datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("timestamp-millis", -30_610_224_000_000, datetime(1000, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_its_moment_in_utc(name, raw, moment):
    assert value_of(logical("long", name), raw) == moment
    assert value_of(["null", logical("long", name)], raw) == moment
    milliseconds = value_of(logical("long", name), raw, Timed)
    assert milliseconds == pytest.approx(moment.timestamp() * 1_000, abs=1)


def test_a_date_is_its_midnight_unless_the_field_is_a_date():
    class Dated(msgspec.Struct):
        value: date

    kind = logical("int", "date")
    assert value_of(kind, date(2026, 1, 31)) == datetime(2026, 1, 31, tzinfo=UTC)
    assert value_of(kind, date(2026, 1, 31), Dated) == date(2026, 1, 31)


def test_bytes_that_are_utf_8_are_text_unless_the_field_is_of_bytes():
    class Binary(msgspec.Struct):
        value: bytes

    fixed = {"type": "fixed", "name": "F", "size": 4}
    assert value_of("bytes", "ünï".encode()) == "ünï"
    assert value_of(fixed, b"text") == "text"
    assert value_of("bytes", b"\xff") == b"\xff"
    assert value_of("bytes", b"text", Binary) == b"text"
    assert value_of(fixed, b"text", Binary) == b"text"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (logical("bytes", "decimal", precision=10, scale=2), Decimal("3.25"), Decimal("3.25")),
        (["null", "string"], None, None),
        (["null", "string", "long"], 5, 5),
        ({"type": "map", "values": "double"}, {"a": 1.5}, {"a": 1.5}),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
        (logical("string", "uuid"), "0" * 32, "0" * 32),
        ({"type": "string"}, "a", "a"),
        (logical("long", "of-nobody"), 5, 5),
        (
            {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]},
            {"a": 1},
            {"a": 1},
        ),
    ],
)
def test_every_kind_of_value_is_what_it_says(kind, value, expected):
    assert value_of(kind, value) == expected


def test_a_type_that_is_named_in_one_field_means_the_same_in_another():
    day = {
        "type": "record",
        "name": "Day",
        "fields": [{"name": "day", "type": logical("int", "date")}],
    }
    schema = avro_schema(unwanted=day, value=["null", "Day"])
    body = avro_body(schema, [{"unwanted": {"day": 0}, "value": {"day": 1}}])
    items, _ = items_of("avro", body, Anything)
    assert items[0].value == {"day": datetime(1970, 1, 2, tzinfo=UTC)}


def test_a_name_in_a_namespace_is_found():
    inner = {"type": "record", "name": "In", "fields": [{"name": "a", "type": "int"}]}
    schema = avro_schema(other=inner, value=["null", "org.events.In"]) | {"namespace": "org.events"}
    body = avro_body(schema, [{"other": {"a": 1}, "value": {"a": 2}}])
    assert items_of("avro", body, Anything)[0][0].value == {"a": 2}


def test_a_time_that_python_does_not_have_is_the_reason_of_its_own_row():
    schema = avro_schema(n="long", value=logical("long", "timestamp-micros"))
    raw = avro_schema(n="long", value="long")
    records = [{"n": n, "value": 10**18 if n == 1 else n} for n in range(3)]
    body = renamed(avro_body(raw, records), schema)

    items, reasons = items_of("avro", body, Anything)
    assert [item.value.microsecond for item in items] == [0, 2]
    assert reasons == [
        "ValueError: a time of 1000000000000000000 microseconds is not in the years 1 to 9999"
    ]


def test_a_column_that_nobody_wants_spoils_no_row():
    schema = avro_schema(value="long", far=logical("long", "timestamp-micros"))
    body = renamed(
        avro_body(avro_schema(value="long", far="long"), [{"value": 1, "far": 10**18}]), schema
    )
    assert items_of("avro", body, Anything)[0][0].value == 1


def renamed(body: bytes, schema: dict[str, Any]) -> bytes:
    """Return a file with another schema, by which its records are not written but are read."""
    empty = io.BytesIO()
    fastavro.writer(empty, schema, [], sync_marker=body[-16:])
    return empty.getvalue() + body[header_bytes(body) :]


def test_text_that_is_not_utf_8_is_the_reason_of_its_own_row():
    body = avro_body(
        avro_schema(value="bytes"), [{"value": b"a"}, {"value": b"\xff"}, {"value": b"b"}]
    )
    items, reasons = items_of("avro", renamed(body, avro_schema(value="string")), Anything)
    assert [item.value for item in items] == ["a", "b"]
    assert reasons[0].startswith("UnicodeDecodeError: ")


# Damage


def test_a_truncated_file_gives_its_whole_blocks_and_then_says_where_it_breaks_off():
    *_, before_last, last = blocks_of(BODY)
    for end in (last + 1, last + 30, len(BODY) - 1):
        rows, error = read_until_malformed(BODY[:end])
        assert error.place == Place.rest(last)
        assert "breaks off" in error.reason
        assert [row["n"] for row in rows] == list(range(len(rows)))
    assert before_last < last


def test_a_block_that_does_not_end_with_the_marker_leaves_the_rest_unread():
    third = blocks_of(BODY)[2]
    damaged = bytearray(BODY)
    damaged[third - 1] ^= 1
    rows, error = read_until_malformed(bytes(damaged))
    assert error.place == Place.rest(blocks_of(BODY)[1])
    assert rows


def test_a_length_that_ends_at_a_later_marker_is_told():
    """Two blocks of records as one, with the first one's number of records."""
    first, second, third = blocks_of(BODY)[:3]
    frame = io.BytesIO(BODY[first:second])
    records = fastavro.schemaless_reader(frame, "long")
    fastavro.schemaless_reader(frame, "long")
    data = BODY[first + frame.tell() : third - 16]
    forged = io.BytesIO()
    fastavro.schemaless_writer(forged, "long", records)
    fastavro.schemaless_writer(forged, "bytes", data)
    rows, error = read_until_malformed(BODY[:first] + forged.getvalue() + BODY[third - 16 :])
    assert error.place == Place.rest(first)
    assert not rows


def forged(records: int, data: bytes, schema=SCHEMA) -> bytes:
    """Return a file with one block, which says that it has so many records."""
    head = avro_body(schema, [])
    frame = io.BytesIO()
    fastavro.schemaless_writer(frame, "long", records)
    fastavro.schemaless_writer(frame, "bytes", data)
    return head + frame.getvalue() + head[-16:]


def encoded(*records) -> bytes:
    body = io.BytesIO()
    for record in records:
        fastavro.schemaless_writer(body, fastavro.parse_schema(SCHEMA), record)
    return body.getvalue()


@pytest.mark.parametrize("records", [1, 4, 10**6, 2**60, -1])
def test_a_number_of_records_that_is_not_that_of_the_data_is_unknown(records):
    rows, error = read_until_malformed(forged(records, encoded(*RECORDS[:3])))
    assert error.place == Place.rest(len(avro_body(SCHEMA, [])))
    assert len(rows) <= 3


def test_what_follows_a_damaged_record_is_unknown():
    too_long = b"\x00\xfe\xff\xff\x0f"  # a number, and the length of a text
    data = encoded(*RECORDS[:3]) + too_long + encoded(RECORDS[3])
    body = forged(5, data)
    rows, error = read_until_malformed(body)
    assert rows == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert "the block of records is damaged: EOFError" in error.reason
    assert error.place == Place.rest(header_bytes(body))


@pytest.mark.parametrize("codec", [codec for codec in WRITTEN_CODECS if codec != "null"])
def test_what_follows_a_block_that_cannot_be_decompressed_is_unknown(codec):
    body = bytearray(avro_body(SCHEMA, RECORDS, codec))
    second, third = blocks_of(body)[1:3]
    body[second + 8 : third - 18] = b"\x07" * (third - 18 - second - 8)

    rows, error = read_until_malformed(bytes(body))
    assert 0 < len(rows) < 600
    assert f"its {codec} data cannot be read" in error.reason
    assert error.place == Place.rest(second)


def test_a_block_that_grows_beyond_the_bound_is_damaged_and_not_held(monkeypatch):
    monkeypatch.setattr("workers.sources.formats.containers.avro.MAX_BLOCK_BYTES", 1 << 20)
    schema = avro_schema(n="string")
    for codec in WRITTEN_CODECS[1:]:
        body = avro_body(schema, [{"n": "x" * (2 << 20)}], codec)
        _, error = read_until_malformed(body)
        assert "it holds more than 1 MB" in error.reason


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"Obj\x02" + BODY[4:], "it does not begin as Avro does"),
        (b"Obj\x01", "its header breaks off"),
        (BODY[:100], "its header breaks off"),
        (BODY.replace(b'"record"', b'"recold"'), "its items are no records"),
        (BODY.replace(b'"long"', b'"l0ng"'), "its schema cannot be read"),
        (BODY.replace(b"avro.schema", b"avro.scheme"), "its header has no schema"),
        (
            avro_body(SCHEMA, RECORDS, "deflate").replace(b"deflate", b"deflete"),
            "'deflete' is not read",
        ),
    ],
)
def test_a_header_that_cannot_be_read_is_the_whole_block(body, why):
    rows, error = read_until_malformed(body)
    assert error.place == Place.rest(0)
    assert error.reason.startswith("not Avro: ")
    assert why in error.reason
    assert not rows


NODE = {
    "type": "record",
    "name": "Node",
    "fields": [{"name": "value", "type": "long"}, {"name": "next", "type": ["null", "Node"]}],
}


def test_a_schema_that_refers_to_itself_is_read():
    record = {"value": 1, "next": {"value": 2, "next": None}}
    items, _ = items_of("avro", avro_body(NODE, [record]), Anything)
    assert items[0].value == 1


def test_records_within_records_without_end_are_damage_and_not_the_end_of_the_process():
    body = forged(2, b"\x02\x02" * 100_000, NODE)
    _, error = read_until_malformed(body, Columns(("value",)))
    assert "RecursionError" in error.reason


def test_a_list_of_nothing_is_refused_as_damage_could_make_it_endless():
    schema = avro_schema(n={"type": "array", "items": "null"})
    _, error = read_until_malformed(avro_body(schema, [{"n": [None]}]))
    assert "a list of nothing" in error.reason


def test_records_that_take_no_bytes_are_counted_up_to_a_bound():
    schema = avro_schema(n="null")
    assert len(rows_by_place("avro", avro_body(schema, [{"n": None}] * 30), ["n"])) == 30
    read_until_malformed(forged(2**50, b"", schema))


# Headers and samples


def test_what_a_header_warns_of_comes_once_a_block(monkeypatch):
    monkeypatch.setattr(
        "workers.sources.formats.containers.avro.check_header", lambda *_: ("warned",)
    )
    first, *others = runs_of("avro", BODY, N)
    assert first.warnings == ("warned",)
    assert {run.warnings for run in others} == {()}
    assert {run.warnings for run in runs_of("avro", BODY, N, len(BODY) // 2)} == {()}


@pytest.mark.parametrize("codec", WRITTEN_CODECS)
def test_a_sample_tells_the_density_of_a_file(codec):
    body = avro_body(SCHEMA, RECORDS * 10, codec, block_bytes=16_000)
    items, plain_bytes = avro_density(body[:30_000])
    assert items * len(body) == pytest.approx(6_000, rel=0.1)
    assert plain_bytes * len(body) == pytest.approx(len(encoded(*RECORDS)) * 10, rel=0.1)


def test_a_sample_that_ends_within_the_first_block_still_tells_how_many_items_there_are():
    body = avro_body(SCHEMA, RECORDS * 10, "deflate", block_bytes=1 << 20)
    items, plain_bytes = avro_density(body[: header_bytes(body) + 50])
    assert items * len(body) == pytest.approx(6_000, rel=0.1)
    assert plain_bytes == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("head", [b"", b"Obj\x01", BODY[:40], b"{}", json.dumps(SCHEMA).encode()])
def test_a_sample_that_is_no_beginning_of_a_block_tells_nothing(head):
    assert avro_density(head) == (0, 1)


def test_zstd_that_others_write_is_read_and_bounded():
    data = pa.compress(b"x" * 1_000, "zstd", asbytes=True)
    assert plain_data(data, "zstandard", 1_000) == b"x" * 1_000
    with pytest.raises(Malformed, match="it holds more than"):
        plain_data(data, "zstandard", 999)
    with pytest.raises(Malformed, match="cannot be read"):
        plain_data(data[:-3], "zstandard", 1_000)


def test_a_type_within_a_type_is_that_type():
    declared = avro_schema(
        value={"type": {"type": {"type": "string", "avro.java.string": "String"}}}
    )
    schema = schema_of(declared, Columns(("value",)))
    stream = io.BytesIO(b"\x02a")
    assert schema.read(stream, schema.values, None) == {"value": "a"}
