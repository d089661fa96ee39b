"""Readers of the part `formats` by Arrow: each reads a block to a table."""

import gzip
import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

COLUMNS = {"user": pa.string(), "action": pa.string(), "item": pa.string(), "ts": pa.int64()}
SCHEMA = pa.schema(COLUMNS | {"topics": pa.list_(pa.string())})


def read_json(body: bytes) -> pa.Table:
    """Read JSON lines."""
    options = pa.json.ParseOptions(explicit_schema=SCHEMA)
    return pa.json.read_json(io.BytesIO(body), parse_options=options)


def read_json_gzip(body: bytes) -> pa.Table:
    """Read JSON lines that are compressed."""
    return read_json(gzip.decompress(body))


def read_csv(body: bytes) -> pa.Table:
    """Read CSV."""
    options = pa.csv.ConvertOptions(column_types=COLUMNS)
    return pa.csv.read_csv(io.BytesIO(body), convert_options=options)


def read_parquet(body: bytes) -> pa.Table:
    """Read Parquet."""
    return pa.parquet.read_table(io.BytesIO(body))


READERS: dict[str, Callable[[bytes], pa.Table]] = {
    "json": read_json,
    "json_gzip": read_json_gzip,
    "csv": read_csv,
    "parquet": read_parquet,
}
