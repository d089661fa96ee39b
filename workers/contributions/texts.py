"""Columns of text as whole numbers: each different text is looked at once."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NO_TEXT = -1  # stands for a text that is missing


class Coded(NamedTuple):
    """A column of text: where each row's text stands in a dictionary."""

    places: np.ndarray
    # Texts that some row has, of this column or of those that were encoded with it.
    dictionary: pa.Array

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return int(self.places.nbytes + self.dictionary.nbytes)

    def take(self, rows: np.ndarray) -> "Coded":
        """Return the column of some rows; the dictionary stays."""
        return Coded(self.places[rows], self.dictionary)


def encode(column: pa.ChunkedArray) -> Coded:
    """Return a column of text, plain or as dictionary arrays, by places."""
    if pa.types.is_dictionary(column.type):
        array = column.unify_dictionaries().combine_chunks()
        places = array.indices.fill_null(NO_TEXT).to_numpy()
        return coded(places, array.dictionary.cast(pa.large_string()))

    return encode_together([column])[0]


def encode_together(columns: Sequence[pa.ChunkedArray]) -> list[Coded]:
    """Return columns of plain text by places in one dictionary, which holds the texts of all."""
    chunks = [chunk for column in columns for chunk in column.cast(pa.large_string()).chunks]
    array = pa.chunked_array(chunks, pa.large_string()).dictionary_encode().combine_chunks()
    places = array.indices.fill_null(NO_TEXT).to_numpy()

    encoded = []
    start = 0
    for column in columns:
        encoded.append(Coded(places[start : start + len(column)], array.dictionary))
        start += len(column)
    return encoded


def coded(places: np.ndarray, dictionary: pa.Array) -> Coded:
    """Return a column of text with a dictionary that holds no text beside those that rows have."""
    # Most rows of a result have texts that stand close together: no others are looked at.
    first = max(int(places.min(initial=len(dictionary))), 0)
    after = max(int(places.max(initial=NO_TEXT)) + 1, first)
    size = after - first

    is_met = np.zeros(size + 1, dtype=bool)
    is_met[places - first] = True  # the last one stands for NO_TEXT; with it, `first` is 0
    met = np.flatnonzero(is_met[:-1])

    new_places = np.full(size + 1, NO_TEXT, dtype="int32")
    new_places[met] = np.arange(len(met))
    return Coded(new_places[places - first], dictionary.slice(first, size).take(pa.array(met)))


def dictionary_array(column: Coded) -> pa.DictionaryArray:
    """Return a column of text as Arrow has it; null for NO_TEXT."""
    places = pa.array(column.places, mask=column.places == NO_TEXT)
    return pa.DictionaryArray.from_arrays(places, column.dictionary.cast(pa.string()))


def with_own_texts(array: pa.DictionaryArray) -> pa.DictionaryArray:
    """Return rows of a column with a dictionary that holds no text beside theirs."""
    places = array.indices.fill_null(NO_TEXT).to_numpy()
    return dictionary_array(coded(places, array.dictionary))


class Vocabulary:
    """The texts of several columns in order, each once, and where a column's texts stand there.

    The order is that of code points, as Python has it: UTF-8 keeps it, byte by byte.
    """

    def __init__(self, columns: Iterable[Coded]) -> None:
        dictionaries = _dictionaries_of(columns)
        none = pa.array([], pa.large_string())
        together = pa.concat_arrays([none, *dictionaries.values()]).dictionary_encode()

        order = pc.sort_indices(together.dictionary)
        self.texts: pa.Array = together.dictionary.take(order)
        ranks = np.empty(len(order), dtype="int64")
        ranks[order.to_numpy()] = np.arange(len(order))

        # The ranks of each dictionary's texts, by its identity.
        self._ranks: dict[int, np.ndarray] = {}
        places = together.indices.to_numpy()
        start = 0
        for identity, dictionary in dictionaries.items():
            end = start + len(dictionary)
            self._ranks[identity] = ranks[places[start:end]]
            start = end

    def __len__(self) -> int:
        return len(self.texts)

    def ranks(self, columns: Sequence[Coded]) -> np.ndarray:
        """Return where each row's text stands among all texts, for one column after the other."""
        ranks = [self._ranks[id(column.dictionary)][column.places] for column in columns]
        return np.concatenate(ranks)


def _dictionaries_of(columns: Iterable[Coded]) -> dict[int, pa.Array]:
    """Return the different dictionaries by identity."""
    return {id(dictionary): dictionary for _, dictionary in columns}
