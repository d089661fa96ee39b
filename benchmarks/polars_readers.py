"""Readers of the part `formats` by Polars: each reads a block to a frame."""

import gzip
from collections.abc import Callable

import polars as pl

from benchmarks.native import SCHEMA

CSV_SCHEMA = {"user": pl.String, "action": pl.String, "item": pl.String, "ts": pl.Int64}


def read_json(body: bytes) -> pl.DataFrame:
    """Read JSON lines."""
    return pl.read_ndjson(body, schema=SCHEMA)


def read_json_gzip(body: bytes) -> pl.DataFrame:
    """Read JSON lines that are compressed."""
    return read_json(gzip.decompress(body))


def read_csv(body: bytes) -> pl.DataFrame:
    """Read CSV."""
    return pl.read_csv(body, schema_overrides=CSV_SCHEMA)


def read_parquet(body: bytes) -> pl.DataFrame:
    """Read Parquet."""
    return pl.read_parquet(body)


READERS: dict[str, Callable[[bytes], pl.DataFrame]] = {
    "json": read_json,
    "json_gzip": read_json_gzip,
    "csv": read_csv,
    "parquet": read_parquet,
}
