"""Merged contributions, and the table that a result holds of them."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from workers.contributions.fields import Field, Fields
from workers.contributions.groups import LARGEST_WHOLE, LEAST_WHOLE
from workers.contributions.texts import NO_TEXT, Coded, dictionary_array
from workers.values import BUCKETS

TEXTS = pa.dictionary(pa.int32(), pa.string())  # that stand in many rows
RESULT_SCHEMA = pa.schema(
    [
        ("bucket", pa.uint8()),
        ("field", TEXTS),
        ("profile", TEXTS),
        ("key", TEXTS),
        ("at", pa.int64()),
        ("number", pa.int64()),
        ("real", pa.float64()),
        ("text", pa.string()),
    ]
)

TEXTS = ["field", "profile", "key", "text"]  # columns whose values stand in many rows


class FieldRows(NamedTuple):
    """What is said of one field: a row for each profile (and key), in their order."""

    # The place of each row's profile in Merged.profiles, rising.
    profile: np.ndarray
    # That of its key in Merged.keys, rising within a profile; None where the field has no keys.
    key: np.ndarray | None
    # Milliseconds; None where the field keeps no time.
    at: np.ndarray | None
    # int64 or float64; as objects text, texts of exact sums, whole numbers beyond 64 bits.
    value: np.ndarray


class Merged(NamedTuple):
    """Contributions of any number of chunks, merged."""

    # Text in the order of code points, each once.
    profiles: pa.Array
    keys: pa.Array
    fields: dict[str, FieldRows]


def table_of(merged: Merged, fields: Fields, texts: pa.Array) -> pa.Table:
    """Return merged contributions by RESULT_SCHEMA, sorted by bucket, field, profile and key.

    Values of text are given as places among `texts`. A total beyond 64 bits stands as text, and its
    number is null: see `numbers_of`.
    """
    names = sorted(merged.fields)
    if not names:
        return RESULT_SCHEMA.empty_table()

    # Profiles in the order of their buckets, so that those of a row group stand together.
    buckets = _buckets_of(merged.profiles)
    by_bucket = np.argsort(buckets, kind="stable")
    ranks = np.empty(len(by_bucket), dtype="int32")
    ranks[by_bucket] = np.arange(len(by_bucket))

    rows = [merged.fields[name] for name in names]
    lengths = [len(of_field.profile) for of_field in rows]
    profile = np.concatenate([of_field.profile for of_field in rows])
    field = np.repeat(np.arange(len(names), dtype="int32"), lengths)

    # Within a bucket the rows stay as they are: by field, profile and key.
    bucket = buckets[profile]
    order = np.argsort(bucket, kind="stable")

    columns = {
        "bucket": pa.array(bucket[order]),
        "field": dictionary_array(Coded(field[order], pa.array(names))),
        "profile": dictionary_array(
            Coded(ranks[profile[order]], merged.profiles.take(pa.array(by_bucket)))
        ),
        "key": dictionary_array(Coded(_places_of_keys(rows)[order], merged.keys)),
    }
    values = [
        _values(fields[name], of_field, texts) for name, of_field in zip(names, rows, strict=True)
    ]
    for column in RESULT_SCHEMA:
        if column.name not in columns:
            parts = [of_field.get(column.name) for of_field in values]
            columns[column.name] = _ordered(parts, lengths, column.type, pa.array(order))
    return pa.table(columns, schema=RESULT_SCHEMA)


def _places_of_keys(rows: Sequence[FieldRows]) -> np.ndarray:
    """Return the place of each row's key, of all fields; NO_TEXT where there is none."""
    places = [
        np.full(len(of_field.profile), NO_TEXT) if of_field.key is None else of_field.key
        for of_field in rows
    ]
    return np.concatenate(places, dtype="int32", casting="same_kind")


def _ordered(
    parts: list[pa.Array | None], lengths: list[int], kind: pa.DataType, order: pa.Array
) -> pa.Array:
    """Return a column of all fields in order; it is null for a field that does not have it."""
    if all(part is None for part in parts):
        return pa.nulls(len(order), kind)

    both = zip(parts, lengths, strict=True)
    arrays = [pa.nulls(length, kind) if part is None else part for part, length in both]
    return pa.concat_arrays(arrays).take(order)


def _values(field: Field, rows: FieldRows, texts: pa.Array) -> dict[str, pa.Array]:
    """Return the columns of a result that rows of a field have for times and values."""
    columns = {}
    if rows.at is not None:
        columns["at"] = pa.array(rows.at)

    if field.type is str:
        columns["text"] = texts.take(pa.array(rows.value)).cast(pa.string())
    elif field.is_sum_of_floats:
        columns["text"] = pa.array(rows.value, pa.string())
    elif rows.value.dtype == object:
        columns |= _beyond_64_bits(rows.value.tolist())
    else:
        columns[field.column] = pa.array(rows.value)
    return columns


def _beyond_64_bits(totals: list[int]) -> dict[str, pa.Array]:
    """Return totals as numbers where 64 bits hold them, and as text where not."""
    numbers = []
    texts = []
    for total in totals:
        is_held = LEAST_WHOLE <= total <= LARGEST_WHOLE
        numbers.append(total if is_held else None)
        texts.append(None if is_held else str(total))
    return {"number": pa.array(numbers, pa.int64()), "text": pa.array(texts, pa.string())}


def numbers_of(table: pa.Table) -> np.ndarray:
    """Return the whole numbers of rows of a result; those that are null stand there as text."""
    numbers: np.ndarray
    if table["number"].null_count:
        pairs = zip(table["number"].to_pylist(), table["text"].to_pylist(), strict=True)
        numbers = np.array([int(text) if text else number for number, text in pairs], dtype=object)
    else:
        numbers = table["number"].to_numpy()
    return numbers


def _buckets_of(profiles: pa.Array) -> np.ndarray:
    """Return what `bucket` says of each profile id."""
    ids = profiles.cast(pa.large_binary()).to_numpy(zero_copy_only=False)
    checksums = np.fromiter(map(zlib.crc32, ids), "uint32", len(ids))
    return (checksums % BUCKETS).astype("uint8")
