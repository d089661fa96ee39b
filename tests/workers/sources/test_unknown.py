"""Fields of blocks that the type of their items does not know."""

import gzip
import io
import json

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.pipeline import lines
from workers.declare import Sizes
from workers.sources.gaps import gaps_of
from workers.sources.items import columns_of
from workers.sources.slicing import slice_gaps


class Sale(msgspec.Struct):
    user: str
    price: float = 0.0


class Tagged(msgspec.Struct, tag_field="type"):
    user: str


class Listed(msgspec.Struct, array_like=True):
    user: str


ROW = {"user": "ann", "price": 1.5, "colour": "red"}


def parquet(row):
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row]), buffer)
    return buffer.getvalue()


def unknown(pipeline, bodies, item=Sale):
    """Put blocks and slice them; return the examples of fields that are not known, by name."""
    for name, body in bodies.items():
        pipeline.store.put(f"sales/{name}", body)
    gaps = [gap for block in pipeline.store.list("sales/") for gap in gaps_of("p", block, [])]
    sliced = slice_gaps(pipeline.store, gaps, "", columns_of(item), Sizes(), 1_000)
    return {field.name: field.example for field in sliced.unknown}


@pytest.mark.parametrize(
    ("name", "body", "example"),
    [
        ("a.jsonl", lines([ROW]), "red"),
        ("a.jsonl.gz", gzip.compress(lines([ROW])), "red"),
        ("a.json", json.dumps([ROW], indent=1).encode(), "red"),
        ("a.csv", b"user,price,colour\nann,1.5,red\n", "red"),
        ("a.parquet", parquet(ROW), "a column of string"),
    ],
)
def test_a_field_that_the_type_does_not_know_comes_with_an_example(pipeline, name, body, example):
    assert unknown(pipeline, {name: body}) == {"colour": example}


def test_blocks_that_cannot_be_read_tell_of_no_field(pipeline):
    bodies = {"a.parquet": b"PAR1 and no more", "b.csv": b'user,"', "c.jsonl": b'{"user": "ann'}
    assert unknown(pipeline, bodies) == {}


def test_of_many_blocks_each_field_comes_once(pipeline):
    bodies = {f"{n}.jsonl": lines([{**ROW, f"more{n}": n}]) for n in range(3)}
    assert unknown(pipeline, bodies) == {"colour": "red", "more0": "0", "more1": "1", "more2": "2"}


def test_an_example_is_cut_after_40_characters(pipeline):
    (example,) = unknown(pipeline, {"a.jsonl": lines([{**ROW, "colour": "r" * 99}])}).values()
    assert example == "r" * 39 + "…"


def test_the_field_that_names_the_type_is_known(pipeline):
    assert unknown(pipeline, {"a.jsonl": lines([{"type": "Tagged", "user": "a"}])}, Tagged) == {}


def test_items_that_are_arrays_have_no_fields(pipeline):
    assert unknown(pipeline, {"a.jsonl": lines([["ann", 1, 2]])}, Listed) == {}
