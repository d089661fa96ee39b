"""What profiles consist of, and what not yet, as plans tell it; and how far a fold is."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.collection import Collection

from workers.declare.asset import Asset
from workers.ledger.claims import BY_PARTITION
from workers.ledger.measures import Numbers
from workers.ledger.records import SETTLED_STATES, PartitionKey, Plan, PlanState
from workers.ledger.usual import WINDOW, History
from workers.values import Document


class FoldedPlans:
    """Reads of the plans that were folded, or should have been, and of those that are."""

    def __init__(self, plans: Collection[Document]) -> None:
        self.plans = plans

    def record_progress(self, plan_id: str, low: int, high: int, done: int, profiles: int) -> None:
        """Record how many profiles of a shard are folded, at the first plan of its run."""
        progress = {f"fold_progress.{low}": [high, done, profiles]}
        self.plans.update_one({"_id": plan_id}, {"$set": progress})

    def newest_folded(self, asset: str, generation: int) -> str | None:
        """Return the newest partition that was ever folded."""
        document = self.plans.find_one(
            {"asset": asset, "generation": generation, "state": PlanState.FOLDED},
            sort=[("partition", DESCENDING)],
        )
        return document["partition"] if document else None

    def last_folded(self, asset: str, generation: int) -> datetime | None:
        """Return when a partition was folded last, whichever it is."""
        document = self.plans.find_one(
            {"asset": asset, "generation": generation, "state": PlanState.FOLDED},
            {"folded": 1},
            sort=[("folded", DESCENDING)],
        )
        return document["folded"] if document else None

    def folded_plans(self, asset: str, generation: int, *partitions: str) -> list[Plan]:
        """Return the plans that profiles consist of, of all partitions or of those given."""
        query: Document = {"asset": asset, "generation": generation}
        query |= {"partition": {"$in": list(partitions)}} if partitions else {}
        return list(self._plans({**query, "state": PlanState.FOLDED}))

    def whole_epochs(self, asset: str, generation: int, *partitions: str) -> dict[str, int]:
        """Return the newest epoch of each partition that was folded whole, by fold key.

        Of all partitions or of those given.
        """
        query: Document = {"asset": asset, "generation": generation}
        query |= {"partition": {"$in": list(partitions)}} if partitions else {}
        query |= {"state": PlanState.FOLDED}
        group = {"_id": BY_PARTITION, "epoch": {"$max": "$epoch"}}
        groups = self.plans.aggregate([{"$match": query}, {"$group": group}])
        return {PartitionKey.of(each["_id"]).fold_key: each["epoch"] for each in groups}

    def planned_partitions(self, asset: str, generation: int) -> set[str]:
        """Return the partitions that any run has planned, whatever became of them."""
        query: Document = {"asset": asset, "generation": generation}
        groups = self.plans.aggregate([{"$match": query}, {"$group": {"_id": "$partition"}}])
        return {group["_id"] for group in groups}

    def plan_with(self, asset: str, generation: int, fold_key: str, epoch: int) -> Plan | None:
        """Return the plan that has this epoch of a partition, if the ledger knows it."""
        partition, _, round_ = fold_key.partition("~")
        key = PartitionKey(
            asset=asset, generation=generation, partition=partition, round=int(round_ or 0)
        )
        return next(self._plans({**key.to_json(), "epoch": epoch}), None)

    def newest_folds(self, asset: str, generation: int, *partitions: str) -> dict[str, Plan]:
        """Return the newest folded plan of each partition, of all or of those given.

        They come without the keys of their results.
        """
        query: Document = {"asset": asset, "generation": generation}
        query |= {"partition": {"$in": list(partitions)}} if partitions else {}
        query |= {"state": PlanState.FOLDED}

        oldest_first = [("round", ASCENDING), ("epoch", ASCENDING)]
        plans = self._plans(query, projection={"results": 0}, sort=oldest_first)
        return {plan.partition: plan for plan in plans}

    def unfolded(self, asset: str, generation: int) -> list[Plan]:
        """Return the newest plan of each partition of which no plan as new is folded.

        A plan is abandoned only where one that is at least as new has come before it. They come
        without the keys of their results.
        """
        considered = {"asset": asset, "generation": generation}
        not_abandoned = {"state": {"$ne": PlanState.ABANDONED}}
        newest_first = {"asset": 1, "partition": 1, "listed": -1, "created": -1}
        first = {"plan": {"$first": "$_id"}, "state": {"$first": "$state"}}
        pipeline: list[Document] = [
            {"$match": considered | not_abandoned},
            {"$sort": newest_first},
            {"$group": {"_id": "$partition", **first}},
            {"$match": {"state": {"$nin": SETTLED_STATES}}},
        ]
        plan_ids = [group["plan"] for group in self.plans.aggregate(pipeline)]
        return list(self._plans({"_id": {"$in": plan_ids}}, projection={"results": 0}))

    def history(self, asset: Asset, generation: int, first: str, last: str) -> History:
        """Return the numbers of partitions from first to last, and of those around that matter.

        That is one query, whatever the range.
        """
        partitions = asset.partitions
        window = WINDOW[partitions.every] * 2  # what is around those around tells how far is far
        earliest = partitions.time(first) - window
        latest = partitions.time(last) + window
        between = {"$gte": partitions.key(earliest), "$lte": partitions.key(latest)}

        query: Document = {"asset": asset.name, "generation": generation, "partition": between}
        query |= {"state": PlanState.FOLDED}
        shown = {"_id": 0, "partition": 1, "listed": 1}
        shown |= {f"counts.{name}": 1 for name in Numbers.COUNTED}
        oldest_first = [("round", ASCENDING), ("epoch", ASCENDING)]
        plans = self.plans.find(query, shown, sort=oldest_first)
        newest = {plan["partition"]: plan for plan in plans}
        return History(partitions, [Numbers.of_plan(partitions, each) for each in newest.values()])

    def _plans(self, query: Document, **how: Any) -> Iterator[Plan]:
        return map(Plan.from_document, self.plans.find(query, **how))
