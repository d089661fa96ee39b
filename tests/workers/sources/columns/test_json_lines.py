"""Chunks of JSON lines are read by columns where that says what reading each line says."""

import json
from typing import Annotated

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.both_ways import BothWays, Reader
from tests.support.damaged_blocks import FIELDS, PLACES
from workers.declare import Key, Number, Time
from workers.sources.columns.frames import readable_columns
from workers.sources.columns.json_lines import MAX_OPENINGS
from workers.tasks.device_profiles import Reading
from workers.tasks.github_profiles import Event as GithubEvent
from workers.tasks.user_profiles import Event


class Everything(msgspec.Struct):
    """A field of each kind that can be read by columns."""

    text: str | None = None
    short: Annotated[str, msgspec.Meta(min_length=2, max_length=3)] | None = None
    whole: int | None = None
    real: float | None = None
    truth: bool | None = None
    at: Time | None = None
    at_ms: Time(unit="ms") | None = None  # type: ignore[valid-type]
    at_ns: Time(unit="ns") | None = None  # type: ignore[valid-type]
    number: Number | None = None
    texts: list[Key] | None = None
    wholes: list[int] | None = None
    reals: list[float] | None = None
    truths: list[bool] | None = None


EVERYTHING = Reader(Everything)
EVENTS = Reader(Event)
READINGS = Reader(Reading)
GOOD = b'{"user":"a","action":"like","ts":891388800}'


def chunk(*items):
    return b"\n".join(json.dumps(item).encode() for item in items)


def is_read(reader, content):
    """Tell whether a chunk is read by columns; if so, it says what its lines say."""
    by_columns, differing = reader.read(content)
    assert not differing
    return bool(by_columns)


# What is read by columns


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD + b"\n" + GOOD,
        GOOD + b"\r\n" + GOOD + b"\r",
        b'{ "user" : "a" , "action":"b", "ts" : 891388800 , "unknown":[{"a":[1,"}\\n{"]}]}',
        '{"user":"ünï 🦄","action":"\\ud83e\\udd84","ts":"1998-04-01T00:00:00Z"}'.encode(),
        GOOD.replace(b"}", b',"topics":["a","b"],"item":"Info/NaN"}'),
        GOOD.replace(b"}", b',"topics":null,"item":null,"author":null}'),
    ],
)
def test_clean_chunks_of_events_are_read_by_columns(content):
    assert is_read(EVENTS, content)


@pytest.mark.parametrize(
    "at",
    [
        891388800,
        891388800.25,
        "1998-04-01T00:00:00Z",
        "1998-04-01 00:00:00",
        "1998-04-01T00:00:00.1235Z",
        "1998-04-01T00:00:00+02:00",
        "01/Apr/1998:00:00:00 +0200",
        "891388800",
        2_100_000_000,
        None,
    ],
)
def test_times_of_one_kind_are_read_by_columns(at):
    assert is_read(EVERYTHING, chunk({"text": "a", "at": at}, {"text": "b", "at": at}))


def test_a_missing_number_is_read_by_columns_where_it_is_said_to_be_missing():
    good = {"device": "a", "metric": "b", "value": 1.5, "ts": 891388800}
    assert is_read(READINGS, chunk(good, good | {"value": None}))
    assert is_read(READINGS, chunk(good | {"value": "NA"}, good | {"value": "1.5"}))
    absent = {name: value for name, value in good.items() if name != "value"}
    assert not is_read(READINGS, chunk(good, absent))


def test_a_negative_zero_is_read_by_columns_where_it_is_no_whole_number():
    assert is_read(EVERYTHING, b'{"text":"a","real":-0.0,"number":-0.0,"reals":[-0.0]}')
    for name, value in (("real", b"-0"), ("number", b"-0"), ("reals", b"[-0]")):
        assert not is_read(EVERYTHING, b'{"text":"a","%b":%b}' % (name.encode(), value))


def test_a_number_beyond_floats_is_no_infinity():
    for name, value in (("real", b"0.02e310"), ("number", b"0.02e310"), ("reals", b"[0.02e310]")):
        assert not is_read(EVERYTHING, b'{"text":"a","%b":%b}' % (name.encode(), value))


# What is read line by line


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xef\xbb\xbf" + GOOD,
        GOOD + b" ",
        GOOD + b"\n\n" + GOOD,
        GOOD + GOOD,
        GOOD + GOOD + b"\n" + GOOD.replace(b",", b",\n", 1),
        GOOD + GOOD + b"\n" + b'{"user":"}\n{"}',
        GOOD + b"," + GOOD,
        b"[" + GOOD + b"]",
        GOOD.replace(b"like", b"\xff"),
        GOOD.replace(b"}", b',"unknown":"\xff"}'),
        GOOD.replace(b"}", b',"unknown":NaN}'),
        GOOD.replace(b"}", b',"unknown":[1, -Infinity]}'),
        GOOD.replace(b"}", b',"unknown":"\\ud800"}'),
        GOOD.replace(b"}", b',"unknown":"\x01"}'),
        GOOD.replace(b"}", b',"user":"b"}'),
        GOOD.replace(b"}", b',"topics":["a",null]}'),
        GOOD.replace(b"}", b',"unknown":' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
        GOOD.replace(b"}", b',"unknown":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001),
        GOOD.replace(b'"a"', b'""'),
        GOOD.replace(b'"a"', b'"' + b"x" * 1_025 + b'"'),
        GOOD.replace(b"}", b',"item":"or NaN"}'),
        GOOD.replace(b"891388800", b"1e400"),
        GOOD.replace(b"891388800", b"20260131"),
        GOOD + b"\n" + GOOD.replace(b"891388800", b'"1998-04-01"'),
        GOOD + b"\n" + GOOD.replace(b"like", b"li\0ke"),
        GOOD + b"\n\0",
    ],
)
def test_chunks_with_a_doubt_are_read_line_by_line(content):
    assert not is_read(EVENTS, content)


def test_a_line_may_open_a_hundred_brackets():
    deep = MAX_OPENINGS - 1
    content = GOOD.replace(b"}", b',"unknown":' + b"[" * deep + b"]" * deep + b"}")
    assert is_read(EVENTS, b"\n".join([GOOD, content, GOOD]))
    assert not is_read(EVENTS, b"\n".join([GOOD, content.replace(b"[]", b"[[]]"), GOOD]))


def test_a_short_line_with_more_brackets_than_it_closes_is_read_line_by_line():
    content = GOOD.replace(b"}", b',"unknown":' + b"[" * MAX_OPENINGS + b"}")
    assert len(content) <= 2 * MAX_OPENINGS
    assert not is_read(EVENTS, b"\n".join([GOOD, content, GOOD]))


def test_texts_are_measured_in_characters():
    assert is_read(EVENTS, chunk({"user": "ü" * 1_024, "action": "a", "ts": 891388800}))
    assert is_read(EVERYTHING, chunk({"text": "a", "short": "🦄🦄🦄"}))
    assert not is_read(EVERYTHING, chunk({"text": "a", "short": "🦄"}))


class Renamed(msgspec.Struct, rename="camel"):
    user_name: str
    of: str | None = None


def test_fields_are_known_by_the_names_that_blocks_have_for_them():
    assert is_read(Reader(Renamed), b'{"userName":"a","user_name":1,"of":"b"}')


class WithDefault(msgspec.Struct):
    count: int = 5


class Observant(msgspec.Struct):
    name: str

    def __post_init__(self):
        self.name = self.name.strip()


class AsArray(msgspec.Struct, array_like=True):
    name: str


class Bounded(msgspec.Struct):
    count: Annotated[int, msgspec.Meta(ge=0)]


class Tagged(msgspec.Struct, tag=True):
    name: str


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    name: str


@pytest.mark.parametrize(
    "item", [GithubEvent, WithDefault, Observant, AsArray, Bounded, Tagged, Strict]
)
def test_types_that_columns_do_not_tell_all_of_are_read_line_by_line(item):
    assert readable_columns(item) == []


# Both ways say the same

texts = st.text(max_size=5).map(lambda text: json.dumps(text, ensure_ascii=False))
escaped = st.text(max_size=5).map(json.dumps)
digits = st.from_regex(
    r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
wholes = st.integers(-(2**66), 2**66).map(str)
near = st.integers(-(10**10), 10**19).map(str)
floats = st.floats().map(json.dumps)
clock = st.datetimes().map(lambda moment: json.dumps(moment.isoformat() + "Z"))
odd = st.sampled_from([value for values in PLACES.values() for value in values])
values = st.one_of(texts, escaped, digits, wholes, near, floats, clock, odd)
lists = st.lists(values, max_size=3).map(lambda parts: f"[{','.join(parts)}]")
anything = values | lists | st.sampled_from(["null", "true", "false", "{}"])
blanks = st.sampled_from(["", "", "", " ", "\t", "\r\n", "\n"])


def lines_of(names, values_of):
    """Return lines of JSON, some of them odd, whose fields have such values."""
    pairs = st.dictionaries(st.sampled_from(names), values_of, max_size=len(names))

    def line(fields, blank):
        written = (f'"{name}":{blank}{value}' for name, value in fields.items())
        return "{" + f",{blank}".join(written) + "}"

    line_of = st.builds(line, pairs, blanks)
    return st.lists(line_of, min_size=1, max_size=4).map(
        lambda lines: "\n".join(lines).encode(errors="surrogatepass")
    )


NAMES = [*Everything.__struct_fields__, "text", "unknown"]


@settings(max_examples=300, deadline=None)
@given(lines_of(NAMES, anything))
def test_any_lines_say_the_same_both_ways(content):
    assert EVERYTHING.read_with_lines(content).differing == ()


KINDS = {
    "text": texts | escaped,
    "short": texts,
    "whole": wholes,
    "real": digits | floats,
    "truth": st.sampled_from(["true", "false"]),
    "at": st.one_of(near, digits, clock),
    "at_ms": st.one_of(near, clock),
    "at_ns": st.one_of(near, wholes),
    "number": st.one_of(digits, floats, wholes, texts),
    "texts": st.lists(texts, max_size=2).map(lambda parts: f"[{','.join(parts)}]"),
    "wholes": st.lists(near, max_size=2).map(lambda parts: f"[{','.join(parts)}]"),
    "reals": st.lists(digits, max_size=2).map(lambda parts: f"[{','.join(parts)}]"),
    "truths": st.just("[true,false]"),
    "unknown": anything,
}


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_lines_that_have_a_field_say_the_same_both_ways(name, data):
    written = data.draw(st.lists(KINDS[name], min_size=1, max_size=3))
    lines = [
        f'{{"text":"a","{name}":{value}}}'.replace('"text":"a","text"', '"text"')
        for value in written
    ]
    content = "\n".join(lines).encode(errors="surrogatepass")
    assert EVERYTHING.read_with_lines(content).differing == ()


@settings(max_examples=100, deadline=None)
@given(
    lines=st.lists(st.sampled_from([GOOD, GOOD.replace(b"a", b"b", 1)]), min_size=1, max_size=3),
    cut=st.data(),
)
def test_damaged_lines_say_the_same_both_ways(lines, cut):
    content = bytearray(b"\n".join(lines))
    for _ in range(cut.draw(st.integers(1, 3))):
        place = cut.draw(st.integers(0, len(content) - 1))
        content[place : place + cut.draw(st.integers(0, 2))] = cut.draw(
            st.sampled_from([b"", b"\0", b"\n", b"}", b"{", b'"', b"\\", b",", b"}\n{", b"\xff"])
        )
    assert EVENTS.read_with_lines(bytes(content)).differing == ()


def test_odd_values_of_each_kind_say_the_same_both_ways():
    read = BothWays()
    for values_of_kind in PLACES.values():
        for value in values_of_kind:
            for name in FIELDS:
                event = {"user": '"a"', "action": '"b"', "ts": "891388800", name: value}
                line = "{" + ",".join(f'"{key}":{text}' for key, text in event.items()) + "}"
                read = read.and_(EVENTS.read(line.encode(errors="surrogatepass")))
    assert read.differing == ()
    assert read.by_columns > 100


def test_a_chunk_of_many_values_is_read_by_columns():
    lines = [
        {"text": str(number), "whole": number, "at": 891388800 + number} for number in range(999)
    ]
    assert is_read(EVERYTHING, chunk(*lines))
    assert is_read(EVERYTHING, chunk({"text": "first"}, *lines))
