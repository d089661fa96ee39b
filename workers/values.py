"""The values that travel between the rooms: small, frozen, and JSON on the way.

A comment over a field says what the field means for what happens.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import msgspec

Document = dict[str, Any]  # of MongoDB
BUCKETS = 256  # profiles are spread over this many hash buckets; a shard is a run of buckets
RESULTS_FORMAT = 1  # part of every batch's id: a new layout of results repeats the batches


def bucket(profile: str) -> int:
    """Return the bucket of a profile's id: CRC-32, which no library's update can change."""
    return zlib.crc32(profile.encode()) % BUCKETS


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen value with a JSON form."""

    def to_json(self) -> dict[str, Any]:
        """Return the value as plain dicts, lists, strings and numbers."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document

    @classmethod
    def of(cls, document: Any) -> Self:
        """Return the value that `to_json` (or a ledger document) holds; extra keys are ignored."""
        return msgspec.convert(document, cls)


class Block(Value, frozen=True, kw_only=True):
    """One S3 object that holds items."""

    key: str
    # Reads are conditional on it, so that a block replaced midway is never half old, half new.
    etag: str
    size: int


class Range(Value, frozen=True, kw_only=True):
    """Bytes `start` to `end` (exclusive) of a block: the lines that *start* there."""

    key: str
    etag: str
    size: int
    start: int
    end: int
    # An estimate from samples; the worker counts.
    items: int
    # The S3 key of the piece that holds these lines, where the block itself cannot be cut; its
    # first byte stands at `offset` of the decompressed block.
    piece: str = ""
    offset: int = 0
    # Why nothing can be read here: one dead letter at `offset`.
    broken: str = ""
    # Where not empty, only the items at these places count: a redrive's.
    places: list[str] = []
    # Of profiles as items: the ids from `first` on that come before `until`; "" is no bound.
    first: str = ""
    until: str = ""


class Round(NamedTuple):
    """Which look at the world a batch belongs to."""

    generation: int
    number: int


NO_ROUND = Round(0, 0)  # of tasks that do not look at it


def unit_key(partition: str, number: int) -> str:
    """Return what profiles keep the contributions of a partition's round under."""
    return f"{partition}~{number}" if number else partition


def unit_partition(key: str) -> str:
    """Return the partition that `unit_key` was made of."""
    return key.partition("~")[0]


class Outcome(Value, frozen=True, kw_only=True):
    """What a worker says of a finished batch. items = used + dead, always."""

    items: int
    used: int
    dead: int
    # Those of `used` that a task which looks first found to need nothing.
    skipped: int = 0
    # Held against the plan: a range read short would show here.
    bytes: int
    rows: int
    profiles: int
    seconds: float
    # Key of the Parquet object with the contributions, and its SHA-256.
    result: str
    digest: str
    # Which attempt at the batch this was; dead letters name it.
    attempt: int


class Ran(NamedTuple):
    """What a finished batch took."""

    items: int
    # Ranges it read; each is a request to S3 of its own.
    parts: int
    seconds: float


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def blocks_digest(blocks: Iterable[Block]) -> str:
    """Return a digest of a set of blocks: it changes when one is added, replaced or removed."""
    return digest(sorted([b.key, b.etag, b.size] for b in blocks))
