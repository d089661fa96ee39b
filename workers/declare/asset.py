"""The declaration of an asset: which partitions it has, where its items are, and its bounds.

A comment over a field says what the field means for what happens.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from workers.declare.beside import HIDDEN_ENDS, has_hidden, may_be_hidden
from workers.declare.template import Template, template
from workers.errors import Refused
from workers.values import Value

EXAMPLE_TIME = datetime(1998, 4, 1, tzinfo=UTC)  # messages show how its partition is written


class Partitions(Value, frozen=True, kw_only=True):
    """The coarse units of an asset: every day or every hour since `start` (UTC)."""

    # "day" or "hour".
    every: Literal["day", "hour"] = "day"
    # The key of the first one: 2024-01-01, or 2024-01-01-00:00 for hours.
    start: str

    def __post_init__(self) -> None:
        if self.every not in ("day", "hour"):
            raise ValueError(f"partitions are every day or every hour, not every {self.every!r}")

    @property
    def format(self) -> str:
        """How a key writes the time at which its partition starts."""
        return "%Y-%m-%d" if self.every == "day" else "%Y-%m-%d-%H:%M"

    @property
    def step(self) -> timedelta:
        """How long a partition is."""
        return timedelta(days=1) if self.every == "day" else timedelta(hours=1)

    def time(self, key: str) -> datetime:
        """Return when the partition with this key starts; Refused where there is no such key."""
        try:
            time = datetime.strptime(key, self.format).replace(tzinfo=UTC)
        except ValueError:
            time = None

        if time is None or self.key(time) != key:
            example = self.key(EXAMPLE_TIME)
            raise Refused(f"{key!r} is not a partition; write it like {example}")
        return time

    def key(self, time: datetime) -> str:
        """Return the key of the partition that holds this time."""
        if self.every == "hour":
            time = time.replace(minute=0)
        return time.strftime(self.format)

    def shift(self, key: str, steps: int) -> str:
        """Return the key of the partition `steps` later (earlier where negative)."""
        return self.key(self.time(key) + steps * self.step)

    def between(self, first: str, last: str) -> list[str]:
        """Return every key from first to last, both included."""
        keys = []
        time = self.time(first)
        end = self.time(last)

        while time <= end:
            keys.append(self.key(time))
            time += self.step
        return keys

    def ranges(self, keys: Iterable[str]) -> list[list[str]]:
        """Group keys into ranges without gaps, oldest first."""
        ranges: list[list[str]] = []
        for key in sorted(keys, key=self.time):
            if ranges and self.shift(ranges[-1][-1], 1) == key:
                ranges[-1].append(key)
            else:
                ranges.append([key])
        return ranges

    def ranges_text(self, keys: Iterable[str]) -> str:
        """Return how people write any keys, adjacent ones as first...last."""
        return ", ".join(span(range_) for range_ in self.ranges(keys))


def span(partitions: Sequence[str]) -> str:
    """Return how people write adjacent partitions: the key of the only one, or first...last."""
    if len(partitions) == 1:
        return partitions[0]
    return f"{partitions[0]}...{partitions[-1]}"


class Sizes(Value, frozen=True, kw_only=True):
    """How much work goes into a batch. Defaults suit items that take a while, such as a page."""

    # Items of a batch, at least; the last one of a partition may have fewer.
    min_items: int = 20
    # Items of a batch, at most.
    max_items: int = 1_000
    # How long a batch should take a worker, by the seconds an item that the ledger has learned.
    target_seconds: float = 120.0
    # The cost of one item, for as long as the ledger has no history.
    seconds_per_item: float = 0.1
    # Bytes of blocks (decompressed, where known) in a batch, at most, whatever the items.
    max_batch_bytes: int = 256 << 20
    # Blocks that one slicer cuts.
    blocks_per_slicer: int = 1_000
    # Workers of a run, at most; with more batches than this, some share one. Dagster's pages and
    # events grow with every mapped step.
    max_workers: int = 500
    # Contribution rows one fold op holds at a time; more rows make more shards.
    rows_per_shard: int = 1_500_000
    # A range of more partitions than this becomes several runs. Its steps start once for
    # each, which costs as much as 200 small partitions; what ends a run ends it for all of its.
    partitions_per_run: int = 400


class Tolerance(Value, frozen=True, kw_only=True):
    """How many items that could not be used a partition is folded without.

    At most `count` of them, or at most the part `rate` of all its items, whichever allows more.
    With more, nothing of the partition is folded. Nor is it, whatever is tolerated, where their
    number is not known (a block that was not read whole, a batch that failed for good), or where
    not one item was used.
    """

    # Items, whatever a partition has.
    count: int = 0
    # A part of a partition's items, such as 0.01; of both, whichever allows more.
    rate: float = 0.0

    def allows(self, unused: int, items: int) -> bool:
        """Tell whether a partition may be folded with `unused` of its `items` left out."""
        return unused <= self.count or unused <= self.rate * items

    @property
    def text(self) -> str:
        """What is tolerated, as messages write it."""
        return f"{self.count}, or {self.rate:.2%}"


class Schedule(Value, frozen=True, kw_only=True):
    """When runs start by the clock, and when the asset counts as late."""

    # When the schedule ticks; where empty, a quarter of an hour after each partition ended.
    cron: str = ""
    # By whose clock the cron is meant.
    time_zone: str = "UTC"
    # A tick asks for the partition that its time is in, not for the one that closed.
    current_partition: bool = False
    # Turned on by default. Only a schedule that harms nobody should be.
    is_on: bool = False
    # Hours without a materialisation after which the UI calls the asset late.
    late_hours: float = 48.0


class Watch(Value, frozen=True, kw_only=True):
    """How the sensor looks for blocks that are new, replaced or gone."""

    # Partitions that a scan looks back from now; further back where none was made for longer.
    look_back_partitions: int = 7
    # A partition whose newest block was written less long ago is left to a later scan.
    quiet_seconds: float = 10.0
    # Runs that one tick requests, at most.
    requests_per_tick: int = 10


class Asset(Value, frozen=True, kw_only=True):
    """The declaration of one kind of profile: everything the fan-out graph needs to know."""

    # Also the name of its file, and of the asset in Dagster.
    name: str
    # What the catalogue shows: the docstring of its file.
    description: str
    # Its coarse units: see `Partitions`.
    partitions: Partitions
    # Who looks after it, as the catalogue names them: e-mail addresses, or `team:` and a name.
    owners: tuple[str, ...] = ()
    # The module under workers/tasks/ that holds its `task`; where empty, its own file.
    task: str = ""
    # Where the blocks of a partition lie in the bucket: events/dt={partition}/; see docs/data.md.
    template: str = ""
    # In place of a template: the asset whose profiles are the items of this one.
    source: str = ""
    # How blocks are written, where their bytes and suffixes do not say; see docs/formats.md.
    format: str = ""
    # What lies beside data counts as data too: objects without a byte, and those that other tools
    # hide (a name in the path begins with `_` or `.`, or the key ends in `.crc` or `_$folder$`).
    reads_hidden: bool = False
    # The MongoDB collection of its profiles; where empty, it is called like the asset.
    collection: str = ""
    # The field of a document that holds the id of its profile; another than `_id` has to have a
    # unique index.
    key: str = "_id"
    # Items that say something of a profile without a document are dead letters, and no document is
    # made. The task has to promise `by_item`.
    known_only: bool = False
    # The field of an item, or several, that identifies it: of items that are alike in these, one
    # counts, in whatever blocks they lie. The others are counted as duplicates.
    unique: str | tuple[str, ...] = ()
    sizes: Sizes = Sizes()
    tolerance: Tolerance = Tolerance()
    schedule: Schedule = Schedule()
    watch: Watch = Watch()

    def __post_init__(self) -> None:
        if not self.task:
            msgspec.structs.force_setattr(self, "task", self.name)
        if not self.collection:
            msgspec.structs.force_setattr(self, "collection", self.name)
        if isinstance(self.unique, str):
            msgspec.structs.force_setattr(self, "unique", (self.unique,))

        if self.template and self.source:
            raise ValueError(
                f"the asset {self.name!r} has a template and a source; its items come from one of "
                "them, so remove the other"
            )
        if not self.template and not self.source:
            raise ValueError(
                f"the asset {self.name!r} needs a template, such as 'events/dt={{partition}}/', "
                "or a source, the asset whose profiles are its items"
            )

        if self.source and self.unique:
            raise ValueError(
                f"the asset {self.name!r} has a source and unique={self.unique!r}; a profile is "
                "there once anyway, so remove it"
            )

        # A mistake in one of these shows when the declaration is loaded.
        if self.template:
            _ = self.layout
        self.partitions.time(self.partitions.start)

    @property
    def layout(self) -> Template:
        """Where the blocks of each partition lie."""
        return template(self.template, self.partitions.every)

    def prefixes(self, partition: str) -> list[str]:
        """Return the prefixes under which the blocks of one partition lie."""
        return self.layout.prefixes(self.partitions.time(partition))

    def owner_of(self, key: str) -> str | None:
        """Return the partition in whose place a key lies, or None where it fits no partition."""
        time = self.layout.owns(key)
        return self.partitions.key(time) if time else None

    def is_beside_data(self, key: str) -> bool:
        """Tell whether an object in a partition's place is none of its blocks, by its key."""
        if self.reads_hidden or not may_be_hidden(key):
            return False

        is_meant = self.template.endswith(HIDDEN_ENDS)
        ends_hidden = key.endswith(HIDDEN_ENDS) and not is_meant
        return ends_hidden or has_hidden(self.layout.free_names(key))

    def partition_of(self, key: str) -> str | None:
        """Return the partition a block's key belongs to.

        None where it fits no partition, or lies beside data.
        """
        owner = self.owner_of(key)
        return None if owner is None or self.is_beside_data(key) else owner
