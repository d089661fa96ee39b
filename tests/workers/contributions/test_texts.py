"""Text by places in a dictionary: what comes back is what was put in, in the order of Python."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contributions.texts import NO_TEXT, Vocabulary, coded, encode, encode_together

# Where UTF-16 would sort otherwise, and what is hard to keep apart.
HARD = [
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
    "",
    "\0",
    "a",
    "a\0",
    "é",
    "e\u0301",
]
TEXTS = st.sampled_from(HARD) | st.text(st.characters(codec="utf-8"))


@given(st.lists(st.lists(TEXTS, min_size=1)))
def test_texts_of_several_columns_are_in_the_order_of_code_points(columns):
    encoded = [encode(pa.chunked_array([column], pa.string())) for column in columns]
    vocabulary = Vocabulary(encoded)
    expected = sorted({text for column in columns for text in column})
    assert vocabulary.texts.to_pylist() == expected
    assert len(vocabulary) == len(expected)
    if columns:
        ranks = vocabulary.ranks(encoded).tolist()
        assert [expected[rank] for rank in ranks] == [text for column in columns for text in column]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_plain_text_and_dictionary_arrays_are_the_same_column(kind):
    plain = pa.chunked_array([["b", None, "a"], [], ["b"]], kind)
    parts = [pa.array(chunk, kind).dictionary_encode() for chunk in (["b", None, "a"], ["b"])]
    for column in (plain, pa.chunked_array(parts), plain.dictionary_encode(), plain[1:][:0]):
        encoded = encode(column)
        texts = [*encoded.dictionary.to_pylist(), None]  # NO_TEXT is the last one
        assert [texts[place] for place in encoded.places] == column.to_pylist()
        assert encoded.dictionary.type == pa.large_string()


def test_a_dictionary_holds_no_text_beside_those_of_its_rows():
    unused = pa.DictionaryArray.from_arrays([2, None, 0], ["a", "never", "c"])
    encoded = encode(pa.chunked_array([unused]))
    assert encoded.dictionary.to_pylist() == ["a", "c"]
    assert encoded.places.tolist() == [1, NO_TEXT, 0]
    assert coded(np.array([1, 1]), pa.array(["a", "b"])).dictionary.to_pylist() == ["b"]


@given(st.lists(TEXTS, min_size=1, unique=True), st.data())
def test_a_dictionary_is_of_the_rows_own_texts_wherever_they_stand(dictionary, data):
    places = data.draw(st.lists(st.integers(NO_TEXT, len(dictionary) - 1)))
    column = coded(np.array(places, dtype="int32"), pa.array(dictionary, pa.string()))
    texts = [*column.dictionary.to_pylist(), None]
    assert [texts[place] for place in column.places] == [[*dictionary, None][p] for p in places]
    assert set(column.dictionary.to_pylist()) == {dictionary[p] for p in places if p != NO_TEXT}


@given(st.lists(st.lists(TEXTS | st.none())))
def test_columns_that_are_encoded_together_share_a_dictionary_of_their_texts(columns):
    encoded = encode_together([pa.chunked_array([column], pa.string()) for column in columns])
    assert len({id(column.dictionary) for column in encoded}) <= 1
    for column, expected in zip(encoded, columns, strict=True):
        texts = [*column.dictionary.to_pylist(), None]
        assert [texts[place] for place in column.places] == expected


def test_a_text_that_stands_twice_in_a_dictionary_is_one():
    twice = pa.DictionaryArray.from_arrays([0, 1, 2], ["b", "a", "b"])
    encoded = encode(pa.chunked_array([twice]))
    vocabulary = Vocabulary([encoded])
    assert vocabulary.texts.to_pylist() == ["a", "b"]
    assert vocabulary.ranks([encoded]).tolist() == [1, 0, 1]
