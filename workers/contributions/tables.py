"""Merged contributions, and the table that a result holds of them."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from workers.contributions.fields import Field, Fields
from workers.contributions.groups import LARGEST_WHOLE, LEAST_WHOLE
from workers.values import bucket

RESULT_SCHEMA = pa.schema(
    [
        ("bucket", pa.uint8()),
        ("field", pa.string()),
        ("profile", pa.string()),
        ("key", pa.string()),
        ("at", pa.int64()),
        ("number", pa.int64()),
        ("real", pa.float64()),
        ("text", pa.string()),
    ]
)


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

    rows = [merged.fields[name] for name in names]
    lengths = [len(of_field.profile) for of_field in rows]
    profile = np.concatenate([of_field.profile for of_field in rows]).astype("int32")
    field = np.repeat(np.arange(len(names), dtype="int32"), lengths)

    # Within a bucket the rows stay as they are: by field, profile and key.
    buckets = _buckets_of(merged.profiles)[profile]
    order = np.argsort(buckets, kind="stable")

    columns = {
        "bucket": pa.array(buckets[order]),
        "field": pa.array(names, pa.string()).take(pa.array(field[order])),
        "profile": merged.profiles.cast(pa.string()).take(pa.array(profile[order])),
    }
    values = [
        _values(fields[name], of_field, merged.keys, texts)
        for name, of_field in zip(names, rows, strict=True)
    ]
    for column in RESULT_SCHEMA:
        if column.name not in columns:
            parts = [of_field.get(column.name) for of_field in values]
            columns[column.name] = _ordered(parts, lengths, column.type, pa.array(order))
    return pa.table(columns, schema=RESULT_SCHEMA)


def _ordered(
    parts: list[pa.Array | None], lengths: list[int], kind: pa.DataType, order: pa.Array
) -> pa.Array:
    """Return a column of all fields in order; it is null for a field that does not have it."""
    if all(part is None for part in parts):
        return pa.nulls(len(order), kind)

    both = zip(parts, lengths, strict=True)
    arrays = [pa.nulls(length, kind) if part is None else part for part, length in both]
    return pa.concat_arrays(arrays).take(order)


def _values(field: Field, rows: FieldRows, keys: pa.Array, texts: pa.Array) -> dict[str, pa.Array]:
    """Return the columns of a result that rows of a field have, beside the profile's."""
    columns = {}
    if rows.key is not None:
        columns["key"] = keys.take(pa.array(rows.key)).cast(pa.string())
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
    """Return the bucket of each profile id."""
    return np.fromiter(map(bucket, profiles.to_pylist()), "uint8", len(profiles))
