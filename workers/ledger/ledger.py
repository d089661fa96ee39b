"""The ledger: MongoDB's record of every plan, batch and dead letter. A record, not a queue.

Dagster hands out the work; what became of it is here. The states of plans and batches, and what
moves them, are in records.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database

from workers.errors import Refused
from workers.ledger.claims import Claims
from workers.ledger.code_parts import CodeParts
from workers.ledger.copies import Copies
from workers.ledger.dead_letters import DeadLetters
from workers.ledger.folded import FoldedPlans
from workers.ledger.mongo import rebuild_collection
from workers.ledger.profiles import OwnFields, ProfileCollection
from workers.ledger.records import (
    SETTLED_STATES,
    Batch,
    BatchState,
    Plan,
    PlanState,
)
from workers.ledger.shares import Shares
from workers.ledger.stays import Stays
from workers.ledger.unknown import UnknownFields
from workers.ledger.workers import Workers
from workers.values import BatchCost, Document, Outcome, Value

JUST_MADE_SECONDS = 20  # for which a plan counts as at work, whoever is heard of
HISTORY_BATCHES = 200  # finished batches that sizes are learned from
IDS_PER_QUERY = 50_000  # far below the 16 MB that a query may have
HISTORY_FIELDS = ("outcome.items", "outcome.seconds", "outcome.peak_bytes")
OUTCOME_SUMS = ("items", "used", "dead", "duplicates", "seconds")
NEWEST_FIRST = [("listed", DESCENDING), ("created", DESCENDING)]


class BatchSums(Value, frozen=True, kw_only=True):
    """Batches of one state, summed up; what workers counted is 0 where none is done."""

    state: BatchState
    is_redrive: bool
    batches: int
    ranges: int
    # Items as planned, and as counted.
    planned: int
    items: int
    used: int
    dead: int
    duplicates: int
    seconds: float


class UnusedItems(NamedTuple):
    """How many items of a batch could not be used, and whether that is all that it lacks."""

    items: int
    is_known: bool


class Ledger:
    """Reads and writes `plans`, `batches` and `dead_letters`."""

    def __init__(self, database: Database[Document]) -> None:
        self.database = database
        self.plans: Collection[Document] = database["plans"]
        self.batches: Collection[Document] = database["batches"]
        self.claims = Claims(self.plans, database["assets"])
        self.folded = FoldedPlans(self.plans)
        self.shares = Shares(self.batches)
        self.stays = Stays(database["stays"], self.batches)
        self.workers = Workers(database["workers"])
        self.code_parts = CodeParts(database["code"])
        self.unknown_fields = UnknownFields(database["assets"])
        self.dead_letters = DeadLetters(database["dead_letters"])

    def profiles(self, asset: str, generation: int | None = None) -> ProfileCollection:
        """Return an asset's profiles; of a later generation those that a rebuild is making."""
        if generation is not None and generation != self.claims.generation(asset):
            return ProfileCollection(self.database[rebuild_collection(asset, generation)])
        where = self.claims.collection_key(asset)
        return ProfileCollection(self.database[where.collection], where.key)

    def copies(self, asset: str) -> Copies:
        """Return which copies of items count, where an asset says what identifies one."""
        return Copies(self.database, asset)

    def own_fields(
        self, asset: str, declared: Iterable[str], beginning: Iterable[str] = ()
    ) -> OwnFields:
        """Return which fields of an asset's documents are Fanfold's, those of its task first."""
        return OwnFields(declared, self.claims.own_fields(asset), beginning)

    def ensure_indexes(self) -> None:
        """Create the indexes; cheap where they exist."""
        partition = [("asset", ASCENDING), ("partition", ASCENDING)]
        epoch = [("generation", ASCENDING), ("round", ASCENDING), ("epoch", DESCENDING)]
        history = [("asset", ASCENDING), ("state", ASCENDING), ("finished", DESCENDING)]

        # Two runs that claim one partition at once cannot get the same epoch.
        one_epoch = IndexModel(
            [*partition, *epoch],
            unique=True,
            partialFilterExpression={"epoch": {"$exists": True}},
        )
        newest = IndexModel([*partition, *NEWEST_FIRST])
        self.plans.create_indexes([newest, one_epoch, IndexModel([("run", ASCENDING)])])
        self.batches.create_indexes([IndexModel(partition), IndexModel(history)])
        self.dead_letters.ensure_indexes()
        self.workers.ensure_indexes()
        self.stays.ensure_indexes()

    def now(self) -> float:
        """Return the time by MongoDB's clock, which all runs share."""
        answer: Document = self.database.command("hello")
        seconds: float = answer["localTime"].timestamp()
        return seconds

    # Plans

    def plan(self, plan_id: str) -> Plan:
        """Return a plan; Refused where the ledger does not know it."""
        document = self.plans.find_one({"_id": plan_id})
        if document is None:
            raise Refused(f"plan {plan_id} is not in the ledger; start a new run")
        return Plan.from_document(document)

    def plans_by_id(self, plan_ids: Sequence[str]) -> list[Plan]:
        """Return plans in the order of their ids; Refused where the ledger does not know one."""
        documents = self.plans.find({"_id": {"$in": list(plan_ids)}})
        plans = {document["_id"]: Plan.from_document(document) for document in documents}
        return [plans.get(plan_id) or self.plan(plan_id) for plan_id in plan_ids]

    def plans_of_run(self, run: str) -> list[Plan]:
        """Return the plans that a run made."""
        return [Plan.from_document(document) for document in self.plans.find({"run": run})]

    def plans_under_way(self, run: str) -> list[Plan]:
        """Return the plans that a run made, without what reconcile and publish record of them."""
        left_out = dict.fromkeys(("results", "counts", "failed_profiles"), 0)
        return [Plan.from_document(plan) for plan in self.plans.find({"run": run}, left_out)]

    def newest_of_run(self, run: str) -> str:
        """Return the newest partition that a run has planned; "" where there is none."""
        plan = self.plans.find_one({"run": run}, {"partition": 1}, sort=[("partition", DESCENDING)])
        return plan["partition"] if plan else ""

    def newest_planned(self, asset: str) -> str | None:
        """Return the newest partition of an asset that a run has planned."""
        plan = self.plans.find_one(
            {"asset": asset}, {"partition": 1}, sort=[("partition", DESCENDING)]
        )
        return plan["partition"] if plan else None

    def newer_at_work(self, asset: str, partition: str, run: str) -> str | None:
        """Return a partition after this one that another run is at work on; None where none is.

        A plan that was just made counts before its first worker is heard of.
        """
        query = {
            "asset": asset,
            "partition": {"$gt": partition},
            "state": {"$in": [PlanState.PLANNED, PlanState.FOLDING]},
            "run": {"$ne": run},
        }
        lately = datetime.now(UTC) - timedelta(seconds=JUST_MADE_SECONDS)
        newer: dict[str, str] = {}
        for plan in self.plans.find(query, {"partition": 1, "run": 1, "created": 1}):
            made: datetime = plan["created"].replace(tzinfo=UTC)
            if made > lately:
                of_plan: str = plan["partition"]
                return of_plan
            newer[plan["run"]] = plan["partition"]
        alive = self.workers.alive_in(newer)
        return newer[alive[0].run] if alive else None

    def runs_unfinished(self) -> dict[str, bool]:
        """Return the runs whose plans are to be run or folded, each with whether it is heard of.

        One that folds has no worker that says so, and neither has one that was killed.
        """
        unfinished: Document = {"state": {"$in": [PlanState.PLANNED, PlanState.FOLDING]}}
        runs: list[str] = self.plans.distinct("run", unfinished)
        lately = datetime.now(UTC) - timedelta(seconds=JUST_MADE_SECONDS)
        heard = set(self.plans.distinct("run", unfinished | {"created": {"$gt": lately}}))
        heard |= {worker.run for worker in self.workers.alive_in(runs)}
        return {run: run in heard for run in runs}

    def last_plan(self, asset: str, partition: str, **where: Any) -> Plan | None:
        """Return the newest plan of a partition, whatever became of it."""
        query = {"asset": asset, "partition": partition, **where}
        document = self.plans.find_one(query, sort=NEWEST_FIRST)
        return Plan.from_document(document) if document else None

    def newest_plans(self, asset: str, partitions: Sequence[str]) -> dict[str, Plan]:
        """Return the newest plan of each partition that has one, whatever became of it."""
        pipeline: list[Document] = [
            {"$match": {"asset": asset, "partition": {"$in": list(partitions)}}},
            {"$sort": {"asset": 1, "partition": 1, "listed": -1, "created": -1}},
            {"$group": {"_id": "$partition", "plan": {"$first": "$_id"}}},
        ]
        newest = [group["plan"] for group in self.plans.aggregate(pipeline)]
        return {plan.partition: plan for plan in self.plans_by_id(newest)}

    def round_of(self, asset: str, partition: str, generation: int) -> int:
        """Return the round that a run belongs to: the latest, or a new one where that is folded."""
        query: Document = {"asset": asset, "partition": partition, "generation": generation}
        document = self.plans.find_one(query, sort=[("round", DESCENDING)])
        if document is None:
            return 0

        latest = Plan.from_document(document).round
        query |= {"round": latest, "state": PlanState.FOLDED}
        is_folded = self.plans.find_one(query, {"_id": 1}) is not None
        return latest + is_folded

    def save(self, plans: Sequence[Plan], batches: Iterable[Batch], again: Iterable[str]) -> None:
        """Write plans and their new batches; those to run again have no outcome any more."""
        self.batches.update_many(
            {"_id": {"$in": list(again)}},
            {"$set": {"state": BatchState.PLANNED, "error": ""}, "$unset": {"outcome": ""}},
        )

        new_batches = [_new_batch(batch) for batch in batches]
        if new_batches:
            self.batches.bulk_write(new_batches, ordered=False)

        created = {"state": PlanState.PLANNED, "created": datetime.now(UTC)}
        new_plans = [
            UpdateOne({"_id": plan.id}, {"$set": plan.to_document() | created}, upsert=True)
            for plan in plans
        ]
        self.plans.bulk_write(new_plans)
        self.claims.abandon_outdated(plans)

    def end_stays(self, asset: str, plans: Sequence[Plan]) -> list[str]:
        """Let copies elsewhere count what blocks counted that these folded plans do not have.

        Returns the partitions whose batches are outdated by that.
        """
        batches = self.batches_by_plan(plans)
        held = {
            plan.partition: {stay for batch in batches[plan.id] for stay in batch.stays}
            for plan in plans
        }
        return self.stays.end(asset, held)

    def outdated_partitions(self, asset: str, generation: int) -> list[str]:
        """Return the partitions whose newest plan has batches that are outdated, in order."""
        outdated = {"asset": asset, "outdated": True}
        partitions = self.batches.distinct("partition", outdated)
        plans = self.newest_plans(asset, partitions)
        return sorted(
            name
            for name, plan in plans.items()
            if plan.generation == generation and self.stays.outdated(plan.batches)
        )

    def refuse(self, whys: Mapping[str, str]) -> None:
        """Record that plans are not folded, and why of each.

        One that has an epoch keeps its state, which tells that profiles may hold some of it.
        """
        open_states = {"$in": [PlanState.PLANNED, PlanState.ABANDONED]}
        writes = []
        for plan_id, why in whys.items():
            unfolded = {"_id": plan_id, "state": {"$nin": SETTLED_STATES}}
            unclaimed = {"_id": plan_id, "state": open_states, "epoch": {"$exists": False}}
            writes.append(UpdateOne(unfolded, {"$set": {"why": why}}))
            writes.append(UpdateOne(unclaimed, {"$set": {"state": PlanState.REFUSED}}))
        if writes:
            self.plans.bulk_write(writes)

    # Batches

    def batch(self, batch_id: str) -> Batch:
        """Return a batch; Refused where the ledger does not know it."""
        document = self.batches.find_one({"_id": batch_id})
        if document is None:
            raise Refused(f"batch {batch_id} is not in the ledger; `fanfold batches` lists them")
        return Batch.from_document(document)

    def batches_by_id(self, batch_ids: Iterable[str]) -> dict[str, Batch]:
        """Return those of these batches that the ledger knows."""
        ids = list(batch_ids)
        batches: dict[str, Batch] = {}
        for start in range(0, len(ids), IDS_PER_QUERY):
            query = {"_id": {"$in": ids[start : start + IDS_PER_QUERY]}}
            for document in self.batches.find(query):
                batches[document["_id"]] = Batch.from_document(document)
        return batches

    def batches_of(self, plan: Plan) -> list[Batch]:
        """Return a plan's batches that the ledger knows."""
        return list(self.batches_by_id(plan.batches).values())

    def batches_by_plan(self, plans: Sequence[Plan]) -> dict[str, list[Batch]]:
        """Return the batches of each plan that the ledger knows."""
        known = self.batches_by_id({batch_id for plan in plans for batch_id in plan.batches})

        batches: dict[str, list[Batch]] = {}
        for plan in plans:
            mine = map(known.get, plan.batches)
            batches[plan.id] = [batch for batch in mine if batch]
        return batches

    def batches_of_asset(self, asset: str, partition: str | None = None) -> list[Batch]:
        """Return all batches of an asset, or of one partition of it, in the partitions' order."""
        query = {"asset": asset} | ({"partition": partition} if partition else {})
        documents = self.batches.find(query).sort([("partition", ASCENDING)])
        return [Batch.from_document(document) for document in documents]

    def planned_batches(
        self, asset: str, version: str, partition: str, **where: Any
    ) -> list[Batch]:
        """Return the batches of the newest plan made for this code: a later run keeps them."""
        plan = self.last_plan(asset, partition, version=version, **where)
        return self.batches_of(plan) if plan else []

    def slowest(self, batch_ids: Iterable[str]) -> Batch | None:
        """Return that of these batches which took longest; None where none is done."""
        query = {"_id": {"$in": list(batch_ids)[:IDS_PER_QUERY]}, "state": BatchState.DONE}
        document = self.batches.find_one(query, sort=[("outcome.seconds", DESCENDING)])
        return Batch.from_document(document) if document else None

    def partitions_with_failed_batches(self, asset: str) -> list[str]:
        """Return the partitions that have batches which failed for good."""
        query = {"asset": asset, "state": BatchState.FAILED}
        partitions: list[str] = self.batches.distinct("partition", query)
        return partitions

    def unused_items(self, batch_ids: Iterable[str]) -> dict[str, UnusedItems]:
        """Return what could not be used, for those of these batches that have any such item."""
        with_dead_letters = {"state": BatchState.DONE, "outcome.dead": {"$gt": 0}}
        unused = {"$or": [{"state": BatchState.FAILED}, with_dead_letters]}
        outcome = dict.fromkeys(("outcome.dead", "outcome.unread_parts"), 1)
        documents = self.batches.find(
            {"_id": {"$in": list(batch_ids)}, **unused}, {"state": 1, "items": 1, **outcome}
        )

        by_batch: dict[str, UnusedItems] = {}
        for document in documents:
            if document["state"] == BatchState.FAILED:
                of_batch = UnusedItems(document["items"], is_known=False)
            else:
                counted = document["outcome"]
                of_batch = UnusedItems(counted["dead"], is_known=not counted.get("unread_parts"))
            by_batch[document["_id"]] = of_batch
        return by_batch

    def sum_batches(self, batch_ids: Iterable[str]) -> list[BatchSums]:
        """Return the sums of these batches by state, those of redrives apart."""
        outcome = {name: {"$sum": f"$outcome.{name}"} for name in OUTCOME_SUMS}
        sums = {
            "_id": {"state": "$state", "is_redrive": {"$ne": ["$redrives", []]}},
            "batches": {"$sum": 1},
            "ranges": {"$sum": "$range_count"},
            "planned": {"$sum": "$items"},
            **outcome,
        }
        mine = {"_id": {"$in": list(batch_ids)}}
        groups = self.batches.aggregate([{"$match": mine}, {"$group": sums}])
        return [BatchSums.of({**group, **group["_id"]}) for group in groups]

    def history(self, asset: str) -> list[BatchCost]:
        """Return what an asset's latest finished batches took, the latest first."""
        documents = self.batches.find(
            {"asset": asset, "state": BatchState.DONE, "redrives": []},
            dict.fromkeys(("range_count", *HISTORY_FIELDS), 1),
            sort=[("finished", DESCENDING)],
            limit=HISTORY_BATCHES,
        )
        return [
            BatchCost(ranges=document["range_count"], **document["outcome"])
            for document in documents
        ]

    def held(self, batch_ids: Sequence[str], run: str, worker: str) -> set[str]:
        """Return those of these batches that another worker of a run is at, and alive."""
        workers = self.shares.running(batch_ids, but_by=worker)
        others = self.workers.alive(list(set(workers.values())))
        alive = {each.id for each in others if each.run == run}
        return {batch_id for batch_id, its_worker in workers.items() if its_worker in alive}

    def begin(self, batch_id: str, worker: str = "") -> Batch:
        """Count a worker's attempt at a batch and return it; one that is done stays as it is."""
        while not (begun := self.shares.begin([batch_id], worker)):
            self.batch(batch_id)  # another attempt began meanwhile, unless there is no such batch
        return begun[batch_id]

    def finish(self, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """Record outcomes of batches, but where another attempt was first; return those that stay.

        Those of one batch or of many are one request.
        """
        writes = [_finished(batch_id, outcome) for batch_id, outcome in outcomes.items()]
        if not writes:
            return {}
        answer = self.batches.bulk_write(writes, ordered=False)
        if answer.matched_count == len(writes):
            return dict(outcomes)

        firsts = {batch_id: self.batch(batch_id).finished_outcome for batch_id in outcomes}
        for batch_id, outcome in outcomes.items():
            if firsts[batch_id].digest != outcome.digest:
                # Allowed of a task that observes the outside world, never of one that is pure.
                conflict = {"$addToSet": {"conflicts": outcome.digest}}
                self.batches.update_one({"_id": batch_id}, conflict)
        return firsts

    def fail(self, batch_id: str, error: str, is_final: bool = True) -> None:
        """Record why the latest attempt at a batch failed; for good, or until the next one."""
        state = BatchState.FAILED if is_final else BatchState.PLANNED
        self.batches.update_one(
            {"_id": batch_id, "state": {"$ne": BatchState.DONE}},
            {
                "$set": {
                    "state": state,
                    "error": error,
                    "finished": datetime.now(UTC),
                    "unanswered": 0,
                },
                "$unset": {"taken_by": ""},
            },
        )


def _finished(batch_id: str, outcome: Outcome) -> UpdateOne:
    """Return the write of an outcome, unless another attempt was first."""
    done = {
        "state": BatchState.DONE,
        "outcome": outcome.to_json(),
        "finished": datetime.now(UTC),
        "error": "",
        "unanswered": 0,
    }
    return UpdateOne({"_id": batch_id, "state": {"$ne": BatchState.DONE}}, {"$set": done})


def _new_batch(batch: Batch) -> UpdateOne:
    """Return the write of a batch that is left alone where it exists.

    What `progress` and `history` sum up stands beside the ranges it is made of.
    """
    document = batch.to_document()
    document |= {"items": batch.items, "bytes": batch.bytes, "range_count": len(batch.ranges)}
    document |= {"state": BatchState.PLANNED, "attempts": 0, "unanswered": 0}
    return UpdateOne({"_id": batch.id}, {"$setOnInsert": document}, upsert=True)
