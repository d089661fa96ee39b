"""The result of a batch: what its items contribute, merged, as one Parquet object in S3."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contributions.columns import LARGEST_WHOLE, LEAST_WHOLE
from workers.contributions.fields import Fields
from workers.values import bucket

MAX_HELD_ROWS = 500_000  # contribution rows a worker holds before it merges them
GROUP_ROWS = 50_000  # rows of a row group: a shard reads the groups that hold its buckets

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
FIELD_SCHEMA = RESULT_SCHEMA.remove(0)  # the rows of one field, before their buckets are known
ORDER = ("bucket", "field", "profile", "key")

# A chunk's contributions by field.
Frames = dict[str, pd.DataFrame]


class Merger:
    """Contributions gathered chunk by chunk, merged before they grow large."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._parts: dict[str, list[pd.DataFrame]] = {}
        self._rows = 0

    def add(self, frames: Frames) -> None:
        """Take in the contributions of one chunk."""
        for name, frame in frames.items():
            self._parts.setdefault(name, []).append(frame)
            self._rows += len(frame)

        if self._rows > MAX_HELD_ROWS:
            self._parts = {name: [frame] for name, frame in self.merged().items()}
            # Rows that cannot shrink further do not count, or each chunk would merge them again.
            self._rows = 0

    def merged(self) -> Frames:
        """Return one frame a field, with one row for each profile (and key)."""
        merged = {}
        for name, parts in self._parts.items():
            rows = pd.concat(parts, ignore_index=True)
            merged[name] = self.fields[name].reduce(rows, ["profile"])
        return merged

    def table(self) -> pa.Table:
        """Return the result, in an order that does not depend on chunks."""
        tables = [FIELD_SCHEMA.empty_table()]
        for name, frame in self.merged().items():
            tables.append(to_table(name, frame, self.fields[name].column))

        table = pa.concat_tables(tables)
        table = table.add_column(0, RESULT_SCHEMA.field("bucket"), buckets_of(table["profile"]))
        return table.sort_by([(name, "ascending") for name in ORDER])


def to_table(field: str, frame: pd.DataFrame, value: str) -> pa.Table:
    """Return a field's contributions by FIELD_SCHEMA; `value` names the column of the values.

    A total beyond 64 bits stands as text, and its number is null: see `values_of`.
    """
    columns: dict[str, pd.Series | pa.Array] = {"profile": frame["profile"], value: frame["value"]}
    columns |= {name: frame[name] for name in ("key", "at") if name in frame}
    if value == "number" and frame["value"].dtype == object:
        columns |= _beyond_64_bits(frame["value"].tolist())

    arrays = {"field": pa.repeat(field, len(frame))}
    for column in FIELD_SCHEMA:
        if column.name in columns:
            arrays[column.name] = pa.array(columns[column.name], type=column.type)
        elif column.name not in arrays:
            arrays[column.name] = pa.nulls(len(frame), column.type)
    return pa.table([arrays[column.name] for column in FIELD_SCHEMA], schema=FIELD_SCHEMA)


def _beyond_64_bits(totals: list[int]) -> dict[str, pa.Array]:
    """Return totals as numbers where 64 bits hold them, and as text where not."""
    numbers = []
    texts = []
    for total in totals:
        is_held = LEAST_WHOLE <= total <= LARGEST_WHOLE
        numbers.append(total if is_held else None)
        texts.append(None if is_held else str(total))
    return {"number": pa.array(numbers, pa.int64()), "text": pa.array(texts, pa.string())}


def values_of(table: pa.Table, column: str) -> pd.Series:
    """Return the values that a field's rows hold, those of `to_table`'s column."""
    if column != "number" or not table["number"].null_count:
        values: pd.Series = table[column].to_pandas()
        return values

    pairs = zip(table["number"].to_pylist(), table["text"].to_pylist(), strict=True)
    return pd.Series([int(text) if text else number for number, text in pairs], dtype=object)


def buckets_of(profiles: pa.ChunkedArray) -> pa.Array:
    """Return the bucket of each profile id; each different id is looked at once."""
    coded = profiles.combine_chunks().dictionary_encode()
    ids = coded.dictionary.to_pylist()
    buckets = np.fromiter(map(bucket, ids), "uint8", len(ids))
    return pa.array(buckets[coded.indices.to_numpy()])


def to_parquet(table: pa.Table) -> bytes:
    """Return a result as the bytes of a Parquet file whose row groups follow the buckets."""
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", row_group_size=GROUP_ROWS)
    return file.getvalue()
