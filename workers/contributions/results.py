"""The result of a batch: what its items contribute, merged, as one Parquet object in S3."""

import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contributions.fields import Field, Fields
from workers.contributions.groups import groups_of
from workers.contributions.tables import TEXTS, FieldRows, Merged, numbers_of, table_of
from workers.contributions.texts import (
    Coded,
    Vocabulary,
    coded,
    encode,
    encode_together,
    with_own_texts,
)

MAX_HELD_BYTES = 64 << 20  # of contributions held before they are merged: some 2 million rows
GROUP_ROWS = 25_000  # rows of a row group: a shard reads the groups that hold its buckets

# A chunk's contributions by field.
Frames = dict[str, pd.DataFrame]


class Part(NamedTuple):
    """Contributions to one field, from a chunk, from a result, or merged before."""

    profile: Coded
    key: Coded | None
    at: np.ndarray | None
    value: np.ndarray | Coded

    @property
    def nbytes(self) -> int:
        """What it takes in memory; a dictionary that it shares with others counts too."""
        return sum(column.nbytes for column in self if column is not None)


Parts = dict[str, Part]  # by field


def parts_of(frames: Frames, fields: Fields) -> Parts:
    """Return the contributions of one chunk, which were checked."""
    of_text = {name for name in frames if fields[name].type is str}
    profiles = ChunkTexts(frame["profile"] for frame in frames.values())
    keys = ChunkTexts(frame["key"] for frame in frames.values() if "key" in frame)
    texts = ChunkTexts(frames[name]["value"] for name in of_text)

    parts = {}
    for name, frame in frames.items():
        values = frame["value"]
        parts[name] = Part(
            profile=profiles.coded(frame["profile"]),
            key=keys.coded(frame["key"]) if "key" in frame else None,
            at=frame["at"].to_numpy() if "at" in frame else None,
            value=texts.coded(values) if name in of_text else values.to_numpy(),
        )
    return parts


class Merger:
    """Contributions gathered chunk by chunk, merged before they grow large."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._parts: dict[str, list[Part]] = {}
        self._bytes = 0

    def add(self, frames: Frames) -> None:
        """Take in the contributions of one chunk, checked: see `Field.checked`."""
        self.add_parts(parts_of(frames, self.fields))

    def add_parts(self, parts: Parts) -> None:
        """Take in contributions by field."""
        for name, part in parts.items():
            self._add(name, part)
        self._shrink()

    def add_table(self, table: pa.Table) -> None:
        """Take in rows of a result: text as plain strings or dictionary arrays, `bucket` or not.

        Rows of fields that are not declared are left out.
        """
        of_field = encode(table["field"])
        names = of_field.dictionary.to_pylist()
        is_declared = np.array([name in self.fields for name in names], dtype=bool)
        if not is_declared.all():
            self.add_table(table.filter(pa.array(is_declared[of_field.places])))
            return

        profile = encode(table["profile"])
        key = encode(table["key"])
        values = table.select(["at", "number", "real", "text"])
        for place, name in enumerate(names):
            field = self.fields[name]
            rows = np.flatnonzero(of_field.places == place)
            of_rows = values.take(pa.array(rows))
            part = Part(
                profile=profile.take(rows),
                key=key.take(rows) if field.keyed else None,
                at=of_rows["at"].to_numpy() if field.rule == "latest" else None,
                value=_values_of_rows(field, of_rows),
            )
            self._add(name, part)
        self._shrink()

    def merged(self) -> Merged:
        """Return all that was taken in, with one row of a field for each profile (and key)."""
        merged, texts = self._merge()
        fields = {}
        for name, rows in merged.fields.items():
            is_text = self.fields[name].type is str
            value = texts.to_numpy(zero_copy_only=False)[rows.value] if is_text else rows.value
            fields[name] = rows._replace(value=value)
        return merged._replace(fields=fields)

    def table(self) -> pa.Table:
        """Return the result, in an order that does not depend on chunks: see RESULT_SCHEMA."""
        merged, texts = self._merge()
        return table_of(merged, self.fields, texts)

    def _add(self, name: str, part: Part) -> None:
        self._parts.setdefault(name, []).append(part)
        self._bytes += part.nbytes

    def _shrink(self) -> None:
        """Merge what is held where it is much."""
        if self._bytes <= MAX_HELD_BYTES:
            return

        merged, texts = self._merge()
        for name, rows in merged.fields.items():
            is_text = self.fields[name].type is str
            part = Part(
                profile=Coded(rows.profile.astype("int32"), merged.profiles),
                key=None if rows.key is None else Coded(rows.key.astype("int32"), merged.keys),
                at=rows.at,
                value=coded(rows.value, texts) if is_text else rows.value,
            )
            self._parts[name] = [part]
        # What cannot shrink further does not count, or each chunk would merge it again.
        self._bytes = 0

    def _merge(self) -> tuple[Merged, pa.Array]:
        """Return what is held, merged, and the texts that values of text stand for, in order."""
        parts = [part for parts in self._parts.values() for part in parts]
        profiles = Vocabulary(part.profile for part in parts)
        keys = Vocabulary(part.key for part in parts if part.key is not None)
        texts = Vocabulary(part.value for part in parts if isinstance(part.value, Coded))

        fields = {}
        for name, parts in self._parts.items():
            fields[name] = _merge_field(self.fields[name], parts, profiles, keys, texts)
        return Merged(profiles.texts, keys.texts, fields), texts.texts


class ChunkTexts:
    """Columns of text of a chunk, encoded together; one that stands in several fields, once."""

    def __init__(self, columns: Iterable[pd.Series]) -> None:
        # By identity of the Arrow array, which is the same in every frame that got the column.
        self._arrays = {id(_arrow(column)): _arrow(column) for column in columns}
        encoded = encode_together(list(self._arrays.values()))
        self._coded = dict(zip(self._arrays, encoded, strict=True))

    def coded(self, column: pd.Series) -> Coded:
        """Return one of the columns by places."""
        return self._coded[id(_arrow(column))]


def _arrow(column: pd.Series) -> pa.ChunkedArray:
    return column.array.__arrow_array__()


def _merge_field(
    field: Field, parts: list[Part], profiles: Vocabulary, keys: Vocabulary, texts: Vocabulary
) -> FieldRows:
    """Return the rows of one field; a value that is text is its place among the texts."""
    profile = profiles.ranks([part.profile for part in parts])
    times = [part.at for part in parts if part.at is not None]
    at = np.concatenate(times) if times else None
    values = _values_of_parts(parts, texts)

    if not field.keyed:
        groups = groups_of(profile, len(profiles))
        return FieldRows(groups.codes, None, *field.reduce(groups, at, values))

    # Of the field alone, so that there are few pairs. Both numbers are less than 2**31, as places
    # in a dictionary are: 64 bits hold the product.
    key = keys.ranks([part.key for part in parts if part.key is not None])
    of_keys = groups_of(key, len(keys))
    pairs = profile * of_keys.number + of_keys.of_rows
    groups = groups_of(pairs, len(profiles) * of_keys.number)

    profile, key = np.divmod(groups.codes, of_keys.number)
    return FieldRows(profile, of_keys.codes[key], *field.reduce(groups, at, values))


def _values_of_parts(parts: list[Part], texts: Vocabulary) -> np.ndarray:
    """Return the values of parts, one after the other; a text is its place among the texts."""
    of_text = [part.value for part in parts if isinstance(part.value, Coded)]
    if of_text:
        return texts.ranks(of_text)
    return np.concatenate([part.value for part in parts if isinstance(part.value, np.ndarray)])


def _values_of_rows(field: Field, table: pa.Table) -> np.ndarray | Coded:
    """Return the values that rows of one field hold."""
    if field.type is str:
        return encode(table["text"])
    if field.column == "number":
        return numbers_of(table)
    values: np.ndarray = table[field.column].to_numpy()
    return values


def profiles_of(table: pa.Table) -> int:
    """Return how many profiles a result is about."""
    return sum(len(chunk.dictionary) for chunk in table["profile"].chunks)  # there is one


def to_parquet(table: pa.Table) -> bytes:
    """Return a result as the bytes of a Parquet file whose row groups follow the buckets."""
    file = io.BytesIO()
    writer = pq.ParquetWriter(
        file,
        table.schema,
        compression="zstd",
        # Shards read ids as places in a dictionary, and numbers are smaller byte by byte.
        use_dictionary=["bucket", *TEXTS],
        column_encoding=dict.fromkeys(["at", "number", "real"], "BYTE_STREAM_SPLIT"),
        write_statistics=["bucket"],  # which row groups a shard reads
    )
    with writer:
        for start in range(0, table.num_rows, GROUP_ROWS):
            writer.write_table(_row_group(table.slice(start, GROUP_ROWS)))
    return file.getvalue()


def _row_group(rows: pa.Table) -> pa.Table:
    """Return rows with dictionaries of their own texts alone: Parquet writes them whole."""
    for name in ("profile", "key"):
        own = with_own_texts(rows[name].chunk(0))
        rows = rows.set_column(rows.schema.get_field_index(name), name, own)
    return rows
