"""What the ledger remembers: plans and batches, with the states that they go through.

A record comes back from the ledger as the value that was put in, and with what the ledger adds.
"""

import os
import socket
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, Self

import msgspec

from workers.declare.asset import Asset
from workers.values import (
    RESULTS_FORMAT,
    Counts,
    Document,
    FailedProfile,
    Outcome,
    Range,
    Value,
    digest,
)


class Record(Value, frozen=True, kw_only=True):
    """A value that the ledger keeps as one document, whose `_id` is the value's id."""

    # Fields that only the ledger sets; a document made of a fresh value has none of them.
    BY_LEDGER: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Return the record that a document of the ledger holds."""
        return cls.of({**document, "id": document["_id"]})

    def to_document(self) -> Document:
        """Return what is planned, as the ledger keeps it beside the `_id`."""
        left_out = {"id", *self.BY_LEDGER}
        return {name: value for name, value in self.to_json().items() if name not in left_out}


class PartitionKey(Value, frozen=True, kw_only=True):
    """What plans that compete for the same contributions have in common."""

    asset: str
    # Which rebuild the profiles come from.
    generation: int
    partition: str
    # How often the partition was observed and folded before, by a task that observes the world.
    round: int

    @property
    def fold_key(self) -> str:
        """What profiles keep these contributions under."""
        return f"{self.partition}~{self.round}" if self.round else self.partition

    @staticmethod
    def partition_of(fold_key: str) -> str:
        """Return the partition that a fold key is of."""
        return fold_key.partition("~")[0]


class WorkerProcess(Value, frozen=True, kw_only=True):
    """The worker that began the latest attempt at a batch, and its process."""

    # Its id in the ledger; "" where it has none.
    id: str = ""
    host: str
    pid: int

    @classmethod
    def this(cls, id_: str = "") -> Self:
        """Return the worker of this id in this process."""
        return cls(id=id_, host=socket.gethostname(), pid=os.getpid())


class AttemptId(Value, frozen=True, kw_only=True):
    """One attempt at a batch, as dead letters name it."""

    batch: str
    number: int


class BatchState(StrEnum):
    """What became of a batch."""

    # To be run; also after an attempt that says nothing about the batch, such as an outage.
    PLANNED = "planned"
    # An attempt has begun; it may be over, if its process was killed.
    RUNNING = "running"
    # It has an outcome, and its result is in S3. Final.
    DONE = "done"
    # The last attempt failed for good. The next run of its partition tries again.
    FAILED = "failed"


UNFINISHED_STATES = (BatchState.PLANNED, BatchState.RUNNING)


class Redrive(NamedTuple):
    """Dead letters to run again: the attempts each has had, and the batches that found them."""

    attempts: Mapping[str, int]
    parents: Collection[str]


class Turn(NamedTuple):
    """Which one it is of the batches that read the same ranges; see the fields of Batch."""

    generation: int = 0
    round: int = 0
    recount: int = 0


FIRST_TURN = Turn()


class Batch(Record, frozen=True, kw_only=True):
    """What one worker handles: ranges of blocks of one partition."""

    BY_LEDGER: ClassVar[frozenset[str]] = frozenset(
        {
            "state",
            "attempts",
            "unanswered",
            "error",
            "outcome",
            "worker",
            "started",
            "finished",
            "taken_by",
            "held_by",
            "outdated",
        }
    )

    id: str
    asset: str
    partition: str
    task: str
    # The asset's declaration of how its blocks are written, and of whose profiles its items are.
    format: str = ""
    source: str = ""
    # Whether items that say something of a profile without a document are dead letters.
    known_only: bool = False
    # The fields by which copies of an item are told, and how often batches of the partition had to
    # count anew before, as copies that counted had gone.
    unique: tuple[str, ...] = ()
    recount: int = 0
    # Then also the stays of the blocks that it reads.
    stays: list[int] = msgspec.field(default_factory=list)
    # Of a task that observes the world: when it did. 0 for all others, whose batches any
    # generation may reuse.
    generation: int = 0
    round: int = 0
    # A worker with other code refuses the batch rather than mixing two codes' results.
    version: str
    ranges: list[Range]
    # The dead letters that a redrive runs again, and the batches that found them dead; it counts
    # only beside those.
    redrives: list[str] = msgspec.field(default_factory=list)
    parents: list[str] = msgspec.field(default_factory=list)

    state: BatchState = BatchState.PLANNED
    attempts: int = 0
    # Those of this run after which nothing was said: their workers ended, or are at it.
    unanswered: int = 0
    # Why the latest attempt failed.
    error: str = ""
    outcome: Outcome | None = None
    worker: WorkerProcess | None = None
    started: datetime | None = None
    finished: datetime | None = None
    # The run in which a worker took it over from the one it was dealt to.
    taken_by: str = ""
    # The stays of blocks whose copies of items count in place of the batch's; and whether one of
    # these, or of the blocks that it reads itself, is over: then the batch counts nowhere any more.
    held_by: list[int] = msgspec.field(default_factory=list)
    outdated: bool = False

    @classmethod
    def of_ranges(
        cls,
        asset: Asset,
        version: str,
        partition: str,
        ranges: Sequence[Range],
        redrive: Redrive | None = None,
        turn: Turn = FIRST_TURN,
    ) -> Self:
        """Return the batch whose id is the digest of what would make its result differ.

        A redrive is a new batch each time, as what failed before may work now.
        """
        identity: list[Any] = [RESULTS_FORMAT, asset.name, partition, asset.task, version]
        identity += [asset.format, asset.source, [turn.generation, turn.round]]
        identity += [range_.identity for range_ in ranges]
        if asset.known_only:
            identity.append("known only")
        if asset.unique:
            identity.append({"unique": asset.unique, "recount": turn.recount})
        if redrive:
            identity.append(sorted(redrive.attempts.items()))

        return cls(
            id=digest(identity)[:20],
            asset=asset.name,
            partition=partition,
            task=asset.task,
            format=asset.format,
            source=asset.source,
            known_only=asset.known_only,
            unique=tuple(asset.unique),
            recount=turn.recount,
            generation=turn.generation,
            round=turn.round,
            version=version,
            ranges=list(ranges),
            redrives=sorted(redrive.attempts) if redrive else [],
            parents=sorted(redrive.parents) if redrive else [],
        )

    @property
    def turn(self) -> Turn:
        return Turn(self.generation, self.round, self.recount)

    @property
    def items(self) -> int:
        """The items that its ranges are thought to hold."""
        return sum(range_.items for range_ in self.ranges)

    @property
    def bytes(self) -> int:
        return sum(range_.bytes for range_ in self.ranges)

    @property
    def is_redrive(self) -> bool:
        return bool(self.redrives)

    @property
    def is_done(self) -> bool:
        return self.state is BatchState.DONE

    def is_outdated_without(self, stays: Collection[int]) -> bool:
        """Tell whether it counts nowhere any more once these stays are over."""
        return self.outdated or not set(stays).isdisjoint([*self.stays, *self.held_by])

    @property
    def is_failed(self) -> bool:
        return self.state is BatchState.FAILED

    @property
    def finished_outcome(self) -> Outcome:
        """The outcome of a batch that is done; every such batch has one."""
        assert self.outcome is not None
        return self.outcome

    @property
    def attempt_id(self) -> AttemptId:
        """The attempt whose outcome counts."""
        return AttemptId(batch=self.id, number=self.finished_outcome.attempt)


class PlanState(StrEnum):
    """What became of a plan."""

    # Its batches are to be run.
    PLANNED = "planned"
    # It is not folded, and `why` says why.
    REFUSED = "refused"
    # It has an epoch, and profiles may hold it.
    FOLDING = "folding"
    # Profiles hold it whole.
    FOLDED = "folded"
    # A later epoch was folded after it.
    REPLACED = "replaced"
    # A later plan was folded while it had not been.
    ABANDONED = "abandoned"

    @property
    def is_settled(self) -> bool:
        """Whether plans in this state leave nothing to be folded."""
        return self in SETTLED_STATES


SETTLED_STATES = (PlanState.FOLDED, PlanState.REPLACED)


class Removed(Value, frozen=True, kw_only=True):
    """What went of a partition's blocks since a person last said that it is meant."""

    blocks: int = 0
    bytes: int = 0
    # What there was at first.
    of_blocks: int = 0
    of_bytes: int = 0
    # Keys of some that went.
    examples: list[str] = msgspec.field(default_factory=list)


class Plan(Record, frozen=True, kw_only=True):
    """What one run will do for one partition."""

    BY_LEDGER: ClassVar[frozenset[str]] = frozenset(
        {
            *("state", "created", "why", "epoch", "results", "counts", "failed_profiles", "folded"),
            "fold_progress",
        }
    )

    asset: str
    partition: str
    run: str
    version: str
    # The code by which its profiles show what they hold.
    shown_version: str = ""
    # Epochs are those of one generation of profiles.
    generation: int
    round: int
    # When its blocks were listed, in seconds of MongoDB's clock: the later view is the newer plan,
    # whichever is written first.
    listed: float
    # Digest of the blocks' keys and ETags; the sensor compares it with a fresh listing.
    blocks_digest: str
    blocks: int
    bytes: int
    batches: list[str]
    # Those of them that were finished before.
    reused: list[str]
    items: int
    # What an item was thought to take, so that what its batches took can be held against it.
    seconds_per_item: float = 0.0
    # So that what goes bit by bit is held back as what goes at once is.
    removed: Removed = Removed()

    state: PlanState = PlanState.PLANNED
    created: datetime | None = None
    # Why it is refused.
    why: str = ""
    # Its turn among the plans of its partition; Kafka would call it a fencing token.
    epoch: int | None = None
    # What every shard of its fold reads: S3 keys of results, by batch.
    results: dict[str, str] = msgspec.field(default_factory=dict)
    counts: Counts | None = None
    failed_profiles: list[FailedProfile] = msgspec.field(default_factory=list)
    folded: datetime | None = None
    # How far a long fold of its run is, by a shard's first bucket: the last one (exclusive), how
    # many profiles are folded, and how many it has.
    fold_progress: dict[str, tuple[int, int, int]] = msgspec.field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.asset}/{self.partition}/{self.run}"

    @property
    def key(self) -> PartitionKey:
        return PartitionKey(
            asset=self.asset,
            generation=self.generation,
            partition=self.partition,
            round=self.round,
        )
