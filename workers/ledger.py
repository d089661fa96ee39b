"""The ledger: MongoDB's record of every plan, batch and dead letter. A record, not a queue.

A plan is one run's view of one partition. Its states: planned, folding (it has an epoch, and
profiles may hold it), folded, replaced (a later epoch folded after it), abandoned (a later epoch
folded while it was still folding), closed (merged into the base), unchanged (a run that found a
closed partition as it was). A batch is planned, running, done or failed; done is final.
"""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel, MongoClient, ReturnDocument, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from workers.errors import Refused
from workers.model import Batch, Outcome, Ran, Value, digest
from workers.settings import Settings

Document = dict[str, Any]
ITEM_KEPT = 4096  # bytes of a bad item that its dead letter keeps


class Plan(Value, frozen=True, kw_only=True):
    """What one run will do for one partition."""

    asset: str
    partition: str
    run: str
    version: str
    # Digest of the blocks' keys and ETags; the sensor compares it with a fresh listing.
    news: str
    blocks: int
    bytes: int
    batches: list[str]
    reused: int
    items: int

    @property
    def id(self) -> str:
        return f"{self.asset}/{self.partition}/{self.run}"


class Claim(Value, frozen=True, kw_only=True):
    """The right to fold a plan: profiles keep what the highest epoch of a partition wrote."""

    plan: str
    partition: str
    epoch: int


class DeadLetter(Value, frozen=True, kw_only=True):
    """One item that could not be used."""

    batch: str
    block: str
    etag: str
    place: str
    reason: str
    item: str


def connect(settings: Settings) -> Database[Document]:
    """Return the database that the settings name. No request is made yet."""
    client: MongoClient[Document] = MongoClient(
        settings.mongodb_uri,
        tz_aware=True,
        serverSelectionTimeoutMS=5_000,
        connectTimeoutMS=5_000,
        socketTimeoutMS=60_000,
        w="majority",
    )
    return client[settings.database]


class Ledger:
    """Reads and writes `plans`, `batches` and `dead_letters`."""

    def __init__(self, database: Database[Document]) -> None:
        self.plans: Collection[Document] = database["plans"]
        self.batches: Collection[Document] = database["batches"]
        self.dead_letters: Collection[Document] = database["dead_letters"]

    def ensure_indexes(self) -> None:
        """Create the indexes; cheap where they exist."""
        unit = [("asset", ASCENDING), ("partition", ASCENDING)]
        self.plans.create_indexes(
            [
                IndexModel([*unit, ("created", DESCENDING)]),
                # Two runs that claim one partition at once cannot get the same epoch.
                IndexModel(
                    [*unit, ("epoch", DESCENDING)],
                    unique=True,
                    partialFilterExpression={"epoch": {"$exists": True}},
                ),
                IndexModel([("run", ASCENDING)]),
            ]
        )
        history = [("asset", ASCENDING), ("state", ASCENDING), ("finished", DESCENDING)]
        self.batches.create_indexes([IndexModel(unit), IndexModel(history)])
        self.dead_letters.create_indexes([IndexModel(unit), IndexModel([("batch", ASCENDING)])])

    # Plans

    def last_plan(self, asset: str, partition: str, **where: Any) -> Document | None:
        """Return the newest plan of a partition, whatever became of it."""
        found: Document | None = self.plans.find_one(
            {"asset": asset, "partition": partition, **where}, sort=[("created", DESCENDING)]
        )
        return found

    def planned_batches(self, asset: str, version: str, partition: str) -> list[Document]:
        """Return the batches of the newest plan made for this code: a later run keeps them."""
        plan = self.last_plan(asset, partition, version=version)
        return list(self.batches.find({"_id": {"$in": plan["batches"]}})) if plan else []

    def save(self, plans: Sequence[Plan], batches: Iterable[Batch], lost: Sequence[str]) -> None:
        """Write plans and their new batches; batches that lost their result are planned again."""
        self.batches.update_many(
            {"_id": {"$in": list(lost)}}, {"$set": {"state": "planned"}, "$unset": {"outcome": ""}}
        )
        new = []
        for batch in batches:
            document = {k: v for k, v in batch.to_json().items() if k != "id"}
            document |= {"items": batch.items, "bytes": batch.bytes, "parts": len(batch.ranges)}
            document |= {"state": "planned", "attempts": 0}
            new.append(UpdateOne({"_id": batch.id}, {"$setOnInsert": document}, upsert=True))
        if new:
            self.batches.bulk_write(new, ordered=False)
        now = datetime.now(UTC)
        self.plans.bulk_write(
            [
                UpdateOne(
                    {"_id": plan.id},
                    {"$set": plan.to_json() | {"state": "planned", "created": now}},
                    upsert=True,
                )
                for plan in plans
            ]
        )

    def plan(self, plan_id: str) -> Document:
        """Return one plan."""
        found: Document | None = self.plans.find_one({"_id": plan_id})
        if found is None:
            raise Refused(f"plan {plan_id} is not in the ledger; start a new run")
        return found

    def closed(self, asset: str, partition: str) -> Document | None:
        """Return the plan that a closed partition was folded from, or None where it is open."""
        found: Document | None = self.plans.find_one(
            {"asset": asset, "partition": partition, "state": "closed"}
        )
        return found

    def closed_partitions(self, asset: str) -> set[str]:
        """Return the partitions whose contributions may merge into the base for good."""
        return set(self.plans.distinct("partition", {"asset": asset, "state": "closed"}))

    def set_plan(self, plan_id: str, **values: Any) -> None:
        """Set fields of a plan."""
        self.plans.update_one({"_id": plan_id}, {"$set": values})

    def claim(self, plan: Document) -> Claim:
        """Give a plan the next epoch of its partition. From here on profiles may hold it."""
        unit = {"asset": plan["asset"], "partition": plan["partition"]}
        while True:
            newest = self.plans.find_one(
                {**unit, "epoch": {"$exists": True}}, sort=[("epoch", DESCENDING)]
            )
            epoch = newest["epoch"] + 1 if newest else 1
            try:
                self.set_plan(plan["_id"], epoch=epoch, state="folding")
            except DuplicateKeyError:
                continue  # another run claimed this epoch in between
            return Claim(plan=plan["_id"], partition=plan["partition"], epoch=epoch)

    def live(self, asset: str, claims: Iterable[Claim]) -> set[str]:
        """Return the partitions whose claim is still the highest."""
        mine = {claim.partition: claim.epoch for claim in claims}
        newest = self.plans.aggregate(
            [
                {"$match": {"asset": asset, "partition": {"$in": list(mine)}}},
                {"$group": {"_id": "$partition", "epoch": {"$max": "$epoch"}}},
            ]
        )
        return {unit["_id"] for unit in newest if unit["epoch"] == mine[unit["_id"]]}

    def earlier(self, claim: Claim, asset: str) -> list[Document]:
        """Return the plans of lower epochs that profiles may still hold."""
        return list(
            self.plans.find(
                {
                    "asset": asset,
                    "partition": claim.partition,
                    "epoch": {"$lt": claim.epoch},
                    "state": {"$in": ["folding", "folded", "abandoned"]},
                }
            )
        )

    def folded(self, asset: str, claim: Claim, counts: Mapping[str, int]) -> bool:
        """Record that a claim is folded whole; False where a later claim took over."""
        done = self.plans.update_one(
            {"_id": claim.plan, "epoch": claim.epoch},
            {"$set": {"state": "folded", "folded": datetime.now(UTC), "counts": dict(counts)}},
        )
        if not done.matched_count or claim.partition not in self.live(asset, [claim]):
            return False
        before = {"asset": asset, "partition": claim.partition, "epoch": {"$lt": claim.epoch}}
        for state, then in (("folded", "replaced"), ("folding", "abandoned")):
            self.plans.update_many({**before, "state": state}, {"$set": {"state": then}})
        return True

    def close(self, asset: str, before: str) -> None:
        """Close the folded partitions that start before the given one."""
        self.plans.update_many(
            {"asset": asset, "state": "folded", "partition": {"$lt": before}},
            {"$set": {"state": "closed"}},
        )

    def newest_folded(self, asset: str) -> str | None:
        """Return the newest partition that was ever folded."""
        states = {"$in": ["folded", "closed"]}
        found = self.plans.find_one(
            {"asset": asset, "state": states}, sort=[("partition", DESCENDING)]
        )
        return found["partition"] if found else None

    # Batches

    def batch(self, batch_id: str) -> Document:
        """Return one batch."""
        found: Document | None = self.batches.find_one({"_id": batch_id})
        if found is None:
            raise Refused(f"batch {batch_id} is not in the ledger; `fanfold batches` lists them")
        return found

    def batches_of(self, plan: Document) -> list[Document]:
        """Return a plan's batches that the ledger knows."""
        return list(self.batches.find({"_id": {"$in": plan["batches"]}}))

    def history(self, asset: str) -> list[Ran]:
        """Return what an asset's latest finished batches took, the latest first."""
        found = self.batches.find(
            {"asset": asset, "state": "done"},
            {"outcome.items": 1, "outcome.seconds": 1, "parts": 1},
            sort=[("finished", DESCENDING)],
            limit=200,
        )
        return [
            Ran(one["outcome"]["items"], one["parts"], one["outcome"]["seconds"]) for one in found
        ]

    def begin(self, batch_id: str) -> Document:
        """Count an attempt at a batch and return it; one that is done stays as it is."""
        worker = {"host": socket.gethostname(), "pid": os.getpid()}
        begun: Document | None = self.batches.find_one_and_update(
            {"_id": batch_id, "state": {"$ne": "done"}},
            {
                "$set": {"state": "running", "worker": worker, "started": datetime.now(UTC)},
                "$inc": {"attempts": 1},
            },
            return_document=ReturnDocument.AFTER,
        )
        return begun or self.batch(batch_id)

    def finish(self, batch_id: str, outcome: Outcome) -> None:
        """Record a batch's outcome; the first one stays."""
        self.batches.update_one(
            {"_id": batch_id, "state": {"$ne": "done"}},
            {
                "$set": {
                    "state": "done",
                    "outcome": outcome.to_json(),
                    "finished": datetime.now(UTC),
                    "error": None,
                }
            },
        )

    def fail(self, batch_id: str, error: str) -> None:
        """Record why the latest attempt at a batch failed."""
        self.batches.update_one(
            {"_id": batch_id, "state": {"$ne": "done"}},
            {"$set": {"state": "failed", "error": error, "finished": datetime.now(UTC)}},
        )

    # Dead letters

    def bury(self, batch: Batch, letters: Sequence[DeadLetter]) -> None:
        """Record dead letters; the same item found dead again stays one letter."""
        now = datetime.now(UTC)
        unit = {"asset": batch.asset, "partition": batch.partition}
        writes = [
            UpdateOne(
                {"_id": digest([batch.asset, letter.block, letter.etag, letter.place])[:20]},
                {
                    "$set": unit | letter.to_json() | {"last_seen": now},
                    "$setOnInsert": {"state": "open", "first_seen": now},
                    "$inc": {"attempts": 1},
                },
                upsert=True,
            )
            for letter in letters
        ]
        if writes:
            self.dead_letters.bulk_write(writes, ordered=False)

    def discard_orphans(self, plan: Document) -> None:
        """Discard the open letters of batches that a folded partition no longer has."""
        self.dead_letters.update_many(
            {
                "asset": plan["asset"],
                "partition": plan["partition"],
                "state": "open",
                "batch": {"$nin": plan["batches"]},
            },
            {"$set": {"state": "discarded", "why": "its block was replaced or removed"}},
        )
