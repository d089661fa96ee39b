"""JSON values that are not one to a line: each once, however the block and its chunks are cut."""

import io
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.errors import Malformed
from workers.sources.formats import reader, values
from workers.sources.formats.format import Format
from workers.sources.formats.header import Columns
from workers.sources.formats.lines import Lines
from workers.sources.formats.plain import compression
from workers.sources.formats.reader import read_range
from workers.sources.formats.values import separate, split_values
from workers.values import ByteRange, Place

TEXTS = st.text(st.sampled_from('a"\\{}[],:\n é\U0001f600'), max_size=6)
LEAVES = TEXTS | st.integers() | st.booleans() | st.none()
OBJECTS = st.dictionaries(
    TEXTS,
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner)),
    max_size=4,
)
LAYOUTS = {
    "behind one another": (Format(shape="values"), "".join),
    "with blanks between": (Format(shape="values"), " \r\n ".join),
    "with commas behind lines": (Format(shape="values"), ",\n".join),
    "an array": (Format(shape="array"), lambda texts: f"[{','.join(texts)}]\n"),
    "arrays behind one another": (
        Format(shape="array"),
        lambda texts: "".join(f"[ {text}\n]" for text in texts) or "[]",
    ),
    "lists in objects": (
        Format(records="Records"),
        lambda texts: "".join(
            f'{{"x": {{"Records": [1]}}, "Records" : [{text}], "y": ["Records", {{}}]}}\n'
            for text in texts
        ),
    ),
}


class Shelf:
    """A store of one block."""

    def __init__(self, body):
        self.body = body

    def open(self, key, etag, start, end):
        return io.BytesIO(self.body[start:end])


def split(body, form, chunk_bytes, start=0, end=None):
    """Return the values of a body with where they start, and why it breaks off."""
    chunks = (body[at : at + chunk_bytes] for at in range(start, len(body), chunk_bytes))
    pairs = []
    try:
        for run in split_values(chunks, form, start, end):
            pairs += [(run.offset(index), line) for index, line in enumerate(run.lines)]
    except Malformed as error:
        return pairs, error
    return pairs, None


@settings(deadline=None)
@given(
    items=st.lists(OBJECTS, max_size=5),
    layout=st.sampled_from(sorted(LAYOUTS)),
    indent=st.sampled_from([None, 1]),
    chunk_bytes=st.integers(1, 40),
)
def test_every_value_comes_once_with_its_place_whatever_the_layout_and_the_chunks(
    items, layout, indent, chunk_bytes
):
    form, join = LAYOUTS[layout]
    texts = [json.dumps(item, indent=indent, ensure_ascii=False) for item in items]
    body = join(texts).encode()

    pairs, error = split(body, form, chunk_bytes)
    assert error is None
    assert [line.decode() for _, line in pairs] == texts
    for offset, line in pairs:
        assert body[offset : offset + len(line)] == line


@settings(deadline=None)
@given(
    items=st.lists(OBJECTS, min_size=1, max_size=5),
    layout=st.sampled_from(sorted(LAYOUTS)),
    cuts=st.sets(st.integers(0, 5)),
    chunk_bytes=st.integers(1, 40),
)
def test_ranges_that_start_at_values_give_each_value_once(items, layout, cuts, chunk_bytes):
    form, join = LAYOUTS[layout]
    texts = [json.dumps(item, ensure_ascii=False) for item in items]
    body = join(texts).encode()
    starts = [offset for offset, _ in split(body, form, 100)[0]]
    edges = sorted({0, len(body), *(starts[cut] for cut in cuts if cut < len(starts))})

    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(reader, "TAIL_BYTES", 7)
        for start, end in pairwise(edges):
            range_ = ByteRange(key="k", etag="e", size=len(body), start=start, end=end, items=1)
            for run in read_range(Shelf(body), range_, form, Columns(())):
                lines += run.lines
    assert [line.decode() for line in lines] == texts


@settings(deadline=None)
@given(
    items=st.lists(OBJECTS, min_size=1, max_size=3),
    layout=st.sampled_from(sorted(LAYOUTS)),
    data=st.data(),
)
def test_a_block_cut_at_any_byte_gives_what_was_whole_and_says_that_the_rest_is_missing(
    items, layout, data
):
    form, join = LAYOUTS[layout]
    body = join([json.dumps(item, ensure_ascii=False) for item in items]).encode()
    whole = split(body, form, 100)[0]
    cut = data.draw(st.integers(0, len(body.rstrip()) - 1))

    pairs, error = split(body[:cut], form, 100)
    assert pairs == whole[: len(pairs)]
    ends = [offset + len(line) for offset, line in pairs]
    is_between_values = form.shape == "values" and not body[max(ends, default=0) : cut].strip(
        b" \r\n,"
    )
    is_between_holders = form.records and (body[:cut].endswith(b"]}\n") or cut == 0)
    is_between_lists = form.shape == "array" and (body[:cut].endswith(b"]") or cut == 0)
    if error is None:
        assert is_between_values or is_between_holders or is_between_lists or not body[:cut].strip()


@settings(deadline=None)
@given(
    items=st.lists(OBJECTS, max_size=4),
    layout=st.sampled_from(sorted(LAYOUTS)),
    damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3),
    chunk_bytes=st.integers(1, 60),
)
def test_damage_is_the_same_whatever_the_chunks_and_nothing_before_it_is_lost(
    items, layout, damage, chunk_bytes
):
    form, join = LAYOUTS[layout]
    body = bytearray(join([json.dumps(item) for item in items]).encode())
    sound = split(bytes(body), form, len(body) + 1)[0]
    for position, byte in damage:
        if body:
            body[position % len(body)] = byte
    first = min((position % len(body) for position, _ in damage), default=0) if body else 0

    pairs, error = split(bytes(body), form, chunk_bytes)
    others, other = split(bytes(body), form, len(body) + 1)
    assert (pairs, str(error)) == (others, str(other))
    before = [pair for pair in sound if pair[0] + len(pair[1]) <= first]
    assert pairs[: len(before)] == before or form.records  # the key of the list may be hit


def test_values_nested_more_deeply_than_usual_are_followed_bracket_by_bracket():
    deep = b'{"a":' * 50 + b"[]" + b"}" * 50
    pairs, error = split(deep * 3, Format(shape="values"), 7)
    assert error is None
    assert [line for _, line in pairs] == [deep] * 3


def test_words_between_values_are_values_that_nobody_can_use():
    pairs, error = split(b'{"a":1}not json at all{"b":2} 3', Format(shape="values"), 4)
    assert error is None
    assert [line for _, line in pairs] == [b'{"a":1}', b"not json at all", b'{"b":2}', b"3"]


@pytest.mark.parametrize(
    ("body", "form", "place", "reason"),
    [
        (b'{"a":1}{"b":', Format(shape="values"), 7, "not closed"),
        (b'{"a":1}{"b":"x\n"}', Format(shape="values"), 7, "no closing quote"),
        (b'{"a":1}}{"b":2}', Format(shape="values"), 7, "no other one opens"),
        (b'[{"a":1}', Format(shape="array"), 8, "the JSON array is not closed"),
        (b'[{"a":1}]{"b":1}', Format(shape="array"), 9, "something beside a list"),
        (b'{"Record":[{}]}', Format(records="Records"), 0, "without the list 'Records'"),
        (b"[1]", Format(records="Records"), 0, "something beside an object"),
    ],
)
def test_a_structure_that_breaks_says_where_the_rest_begins(body, form, place, reason):
    _, error = split(body, form, 5)
    assert error.place == Place.rest(place)
    assert reason in error.reason


def test_a_value_larger_than_may_be_held_ends_the_reading(monkeypatch):
    monkeypatch.setattr(values, "MAX_LINE_BYTES", 100)
    body = b'{"a":1}{"b":"' + b"x" * 1000 + b'"}'
    pairs, error = split(body, Format(shape="values"), 10)
    assert [line for _, line in pairs] == [b'{"a":1}']
    assert error.place == Place.rest(7)


def test_a_list_that_is_null_or_empty_has_no_items():
    body = b'{"Records":null}{"Records":[]}{"Records": [ ] }'
    assert split(body, Format(records="Records"), 3) == ([], None)


def test_lines_with_several_values_are_taken_apart_and_others_stay():
    run = Lines(10, [b'{"a":1}{"b":2}', b"x{}y{}", b'{"c":3}', b'{"d":4} {"e":5}'])
    separated = separate(run)
    assert [(separated.offset(i), line) for i, line in enumerate(separated.lines)] == [
        (10, b'{"a":1}'),
        (17, b'{"b":2}'),
        (25, b"x{}y{}"),
        (32, b'{"c":3}'),
        (40, b'{"d":4}'),
        (48, b'{"e":5}'),
    ]
