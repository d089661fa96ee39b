"""The values that travel between the rooms: small, frozen, and JSON on the way.

A comment over a field says what the field means for what happens. What the ledger remembers of
plans and batches is in ledger/records.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from threading import Lock
from typing import Any, Self

import msgspec

Document = dict[str, Any]  # of MongoDB
BUCKETS = 256  # profiles are spread over this many hash buckets; a shard is a run of buckets
RESULTS_FORMAT = 1  # part of every batch's id: a new layout of results repeats the batches


def bucket(profile: str) -> int:
    """Return the bucket of a profile's id: CRC-32, which no library's update can change."""
    return zlib.crc32(profile.encode()) % BUCKETS


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen value with a JSON form."""

    def to_json(self) -> dict[str, Any]:
        """Return the value as plain dicts, lists, strings and numbers."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document

    @classmethod
    def of(cls, document: Any) -> Self:
        """Return the value that `to_json` (or a ledger document) holds; extra keys are ignored."""
        learn(cls)
        return msgspec.convert(document, cls)


_learning = Lock()


@cache
def learn(kind: Any) -> None:
    """Let msgspec learn a type of structs, as it does when it first meets one.

    Two threads that are the first to meet one end the process. So whoever may be in a thread lets
    it be learned here, before anything of that type is read.
    """
    with _learning:
        msgspec.json.Decoder(kind)


class Block(Value, frozen=True, kw_only=True):
    """One S3 object that holds items."""

    key: str
    # Reads are conditional on it, so that a block replaced midway is never half old, half new.
    etag: str
    size: int


def blocks_digest(blocks: Iterable[Block]) -> str:
    """Return a digest of a set of blocks: it changes when one is added, replaced or removed."""
    return digest(sorted([block.key, block.etag, block.size] for block in blocks))


class PlaceKind(StrEnum):
    """What a place counts."""

    # The byte at which a line starts in its block (decompressed, where it is compressed).
    BYTE = "byte"
    # The number of a row in a Parquet file, from 0.
    ROW = "row"
    # The id of a profile that is an item.
    PROFILE = "profile"
    # All from a byte to the end of the block, which nobody can read.
    REST = "rest"


class Place(Value, frozen=True, kw_only=True):
    """Where an item stands in its block; `str` writes it as people read it."""

    kind: PlaceKind
    position: int | str

    @classmethod
    def byte(cls, position: int) -> Self:
        """Return the place of a line."""
        return cls(kind=PlaceKind.BYTE, position=position)

    @classmethod
    def rest(cls, position: int) -> Self:
        """Return the place of all that follows a byte."""
        return cls(kind=PlaceKind.REST, position=position)

    @property
    def is_rest(self) -> bool:
        """Whether it stands for an unknown number of items."""
        return self.kind is PlaceKind.REST

    def __str__(self) -> str:
        if self.is_rest:
            return f"byte {self.position} to the end"
        return f"{self.kind} {self.position}"


class BlockPart(Value, frozen=True, kw_only=True):
    """What all ranges have: bytes `start` to `end` (exclusive) of a block that they cover."""

    key: str
    etag: str
    size: int
    start: int
    end: int
    # An estimate from samples; the worker counts.
    items: int
    # Where not empty, only the items at these places count: a redrive's.
    places: list[Place] = []

    @property
    def bytes(self) -> int:
        return self.end - self.start

    @property
    def block(self) -> Block:
        """The block that it is part of."""
        return Block(key=self.key, etag=self.etag, size=self.size)

    @property
    def identity(self) -> list[Any]:
        """What a batch's id is made of: which bytes of which content are read."""
        return [self.key, self.etag, self.start, self.end]


class ByteRange(BlockPart, frozen=True, kw_only=True, tag="bytes", tag_field="kind"):
    """The lines or row groups that *start* in these bytes of a block."""


class SegmentRange(BlockPart, frozen=True, kw_only=True, tag="segment", tag_field="kind"):
    """A segment: lines of a block that cannot be cut itself, kept as an object of their own."""

    # The S3 key of the segment; its first byte stands at `offset` of the decompressed block.
    segment: str
    offset: int

    @property
    def folder(self) -> str:
        """Where the segments of its block lie, with their manifest."""
        return self.segment.rpartition("/")[0]


class BrokenRange(BlockPart, frozen=True, kw_only=True, tag="broken", tag_field="kind"):
    """A part of a block where nothing can be read: one dead letter at `offset`."""

    offset: int
    reason: str
    # It goes on to the end of the block, and nobody knows how many items it has.
    is_rest: bool = False

    @property
    def place(self) -> Place:
        """The place of its dead letter."""
        return Place.rest(self.offset) if self.is_rest else Place.byte(self.offset)


class ProfileRange(BlockPart, frozen=True, kw_only=True, tag="profiles", tag_field="kind"):
    """Profiles as items: the ids from `first` on that come before `until`; "" is no bound."""

    first: str = ""
    until: str = ""

    @property
    def identity(self) -> list[Any]:
        return [self.key, self.etag, self.start, self.end, self.first, self.until]


Range = ByteRange | SegmentRange | BrokenRange | ProfileRange


class BlockWarning(Value, frozen=True, kw_only=True):
    """What a person should know of blocks that were read, though no item of them is dead for it."""

    sentence: str
    # The key of the first block that it is true of, and how many there are.
    block: str
    blocks: int = 1

    def __str__(self) -> str:
        more = self.blocks - 1
        and_more = f" (and of {more:,} more blocks)" if more else ""
        return f"{self.block}: {self.sentence}{and_more}"


class UnknownField(Value, frozen=True, kw_only=True):
    """A field of items that their type does not know."""

    name: str
    # A value of it, shortened, and the key of the block that it is in.
    example: str
    block: str
    # Since the first look at any block of the asset: so its data are, and nothing has changed.
    is_first: bool = False

    def __str__(self) -> str:
        return f"`{self.name}` (such as {self.example!r} in {self.block})"


class Outcome(Value, frozen=True, kw_only=True):
    """What a worker says of a finished batch. items = used + dead + duplicates, always."""

    items: int
    used: int
    dead: int
    # Copies of items that count elsewhere, where the asset says what identifies one.
    duplicates: int = 0
    # Those of `dead` that stand for a rest of a block, and about how many items these rests hold.
    unread_parts: int = 0
    unread_items: int = 0
    # Those of `used` that a task which observes first found to need nothing.
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
    # The most memory that the worker's process has held so far, over all of its batches; 0 where
    # the system does not say.
    peak_bytes: int = 0
    warnings: list[BlockWarning] = []
    # The moments of the partition that have items: see ledger/moments. "" is not known.
    moments: str = ""

    def taking(self, seconds: float) -> "Outcome":
        """Return the outcome of a batch that took so long."""
        return msgspec.structs.replace(self, seconds=round(seconds, 6))


class BatchCost(Value, frozen=True, kw_only=True):
    """What a finished batch took."""

    items: int
    # Ranges it read; each is a request to S3 of its own.
    ranges: int
    seconds: float
    # The most memory that its process had held.
    peak_bytes: int = 0


class Counts(Value, frozen=True, kw_only=True):
    """What became of one partition's items: items = used + dead + duplicates + failed + pending."""

    plan: str
    partition: str
    blocks: int
    bytes: int
    batches: int
    reused: int
    # Counted by workers; estimated where a batch has no outcome.
    items: int
    used: int
    # Those of `used` that needed nothing: see `Observe`.
    skipped: int
    # Dead letters, and those of them that a person discarded: these are tolerated.
    dead: int
    discarded: int
    # Copies of items that count elsewhere.
    duplicates: int = 0
    # Those of `dead` that stand for a rest of a block which nobody gave up, and about how many
    # items these rests hold, beside `items`. Nobody knows the number, so none is tolerated.
    unread_parts: int = 0
    unread_items: int = 0
    # Items of batches that failed for good, and of batches that did not run.
    failed: int
    pending: int
    batches_failed: int
    batches_pending: int
    # Items that redrives among the plan's batches used (they are in `used`), and dead letters
    # that such batches are still to run again.
    redriven: int
    redrivable: int
    # Seconds of work over all its batches, whichever run did them.
    work_seconds: float
    warnings: list[BlockWarning] = []
    # The most seconds without an item; how many profiles it says something of, once it is folded.
    # None is not known.
    widest_gap: float | None = None
    profiles: int | None = None

    @property
    def unused(self) -> int:
        """The items that tolerance is about, as far as their number is known."""
        return self.dead - self.discarded + self.failed


class FailedProfile(Value, frozen=True, kw_only=True):
    """A profile that MongoDB cannot hold; it stays as it was, without what is new."""

    profile: str
    # The partitions whose contributions it lacks.
    partitions: list[str]
    # The largest field, or the one that cannot be written.
    field: str
    why: str
