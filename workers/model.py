"""The values that travel between the rooms: small, frozen, and JSON on the way.

A comment over a field says what the field means for what happens.
"""

import hashlib
import json
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, Self

import msgspec

from workers.errors import Refused
from workers.template import Template, template

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


class Batch(Value, frozen=True, kw_only=True):
    """What one worker handles: ranges of blocks of one partition."""

    id: str
    asset: str
    partition: str
    task: str
    # The asset's declaration of how its blocks are written, and of whose profiles its items are.
    format: str = ""
    source: str = ""
    round: Round = NO_ROUND
    # A worker with other code refuses the batch rather than mixing two codes' results.
    version: str
    ranges: list[Range]
    # The dead letters that a redrive runs again, and the batches that found them dead; it counts
    # only beside those.
    redrives: list[str] = []
    parents: list[str] = []

    @classmethod
    def cut(
        cls,
        asset: "Asset",
        version: str,
        partition: str,
        ranges: list[Range],
        redrive: "Redrive | None" = None,
        number: Round = NO_ROUND,
    ) -> Self:
        """Make the batch whose id is the digest of what would make its result differ.

        A redrive is a new batch each time, as what failed before may work now.
        """
        identity: list[Any] = [RESULTS_FORMAT, asset.name, partition, asset.task, version]
        identity += [asset.format, asset.source, number]
        identity += [[r.key, r.etag, r.start, r.end, r.first, r.until] for r in ranges]
        if redrive:
            identity.append(sorted(redrive.attempts.items()))
        return cls(
            id=digest(identity)[:20],
            asset=asset.name,
            partition=partition,
            task=asset.task,
            format=asset.format,
            source=asset.source,
            round=number,
            version=version,
            ranges=ranges,
            redrives=sorted(redrive.attempts) if redrive else [],
            parents=sorted(redrive.parents) if redrive else [],
        )

    @property
    def items(self) -> int:
        return sum(r.items for r in self.ranges)

    @property
    def bytes(self) -> int:
        return sum(r.end - r.start for r in self.ranges)


class Redrive(NamedTuple):
    """Dead letters to run again: the attempts each has had, and the batches that found them."""

    attempts: Mapping[str, int]
    parents: Collection[str]


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


class Sizes(Value, frozen=True, kw_only=True):
    """How much work goes into a batch. Defaults suit items that take a while, such as a page."""

    min_items: int = 20
    max_items: int = 1_000
    target_seconds: float = 120.0
    # The cost of one item, for as long as the ledger has no history.
    seconds_per_item: float = 0.1
    # Bytes of blocks (decompressed, where known) in a batch, at most, whatever the items.
    max_batch_bytes: int = 256 << 20
    # Blocks that one master slices.
    blocks_per_master: int = 1_000
    # Workers of a run, at most; with more batches than this, some share one. Dagster's pages and
    # events grow with every mapped step.
    max_batches: int = 500
    # Contribution rows one fold op holds at a time; more rows make more shards.
    rows_per_shard: int = 500_000
    # A range of more partitions than this becomes several runs. A run folds all of its partitions
    # or none, and each of them costs its reconcile, publish and checks some calls.
    partitions_per_run: int = 400


class Partitions(Value, frozen=True, kw_only=True):
    """The coarse units of an asset: every day or every hour since `start` (UTC)."""

    every: Literal["day", "hour"] = "day"
    start: str

    def __post_init__(self) -> None:
        if self.every not in ("day", "hour"):
            raise ValueError(f"partitions are every day or every hour, not every {self.every!r}")

    @property
    def format(self) -> str:
        return "%Y-%m-%d" if self.every == "day" else "%Y-%m-%d-%H:%M"

    @property
    def step(self) -> timedelta:
        """How long a partition is."""
        return timedelta(**{f"{self.every}s": 1})

    def time(self, key: str) -> datetime:
        """Return when the partition starts; a key that is not one is Refused."""
        try:
            time = datetime.strptime(key, self.format).replace(tzinfo=UTC)
        except ValueError:
            time = None
        if time is None or self.key(time) != key:
            example = self.key(datetime(1998, 4, 1, tzinfo=UTC))
            raise Refused(f"{key!r} is not a partition; write it like {example}")
        return time

    def key(self, time: datetime) -> str:
        """Return the key of the partition that holds this time."""
        if self.every == "hour":
            time = time.replace(minute=0)
        return time.strftime(self.format)

    def shift(self, key: str, steps: int) -> str:
        """Return the key `steps` partitions later (earlier where negative)."""
        return self.key(self.time(key) + steps * self.step)

    def between(self, first: str, last: str) -> list[str]:
        """Return every key from first to last, both included."""
        keys, time, end = [], self.time(first), self.time(last)
        while time <= end:
            keys.append(self.key(time))
            time += self.step
        return keys


def span(partitions: Sequence[str]) -> str:
    """Return how people write adjacent partitions."""
    return partitions[0] + (f"...{partitions[-1]}" if len(partitions) > 1 else "")


class Asset(Value, frozen=True, kw_only=True):
    """The declaration of one kind of profile: everything the fan-out graph needs to know."""

    # Also the name of the MongoDB collection and of the asset in Dagster.
    name: str
    # What the catalogue says of it: the docstring of its file.
    description: str
    partitions: Partitions
    # The module under workers/tasks/ that holds its `task`; the one named as the asset.
    task: str = ""
    # The asset whose profiles are its items; where empty, items come from blocks in S3.
    source: str = ""
    # Where the blocks of a partition lie in the bucket; see workers/template.py.
    template: str = "events/dt={partition}/"
    # How blocks are written, where the suffix of a key does not say; see `formats.format_of`.
    format: str = ""
    sizes: Sizes = Sizes()
    # A partition is folded with at most so many items that could not be used, or at most this
    # part of its items; with more nothing of it is. A batch that failed for good counts whole.
    tolerated_count: int = 0
    tolerated_rate: float = 0.0
    # When its schedule ticks, by the clock of a time zone; where empty, a quarter of an hour after
    # each partition ended. It asks for the partition that closed, and, where `is_current`, for the
    # one that time is in. Only what harms nobody is scheduled without being turned on.
    cron: str = ""
    time_zone: str = "UTC"
    is_current: bool = False
    is_scheduled: bool = False
    # Hours without a materialisation after which the UI calls it late.
    late_hours: float = 48.0
    # Partitions this many steps behind the newest folded one merge into the base for good.
    keep_open: int = 35
    # The sensor looks this many partitions back from now for blocks that are new, replaced or gone;
    # further back where it did not look for longer.
    look_back: int = 7
    # A partition whose newest block was written less long ago is left to a later look.
    quiet_seconds: float = 10.0
    # Runs that one look of the sensor requests, at most.
    requests_per_tick: int = 10

    def __post_init__(self) -> None:
        if not self.task:
            msgspec.structs.force_setattr(self, "task", self.name)
        # A mistake in one of these shows when the declaration is loaded.
        _ = self.layout
        self.partitions.time(self.partitions.start)

    def tolerates(self, bad: int, items: int) -> bool:
        """Tell whether a partition may be folded with `bad` of its `items` left out."""
        return bad <= self.tolerated_count or bad <= self.tolerated_rate * items

    @property
    def tolerance(self) -> str:
        """What it tolerates, in words."""
        return f"{self.tolerated_count}, or {self.tolerated_rate:.2%}"

    @property
    def layout(self) -> Template:
        """Where the blocks of each partition lie."""
        return template(self.template, self.partitions.every)

    def prefixes(self, partition: str) -> list[str]:
        """Return the prefixes under which the blocks of one partition lie."""
        return self.layout.prefixes(self.partitions.time(partition))

    def partition_of(self, key: str) -> str | None:
        """Return the partition a block's key belongs to, or None where it fits no partition."""
        time = self.layout.owns(key)
        return self.partitions.key(time) if time else None


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def news(blocks: Iterable[Block]) -> str:
    """Return a digest of a set of blocks: it changes when one is added, replaced or removed."""
    return digest(sorted([b.key, b.etag, b.size] for b in blocks))
