"""What the ledger remembers: plans, batches and their states."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Self

import msgspec

from workers.declare.asset import Asset
from workers.values import NO_ROUND, RESULTS_FORMAT, Document, Range, Round, Value, digest


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
    redrives: list[str] = msgspec.field(default_factory=list)
    parents: list[str] = msgspec.field(default_factory=list)

    @classmethod
    def cut(
        cls,
        asset: Asset,
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


class Plan(Value, frozen=True, kw_only=True):
    """What one run will do for one partition."""

    asset: str
    partition: str
    run: str
    version: str
    # Epochs, and what is closed, are those of one generation of profiles.
    generation: int
    # How often the partition was looked at before, by a task that looks at the world.
    round: int
    # When its blocks were listed, in seconds of MongoDB's clock: the later view is the newer plan,
    # whichever is written first.
    listed: float
    # Digest of the blocks' keys and ETags; the sensor compares it with a fresh listing.
    news: str
    blocks: int
    bytes: int
    batches: list[str]
    # Those of them that were finished before.
    reused: list[str]
    items: int

    @property
    def id(self) -> str:
        return f"{self.asset}/{self.partition}/{self.run}"


def as_batch(document: Document) -> Batch:
    """Return the batch that a document of the ledger holds."""
    return Batch.of({**document, "id": document["_id"]})
