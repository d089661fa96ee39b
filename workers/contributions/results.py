"""The result of a batch: what its items contribute, merged, as one Parquet object in S3."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contributions.fields import Fields
from workers.errors import Refused
from workers.ledger.records import Batch
from workers.store import OWN_PREFIX
from workers.values import bucket

COMPACT = 500_000  # contribution rows a worker holds before it merges them

SCHEMA = pa.schema(
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

ROWS = SCHEMA.remove(0)  # the rows of one field, before their buckets are known

Frames = dict[str, pd.DataFrame]


def result_key(batch: Batch, attempt: int) -> str:
    """Return the S3 key of the result of an attempt at a batch: no attempt overwrites another's."""
    return f"{OWN_PREFIX}results/{batch.asset}/{batch.partition}/{batch.id}-{attempt}.parquet"


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
        if self._rows > COMPACT:
            self._parts = {name: [frame] for name, frame in self.merged().items()}
            # Rows that cannot shrink further do not count, or each chunk would merge them again.
            self._rows = 0

    def merged(self) -> Frames:
        """Return one frame a field, with one row for each profile (and key)."""
        return {
            name: self.fields[name].reduce(pd.concat(parts, ignore_index=True), ["profile"])
            for name, parts in self._parts.items()
        }

    def table(self) -> pa.Table:
        """Return the result, in an order that does not depend on chunks."""
        tables = [
            to_table(name, frame, self.fields[name].column) for name, frame in self.merged().items()
        ]
        table = pa.concat_tables([ROWS.empty_table(), *tables])
        table = table.add_column(0, SCHEMA.field("bucket"), buckets(table["profile"]))
        order = [(name, "ascending") for name in ("bucket", "field", "profile", "key")]
        return table.sort_by(order)


def to_table(field: str, frame: pd.DataFrame, value: str) -> pa.Table:
    """Return a field's contributions as ROWS; Refused where a value has a wrong type."""
    columns = {"profile": frame["profile"], value: frame["value"]}
    columns |= {name: frame[name] for name in ("key", "at") if name in frame}
    arrays = {"field": pa.repeat(field, len(frame))}
    for column in ROWS:
        if column.name in columns:
            try:
                arrays[column.name] = pa.array(columns[column.name], type=column.type)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise Refused(f"contributions to {field!r} have a wrong type: {error}") from error
        elif column.name not in arrays:
            arrays[column.name] = pa.nulls(len(frame), column.type)
    return pa.table([arrays[column.name] for column in ROWS], schema=ROWS)


def buckets(profiles: pa.ChunkedArray) -> pa.Array:
    """Return the bucket of each profile id; each different id is looked at once."""
    coded = profiles.combine_chunks().dictionary_encode()
    ids = coded.dictionary.to_pylist()
    of_id = np.fromiter(map(bucket, ids), "uint8", len(ids))
    return pa.array(of_id[coded.indices.to_numpy()])


def to_parquet(table: pa.Table) -> bytes:
    """Return a result as the bytes of a Parquet file whose row groups follow the buckets."""
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", row_group_size=50_000)
    return file.getvalue()
