"""The ledger: MongoDB's record of every plan, batch and dead letter. A record, not a queue.

A plan is one run's view of one partition. Its states: planned, refused (with the reason), folding
(it has an epoch, and profiles may hold it), folded, replaced (a later epoch folded after it),
abandoned (a later plan folded while it had not), closed (merged into the base), unchanged (a run
that found a closed partition as it was). A batch is planned, running, done or failed; done is
final. An asset has a generation: the number of the rebuild that its profiles come from.
"""

import os
import socket
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database

from workers.errors import Refused
from workers.ledger.claims import FOLDED, Claims
from workers.ledger.dead_letters import DeadLetters
from workers.ledger.mongo import rebuild_collection
from workers.ledger.records import Batch, Plan
from workers.values import Document, Outcome, Ran


class Ledger:
    """Reads and writes `plans`, `batches` and `dead_letters`."""

    def __init__(self, database: Database[Document]) -> None:
        self.database = database
        self.plans: Collection[Document] = database["plans"]
        self.batches: Collection[Document] = database["batches"]
        self.claims = Claims(self.plans, database["assets"])
        self.dead_letters = DeadLetters(database["dead_letters"])

    def profiles(self, asset: str, generation: int | None = None) -> Collection[Document]:
        """Return an asset's profiles; of a later generation those that a rebuild is making."""
        is_current = generation is None or generation == self.claims.generation(asset)
        return self.database[asset if is_current else rebuild_collection(asset, generation)]

    def ensure_indexes(self) -> None:
        """Create the indexes; cheap where they exist."""
        unit = [("asset", ASCENDING), ("partition", ASCENDING)]
        self.plans.create_indexes(
            [
                IndexModel([*unit, ("listed", DESCENDING), ("created", DESCENDING)]),
                # Two runs that claim one partition at once cannot get the same epoch.
                IndexModel(
                    [
                        *unit,
                        ("generation", ASCENDING),
                        ("round", ASCENDING),
                        ("epoch", DESCENDING),
                    ],
                    unique=True,
                    partialFilterExpression={"epoch": {"$exists": True}},
                ),
                IndexModel([("run", ASCENDING)]),
            ]
        )
        history = [("asset", ASCENDING), ("state", ASCENDING), ("finished", DESCENDING)]
        self.batches.create_indexes([IndexModel(unit), IndexModel(history)])
        self.dead_letters.ensure_indexes()

    # Plans

    def now(self) -> float:
        """Return the time by MongoDB's clock, which all runs share."""
        answer: Document = self.database.command("hello")
        seconds: float = answer["localTime"].timestamp()
        return seconds

    def last_plan(self, asset: str, partition: str, **where: Any) -> Document | None:
        """Return the newest plan of a partition, whatever became of it."""
        found: Document | None = self.plans.find_one(
            {"asset": asset, "partition": partition, **where},
            sort=[("listed", DESCENDING), ("created", DESCENDING)],
        )
        return found

    def round_of(self, asset: str, partition: str, generation: int) -> int:
        """Return the round that a run belongs to: the latest, or a new one where that is folded."""
        unit = {"asset": asset, "partition": partition, "generation": generation}
        newest = self.plans.find_one(unit, sort=[("round", DESCENDING)])
        if newest is None:
            return 0
        number: int = newest["round"]
        query = {**unit, "round": number, "state": {"$in": FOLDED}}
        return number + (self.plans.find_one(query) is not None)

    def planned_batches(
        self, asset: str, version: str, partition: str, **where: Any
    ) -> list[Document]:
        """Return the batches of the newest plan made for this code: a later run keeps them."""
        plan = self.last_plan(asset, partition, version=version, **where)
        return list(self.batches.find({"_id": {"$in": plan["batches"]}})) if plan else []

    def save(self, plans: Sequence[Plan], batches: Iterable[Batch], again: Iterable[str]) -> None:
        """Write plans and their new batches; those to run again have no outcome any more."""
        self.batches.update_many(
            {"_id": {"$in": list(again)}},
            {"$set": {"state": "planned", "error": None}, "$unset": {"outcome": ""}},
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
        self.claims.abandon_outdated(plans)

    def plan(self, plan_id: str) -> Document:
        """Return one plan."""
        found: Document | None = self.plans.find_one({"_id": plan_id})
        if found is None:
            raise Refused(f"plan {plan_id} is not in the ledger; start a new run")
        return found

    def plans_of_run(self, run: str) -> list[Document]:
        """Return the plans that a run made."""
        return list(self.plans.find({"run": run}))

    def set_plan(self, plan_id: str, **values: Any) -> None:
        """Set fields of a plan."""
        self.plans.update_one({"_id": plan_id}, {"$set": values})

    def refuse(self, plan_ids: Iterable[str], why: str) -> None:
        """Record that plans are not folded, and why."""
        self.plans.update_many(
            {"_id": {"$in": list(plan_ids)}, "state": {"$in": ["planned", "abandoned"]}},
            {"$set": {"state": "refused", "why": why}},
        )

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

    def spoiled(self, batches: Iterable[str]) -> dict[str, int]:
        """Return how many items could not be used, for those of these batches that have any."""
        of_any = {"$or": [{"state": "failed"}, {"state": "done", "outcome.dead": {"$gt": 0}}]}
        found = self.batches.find(
            {"_id": {"$in": list(batches)}, **of_any}, {"state": 1, "items": 1, "outcome.dead": 1}
        )
        return {
            one["_id"]: one["items"] if one["state"] == "failed" else one["outcome"]["dead"]
            for one in found
        }

    def history(self, asset: str) -> list[Ran]:
        """Return what an asset's latest finished batches took, the latest first."""
        found = self.batches.find(
            {"asset": asset, "state": "done", "redrives": []},
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

    def finish(self, batch_id: str, outcome: Outcome) -> Outcome:
        """Record a batch's outcome, unless another attempt was first; return the one that stays."""
        won: Document | None = self.batches.find_one_and_update(
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
        if won:
            return outcome
        first = Outcome.of(self.batch(batch_id)["outcome"])
        if first.digest != outcome.digest:
            # Allowed of a task that looks at the outside world, never of one that is pure.
            self.batches.update_one({"_id": batch_id}, {"$addToSet": {"conflicts": outcome.digest}})
        return first

    def fail(self, batch_id: str, error: str, is_final: bool = True) -> None:
        """Record why the latest attempt at a batch failed; for good, or until the next one."""
        state = "failed" if is_final else "planned"
        self.batches.update_one(
            {"_id": batch_id, "state": {"$ne": "done"}},
            {"$set": {"state": state, "error": error, "finished": datetime.now(UTC)}},
        )
