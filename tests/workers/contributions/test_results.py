"""Merging by codes: as a dict in Python would do it, whatever came together and in which order."""

import io
from datetime import datetime
from fractions import Fraction
from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.contributions.test_texts import TEXTS
from workers.contributions import results
from workers.contributions.exact import write
from workers.contributions.fields import (
    Gone,
    Latest,
    LatestBy,
    Marked,
    Max,
    MaxBy,
    Min,
    MinBy,
    Set,
    Sum,
    SumBy,
)
from workers.contributions.results import Merger, profiles_of, to_parquet
from workers.contributions.tables import RESULT_SCHEMA
from workers.values import bucket

FIELDS = {
    "sum": Sum(),
    "sum_float": Sum(float),
    "sum_by": SumBy(),
    "sum_by_float": SumBy(float),
    "min": Min(),
    "min_by": MinBy(float),
    "max": Max(str),
    "max_by": MaxBy(datetime),
    "latest": Latest(),
    "latest_text": Latest(str),
    "latest_by": LatestBy(str),
    "set": Set(),
    "marked": Marked(bool),
    "gone": Gone(),
}
PROFILES = st.sampled_from("abc") | TEXTS
VALUES = {
    int: st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
    float: st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
    str: TEXTS,
    bool: st.integers(0, 1),
    datetime: st.integers(0, 253_402_300_799_999),
}


@st.composite
def contributions(draw):
    """Draw a row: the field, profile, key (None), time (None), value."""
    name = draw(st.sampled_from(sorted(FIELDS)))
    field = FIELDS[name]
    key = draw(st.sampled_from("xy") | TEXTS) if field.keyed else None
    at = draw(st.integers(-3, 3)) if field.rule == "latest" else None
    value = 1 if isinstance(field, Set) else draw(VALUES[field.type])
    return name, draw(PROFILES), key, at, value


def merged_in_python(rows):
    """Return what dicts make of rows: (at, value) by field, profile and key."""
    groups = {}
    for name, profile, key, at, value in rows:
        groups.setdefault((name, profile, key), []).append((at, value))
    return {group: merge(FIELDS[group[0]], pairs) for group, pairs in groups.items()}


def merge(field, pairs):
    if field.rule == "latest":
        return max(pairs)
    values = [value for _, value in pairs]
    if field.is_sum_of_floats:
        return None, exact_text(sum(map(Fraction, values)))
    return None, {"sum": sum, "min": min, "max": max}[field.rule](values)


def exact_text(total):
    return write(total.numerator, 1 - total.denominator.bit_length())


def frames_of(rows):
    """Return rows as a chunk's contributions, checked."""
    frames = {}
    for name, field in FIELDS.items():
        of_field = [row for row in rows if row[0] == name]
        if of_field:
            frame = pd.DataFrame(of_field, columns=["field", "profile", "key", "at", "value"])
            frames[name] = field.checked(frame[["profile", *field.columns]], name)
    return frames


def table_of(rows):
    merger = Merger(FIELDS)
    merger.add(frames_of(rows))
    return merger.table()


def as_plain_text(table):
    """Return a table without dictionary arrays."""
    kinds = {name: pa.string() for name in ("field", "profile", "key")}
    fields = [field.with_type(kinds.get(field.name, field.type)) for field in table.schema]
    return table.cast(pa.schema(fields))


def by_dictionaries(table):
    """Return a table with its text as dictionary arrays, some rows a chunk, and no buckets."""
    columns = {}
    table = as_plain_text(table)
    for name in table.column_names[1:]:
        column = table[name]
        if column.type == pa.string():
            cuts = [column[:2], column[2:]]
            chunks = [cut.combine_chunks().dictionary_encode() for cut in cuts]
            column = pa.chunked_array(chunks)
        columns[name] = column
    return pa.table(columns)


def read_back(table):
    return pq.read_table(io.BytesIO(to_parquet(table)))


WAYS = {
    "frames": lambda merger, rows: merger.add(frames_of(rows)),
    "table": lambda merger, rows: merger.add_table(table_of(rows)),
    "plain text": lambda merger, rows: merger.add_table(as_plain_text(table_of(rows))),
    "dictionaries": lambda merger, rows: merger.add_table(by_dictionaries(table_of(rows))),
    "parquet": lambda merger, rows: merger.add_table(read_back(table_of(rows))),
}


def contents(merged):
    """Return (at, value) by field, profile and key."""
    profiles = merged.profiles.to_pylist()
    keys = merged.keys.to_pylist()
    groups = {}
    for name, rows in merged.fields.items():
        count = len(rows.profile)
        key_places = [None] * count if rows.key is None else rows.key.tolist()
        times = [None] * count if rows.at is None else rows.at.tolist()
        columns = (rows.profile.tolist(), key_places, times, rows.value.tolist())
        for profile, key, at, value in zip(*columns, strict=True):
            group = (name, profiles[profile], None if key is None else keys[key])
            assert group not in groups
            groups[group] = (at, value)
    return groups


@pytest.mark.parametrize("held_bytes", [0, 500, 1_000_000])
@settings(deadline=None)
@given(st.lists(st.lists(contributions(), max_size=12), max_size=6), st.data())
def test_merging_by_codes_is_merging_by_dicts(held_bytes, chunks, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "MAX_HELD_BYTES", held_bytes)
        merger = Merger(FIELDS)
        for chunk in chunks:
            WAYS[data.draw(st.sampled_from(sorted(WAYS)))](merger, chunk)
        merged = merger.merged()

    expected = merged_in_python([row for chunk in chunks for row in chunk])
    assert contents(merged) == expected
    assert merged.profiles.to_pylist() == sorted({profile for _, profile, _ in expected})
    assert merged.keys.to_pylist() == sorted({key for *_, key in expected} - {None})


@settings(deadline=None)
@given(st.lists(contributions(), max_size=25), st.integers())
def test_a_result_is_the_same_whatever_the_order_and_the_chunks(rows, seed):
    shuffled = list(rows)
    random = Random(seed)
    random.shuffle(shuffled)
    merger = Merger(FIELDS)
    while shuffled:
        cut = random.randint(1, len(shuffled))
        merger.add(frames_of(shuffled[:cut]))
        shuffled = shuffled[cut:]
    assert merger.table().equals(table_of(rows))
    assert to_parquet(merger.table()) == to_parquet(table_of(rows))


@settings(deadline=None)
@given(st.lists(contributions(), max_size=25))
def test_rows_of_a_result_are_sorted_by_bucket_field_profile_and_key(rows):
    table = table_of(rows)
    assert table.schema == RESULT_SCHEMA
    order = [
        (row["bucket"], row["field"], row["profile"], row["key"] or "") for row in table.to_pylist()
    ]
    assert order == sorted(order)
    assert [number for number, *_ in order] == [bucket(profile) for _, _, profile, _ in order]


@settings(deadline=None, max_examples=30)
@given(st.lists(contributions(), max_size=25))
def test_a_result_reads_back_from_parquet_as_it_was(rows):
    table = table_of(rows)
    assert as_plain_text(read_back(table)).equals(as_plain_text(table))
    assert profiles_of(table) == len({profile for _, profile, *_ in rows})


def test_a_result_stands_in_the_columns_of_its_kinds():
    late = [("latest_text", "a", None, 5, "new"), ("latest_text", "a", None, 4, "old")]
    sums = [("sum", "a", None, None, 2**62), ("sum", "a", None, None, 2**62)]
    sums += [("sum", "b", None, None, 7), ("sum_by_float", "a", "k", None, 0.5)]
    columns = ["field", "profile", "key", "at", "number", "real", "text"]
    assert table_of(late + sums + [("min_by", "a", "k", None, 1.5)]).select(
        columns
    ).to_pylist() == [
        dict(zip(columns, row, strict=True))
        for row in [
            ("latest_text", "a", None, 5, None, None, "new"),
            ("min_by", "a", "k", None, None, 1.5, None),
            ("sum", "a", None, None, None, None, str(2**63)),
            ("sum_by_float", "a", "k", None, None, None, "1p-1"),
            ("sum", "b", None, None, 7, None, None),
        ]
    ]


def test_rows_of_fields_that_are_not_declared_are_left_out_with_their_profiles():
    table = table_of([("sum", "a", None, None, 1), ("sum_by", "gone", "k", None, 1)])
    merger = Merger({"sum": Sum()})
    merger.add_table(table)
    assert merger.merged().profiles.to_pylist() == ["a"]
    assert merger.merged().keys.to_pylist() == []
    assert list(merger.merged().fields) == ["sum"]


def test_values_that_were_replaced_are_not_kept(monkeypatch):
    monkeypatch.setattr(results, "MAX_HELD_BYTES", 0)
    merger = Merger(FIELDS)
    for at in range(3):
        merger.add(frames_of([("latest_text", "a", None, at, f"text {at}")]))
    (part,) = merger._parts["latest_text"]
    assert part.value.dictionary.to_pylist() == ["text 2"]


def test_a_column_that_stands_in_several_fields_is_encoded_once(monkeypatch):
    lengths = []
    encode = results.encode_together

    def note(columns):
        lengths.append(list(map(len, columns)))
        return encode(columns)

    monkeypatch.setattr(results, "encode_together", note)
    items = pd.DataFrame({"user": pd.Series(["ann", "bo"], dtype="str"), "at": [1, 2]})
    frames = {
        "sum": pd.DataFrame({"profile": items["user"], "value": 1}),
        "sum_by": pd.DataFrame({"profile": items["user"], "key": items["user"], "value": 1}),
        "min": pd.DataFrame({"profile": items["user"], "value": items["at"]}),
    }
    Merger(FIELDS).add({name: FIELDS[name].checked(frame, name) for name, frame in frames.items()})
    of_profiles, of_keys, of_values = lengths
    assert (of_profiles, of_keys, of_values) == ([2], [2], [])


def test_a_shard_reads_the_row_groups_of_its_buckets(monkeypatch):
    monkeypatch.setattr(results, "GROUP_ROWS", 50)
    rows = [("sum", f"u{number}", None, None, 1) for number in range(500)]
    metadata = pq.ParquetFile(io.BytesIO(to_parquet(table_of(rows)))).metadata
    groups = [metadata.row_group(number).column(0) for number in range(metadata.num_row_groups)]
    edges = [(group.statistics.min, group.statistics.max) for group in groups]
    assert len(edges) == 10
    assert edges == sorted(edges)
    assert (edges[0][0], edges[-1][1]) == (0, 255)


def test_merging_does_not_change_what_an_author_gave():
    value = np.array([1, 2])
    frame = pd.DataFrame({"profile": ["a", "a"], "value": value})
    merger = Merger({"sum": Sum()})
    for _ in range(2):
        merger.add({"sum": Sum().checked(frame, "sum")})
        merger.merged()
    assert frame["value"].tolist() == value.tolist() == [1, 2]
