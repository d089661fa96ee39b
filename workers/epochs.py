"""Who may fold: a plan claims the next epoch of its partition, and the highest epoch counts.

Closing a partition, and entering a new generation of profiles, end claims in the same way. See
docs/decisions/0002-folding-exactly-once.md and 0007-rebuilding-in-generations.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, ReturnDocument, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError

from workers.errors import Refused, only_duplicates
from workers.model import Document, Value


class Claim(Value, frozen=True, kw_only=True):
    """The right to fold a plan: profiles keep what the highest epoch of a partition wrote."""

    plan: str
    asset: str
    generation: int
    partition: str
    epoch: int

    @property
    def unit(self) -> Document:
        """What the plans that compete for the same contributions have in common."""
        names = ("asset", "generation", "partition")
        return {name: getattr(self, name) for name in names}


class Epochs:
    """The epochs of plans, and the generations of assets."""

    def __init__(self, plans: Collection[Document], assets: Collection[Document]) -> None:
        self.plans, self.assets = plans, assets

    def generation(self, asset: str) -> int:
        """Return the generation that the asset's profiles are of."""
        found = self.assets.find_one({"_id": asset})
        return found["generation"] if found else 0

    def new_generation(self, asset: str) -> int:
        """Return a number that no generation of the asset had before."""
        made: Any = self.assets.find_one_and_update(
            {"_id": asset},
            {"$inc": {"latest": 1}, "$setOnInsert": {"generation": 0}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        latest: int = made["latest"]
        return latest

    def enter(self, asset: str, generation: int) -> bool:
        """Make a generation the asset's; from here on no claim of an earlier one is live."""
        done = self.assets.update_one(
            {"_id": asset, "generation": {"$lt": generation}},
            {"$set": {"generation": generation}},
        )
        return bool(done.matched_count)

    def closed(self, asset: str, generation: int, partition: str) -> Document | None:
        """Return the plan that a closed partition was folded from, or None where it is open."""
        found: Document | None = self.plans.find_one(
            {
                "asset": asset,
                "generation": generation,
                "partition": partition,
                "state": "closed",
            }
        )
        return found

    def closed_partitions(self, asset: str, generation: int) -> set[str]:
        """Return the partitions whose contributions may merge into the base for good."""
        query = {"asset": asset, "generation": generation, "state": "closed"}
        return set(self.plans.distinct("partition", query))

    def claim(self, plan: Document, results: Mapping[str, str]) -> Claim | None:
        """Give a plan the next epoch of its partition. From here on profiles may hold it.

        `results` are the keys, by batch, that every shard of its fold will read: a batch that
        another run finishes meanwhile is for another plan. None where a run that listed the blocks
        later has claimed the partition: what it folds is newer. Refused where it is closed.
        """
        unit = {name: plan[name] for name in ("asset", "generation", "partition")}
        claimed = {"state": "folding", "results": dict(results)}
        while True:
            newest = self.plans.find_one(
                {**unit, "epoch": {"$exists": True}}, sort=[("epoch", DESCENDING)]
            )
            if newest and newest["state"] == "closed":
                raise Refused(
                    f"{plan['asset']}: partition {plan['partition']} was closed while this run "
                    "was on its way; run it again to see whether anything is left to do"
                )
            if newest and newest["listed"] > plan["listed"]:
                return None
            epoch = newest["epoch"] + 1 if newest else 1
            try:
                self.plans.update_one({"_id": plan["_id"]}, {"$set": claimed | {"epoch": epoch}})
            except DuplicateKeyError:
                continue  # another run claimed this epoch in between
            return Claim(plan=plan["_id"], epoch=epoch, **unit)

    def abandon_outdated(self, plans: Sequence[Any]) -> None:
        """Abandon plans that were written only after a newer view of their partition was claimed.

        Their run was slow, or frozen; it would be refused its claim.
        """
        if not plans:
            return
        unit = {"asset": plans[0].asset, "generation": plans[0].generation}
        query = {**unit, "partition": {"$in": [p.partition for p in plans]}}
        claimed = self.plans.aggregate(
            [
                {"$match": {**query, "epoch": {"$exists": True}}},
                {"$group": {"_id": "$partition", "listed": {"$max": "$listed"}}},
            ]
        )
        newest = {one["_id"]: one["listed"] for one in claimed}
        outdated = [p.id for p in plans if newest.get(p.partition, 0.0) > p.listed]
        self.plans.update_many(
            {"_id": {"$in": outdated}, "state": "planned"}, {"$set": {"state": "abandoned"}}
        )

    def live(self, claims: Iterable[Claim]) -> set[str]:
        """Return the partitions whose claim is still the highest, in a generation not yet past."""
        mine = {claim.partition: claim for claim in claims}
        if not mine:
            return set()
        one = next(iter(mine.values()))
        query = {"asset": one.asset, "generation": one.generation, "partition": {"$in": list(mine)}}
        newest = self.plans.aggregate(
            [
                {"$match": query},
                {"$group": {"_id": "$partition", "epoch": {"$max": "$epoch"}}},
            ]
        )
        highest = {unit["_id"] for unit in newest if unit["epoch"] == mine[unit["_id"]].epoch}
        return highest if self.generation(one.asset) <= one.generation else set()

    def earlier(self, claim: Claim) -> list[Document]:
        """Return the plans of lower epochs that profiles may still hold."""
        states = {"$in": ["folding", "folded", "abandoned"]}
        query = {**claim.unit, "epoch": {"$lt": claim.epoch}, "state": states}
        return list(self.plans.find(query))

    def folded(self, claim: Claim, counts: Value, unfit: Sequence[Value]) -> bool:
        """Record that a claim is folded whole; False where a later claim took over."""
        now = datetime.now(UTC)
        said = {"counts": counts.to_json(), "unfit": [one.to_json() for one in unfit]}
        done = self.plans.find_one_and_update(
            {"_id": claim.plan, "epoch": claim.epoch, "state": {"$in": ["folding", "folded"]}},
            {"$set": {"state": "folded", "folded": now, **said}},
        )
        if done is None:  # asked again after the partition was closed, it is still true
            mine = {"_id": claim.plan, "epoch": claim.epoch + 1, "state": "closed"}
            return self.plans.find_one(mine) is not None
        if claim.partition not in self.live([claim]):
            return False
        before = {**claim.unit, "epoch": {"$lt": claim.epoch}}
        for state, then in (("folded", "replaced"), ("folding", "abandoned")):
            self.plans.update_many({**before, "state": state}, {"$set": {"state": then}})
        older = {**claim.unit, "state": "planned", "listed": {"$lte": done["listed"]}}
        self.plans.update_many(older, {"$set": {"state": "abandoned"}})
        return True

    def close(self, asset: str, generation: int, before: str) -> None:
        """Close the folded partitions that start before the given one.

        Closing takes an epoch: it fails where a run has claimed the partition since, and a claim
        of before it is no longer live.
        """
        query = {"asset": asset, "generation": generation, "state": "folded"}
        writes = [
            UpdateOne(
                {"_id": plan["_id"], "epoch": plan["epoch"], "state": "folded"},
                {"$set": {"state": "closed", "epoch": plan["epoch"] + 1}},
            )
            for plan in self.plans.find({**query, "partition": {"$lt": before}})
        ]
        if not writes:
            return
        try:
            self.plans.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            if not only_duplicates(error):
                raise

    def newest_folded(self, asset: str, generation: int) -> str | None:
        """Return the newest partition that was ever folded."""
        states = {"$in": ["folded", "closed"]}
        found = self.plans.find_one(
            {"asset": asset, "generation": generation, "state": states},
            sort=[("partition", DESCENDING)],
        )
        return found["partition"] if found else None

    def newest_folds(self, asset: str, generation: int) -> dict[str, Document]:
        """Return the newest folded plan of each partition: its id and counts."""
        found = self.plans.find(
            {"asset": asset, "generation": generation, "state": {"$in": ["folded", "closed"]}},
            {"partition": 1, "counts": 1},
            sort=[("epoch", ASCENDING)],
        )
        return {plan["partition"]: plan for plan in found}
