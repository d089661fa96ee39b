"""Containers from a seed, whole and damaged, with how many items they were written with.

Damage is what storage and networks do: bits that flip, spans that are zeroed or are another's,
ends that are missing. Whole blocks of records of Avro that are missing are none of it, in the
middle or at the end: what is left is a whole file, and nobody could tell.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa

from tests.support.containers import (
    AVRO_MARKER,
    arrow_body,
    avro_body,
    avro_schema,
    orc_body,
    parquet_body,
)

FIRST = datetime(1998, 4, 1, tzinfo=UTC)
ARROW_TYPES = {
    "user": pa.string(),
    "n": pa.int64(),
    "ts": pa.timestamp("us", "UTC"),
    "day": pa.date32(),
    "topics": pa.list_(pa.string()),
    "tags": pa.map_(pa.string(), pa.int64()),
    "deep": pa.struct([("a", pa.int64()), ("b", pa.list_(pa.float64()))]),
    "price": pa.decimal128(20, 2),
    "raw": pa.binary(),
    "good": pa.bool_(),
}
AVRO_SCHEMA = avro_schema(
    user="string",
    n=["null", "long"],
    ts={"type": "long", "logicalType": "timestamp-micros"},
    day={"type": "int", "logicalType": "date"},
    topics={"type": "array", "items": "string"},
    tags={"type": "map", "values": "long"},
    deep=[
        "null",
        {
            "type": "record",
            "name": "Deep",
            "fields": [
                {"name": "a", "type": "long"},
                {"name": "b", "type": {"type": "array", "items": "double"}},
            ],
        },
    ],
    price={"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2},
    raw="bytes",
    good="boolean",
)
NAMES = list(ARROW_TYPES)
KINDS = ["parquet", "orc", "avro", "arrow"]


class Written(NamedTuple):
    """A container: its kind, its bytes, and its items."""

    kind: str
    body: bytes
    items: int


def written(kind: str, random: Random) -> Written:
    """Return a container of some rows, in a layout that is drawn."""
    rows = [_row(random) for _ in range(random.choice([1, 5, 50, 400]))]
    if kind == "avro":
        codec = random.choice(["null", "deflate", "snappy", "bzip2", "xz"])
        body = avro_body(AVRO_SCHEMA, rows, codec, random.choice([100, 1_000, 16_000]))
        return Written(kind, body, len(rows))

    table = pa.table(
        {
            name: pa.array([row[name] for row in rows], arrow_type)
            for name, arrow_type in ARROW_TYPES.items()
        }
    )
    return Written(kind, WRITE[kind](table, random), len(rows))


def damaged(kind: str, random: Random) -> Written:
    """Return a container to which something has happened."""
    whole = written(kind, random)
    return whole._replace(body=random.choice(DAMAGE)(whole.body, random))


def _row(random: Random) -> dict[str, Any]:
    return {
        "user": f"user{random.randrange(40)}",
        "n": random.choice([None, random.randrange(1 << 40)]),
        "ts": FIRST + timedelta(microseconds=random.randrange(10**13)),
        "day": date(1998, 4, 1) + timedelta(days=random.randrange(9_000)),
        "topics": ["a", "b", "c"][: random.randrange(4)],
        "tags": {"x": 1, "y": 2} if random.random() < 0.5 else {},
        "deep": {"a": 1, "b": [random.random()]} if random.random() < 0.8 else None,
        "price": Decimal(random.randrange(10**6)).scaleb(-2),
        "raw": random.randbytes(random.randrange(9)),
        "good": random.random() < 0.5,
    }


def _as_parquet(table: pa.Table, random: Random) -> bytes:
    return parquet_body(
        table,
        row_group_size=random.choice([7, 100, 1_000]),
        compression=random.choice(["none", "snappy", "zstd", "gzip"]),
        use_dictionary=random.random() < 0.5,
    )


def _as_orc(table: pa.Table, random: Random) -> bytes:
    return orc_body(
        table,
        batch_size=random.choice([10, 100, 1_024]),
        compression=random.choice(["uncompressed", "zlib", "snappy", "lz4", "zstd"]),
        dictionary_key_size_threshold=random.choice([0, 1.0]),
    )


def _as_arrow(table: pa.Table, random: Random) -> bytes:
    return arrow_body(
        table, random.choice([7, 100, 1_000]), random.choice([None, None, "lz4", "zstd"])
    )


WRITE: dict[str, Callable[[pa.Table, Random], bytes]] = {
    "parquet": _as_parquet,
    "orc": _as_orc,
    "arrow": _as_arrow,
}


# Damage


def _flip(body: bytes, random: Random) -> bytes:
    changed = bytearray(body)
    for _ in range(random.choice([1, 1, 2, 20])):
        changed[random.randrange(len(body))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _overwrite(body: bytes, random: Random) -> bytes:
    """Return a body of which a span is zeros, noise, or what stands elsewhere."""
    length = min(random.choice([1, 8, 100, 1_000]), len(body))
    start = random.randrange(len(body) - length + 1)
    other = random.randrange(len(body) - length + 1)
    spans = [bytes(length), random.randbytes(length), body[other : other + length]]
    return body[:start] + random.choice(spans) + body[start + length :]


def _truncate(body: bytes, random: Random) -> bytes:
    end = random.randrange(1, len(body))
    return body[: end - 1] if body[:end].endswith(AVRO_MARKER) else body[:end]


DAMAGE = [_flip, _flip, _overwrite, _overwrite, _truncate]
