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

from workers.errors import Refused
from workers.ledger.mongo import only_duplicates
from workers.values import Document, Value, unit_key

UNIT = ("asset", "generation", "partition", "round")
FOLDED = ("folded", "closed")  # states of plans that the profiles consist of
DONE = (*FOLDED, "replaced", "unchanged")  # of plans that leave nothing to be folded
PART = {"partition": "$partition", "round": "$round"}  # for grouping the units of one asset


def _key(group: Document) -> str:
    return unit_key(group["_id"]["partition"], group["_id"]["round"])


class Claim(Value, frozen=True, kw_only=True):
    """The right to fold a plan: profiles keep what the highest epoch of a partition wrote."""

    plan: str
    asset: str
    generation: int
    partition: str
    round: int
    epoch: int

    @property
    def unit(self) -> Document:
        """What the plans that compete for the same contributions have in common."""
        return {name: getattr(self, name) for name in UNIT}

    @property
    def key(self) -> str:
        """What profiles keep these contributions under."""
        return unit_key(self.partition, self.round)


class Claims:
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

    def closed(self, unit: Mapping[str, Any]) -> Document | None:
        """Return the plan that a closed partition was folded from, or None where it is open."""
        found: Document | None = self.plans.find_one(
            {**{name: unit[name] for name in UNIT}, "state": "closed"}
        )
        return found

    def closed_units(self, asset: str, generation: int) -> set[str]:
        """Return the keys of what may merge into the base for good."""
        query = {"asset": asset, "generation": generation, "state": "closed"}
        found = self.plans.find(query, {"partition": 1, "round": 1})
        return {unit_key(plan["partition"], plan["round"]) for plan in found}

    def claim(self, plan: Document, results: Mapping[str, str]) -> Claim | None:
        """Give a plan the next epoch of its partition. From here on profiles may hold it.

        `results` are the keys, by batch, that every shard of its fold will read: a batch that
        another run finishes meanwhile is for another plan. None where a run that listed the blocks
        later has claimed the partition: what it folds is newer. Refused where it is closed.
        """
        unit = {name: plan[name] for name in UNIT}
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
                {"$group": {"_id": PART, "listed": {"$max": "$listed"}}},
            ]
        )
        newest = {_key(one): one["listed"] for one in claimed}
        outdated = [
            p.id for p in plans if newest.get(unit_key(p.partition, p.round), 0.0) > p.listed
        ]
        self.plans.update_many(
            {"_id": {"$in": outdated}, "state": "planned"}, {"$set": {"state": "abandoned"}}
        )

    def live(self, claims: Sequence[Claim]) -> set[str]:
        """Return the keys of claims that are still the highest, in a generation not yet past."""
        mine = {claim.key: claim.epoch for claim in claims}
        if not mine:
            return set()
        one = next(iter(claims))
        partitions = [claim.partition for claim in claims]
        query = {"asset": one.asset, "generation": one.generation, "partition": {"$in": partitions}}
        newest = self.plans.aggregate(
            [
                {"$match": query},
                {"$group": {"_id": PART, "epoch": {"$max": "$epoch"}}},
            ]
        )
        highest = {_key(unit) for unit in newest if unit["epoch"] == mine.get(_key(unit))}
        return highest if self.generation(one.asset) <= one.generation else set()

    def earlier(self, claim: Claim) -> list[Document]:
        """Return the plans of lower epochs that profiles may still hold."""
        states = {"$in": ["folding", "folded", "abandoned"]}
        query = {**claim.unit, "epoch": {"$lt": claim.epoch}, "state": states}
        return list(self.plans.find(query))

    def folded(self, claim: Claim, counts: Value, failed_profiles: Sequence[Value]) -> bool:
        """Record that a claim is folded whole; False where a later claim took over."""
        now = datetime.now(UTC)
        said = {"counts": counts.to_json(), "unfit": [one.to_json() for one in failed_profiles]}
        done = self.plans.find_one_and_update(
            {"_id": claim.plan, "epoch": claim.epoch, "state": {"$in": ["folding", "folded"]}},
            {"$set": {"state": "folded", "folded": now, **said}},
        )
        if done is None:  # asked again after the partition was closed, it is still true
            mine = {"_id": claim.plan, "epoch": claim.epoch + 1, "state": "closed"}
            return self.plans.find_one(mine) is not None
        if claim.key not in self.live([claim]):
            return False
        before = {**claim.unit, "epoch": {"$lt": claim.epoch}}
        for state, then in (("folded", "replaced"), ("folding", "abandoned")):
            self.plans.update_many({**before, "state": state}, {"$set": {"state": then}})
        older = {**claim.unit, "state": "planned", "listed": {"$lte": done["listed"]}}
        self.plans.update_many(older, {"$set": {"state": "abandoned"}})
        return True

    def close(self, asset: str, generation: int, before: str, claims: Iterable[Claim]) -> None:
        """Close the folded partitions that start before the given one, and rounds before claims.

        Closing takes an epoch: it fails where a run has claimed the partition since, and a claim
        of before it is no longer live.
        """
        query = {"asset": asset, "generation": generation, "state": "folded"}
        old: list[Document] = [{"partition": {"$lt": before}}]
        old += [{**claim.unit, "round": {"$lt": claim.round}} for claim in claims if claim.round]
        writes = [
            UpdateOne(
                {"_id": plan["_id"], "epoch": plan["epoch"], "state": "folded"},
                {"$set": {"state": "closed", "epoch": plan["epoch"] + 1}},
            )
            for plan in self.plans.find({**query, "$or": old})
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
        states = {"$in": FOLDED}
        found = self.plans.find_one(
            {"asset": asset, "generation": generation, "state": states},
            sort=[("partition", DESCENDING)],
        )
        return found["partition"] if found else None

    def folded_plans(self, asset: str, generation: int, *partitions: str) -> list[Document]:
        """Return the plans that profiles consist of, of all partitions or of those given."""
        query: Document = {"asset": asset, "generation": generation}
        query |= {"partition": {"$in": list(partitions)}} if partitions else {}
        return list(self.plans.find({**query, "state": {"$in": FOLDED}}))

    def newest_folds(self, asset: str, generation: int) -> dict[str, Document]:
        """Return the newest folded plan of each partition: its id and counts."""
        found = self.plans.find(
            {"asset": asset, "generation": generation, "state": {"$in": FOLDED}},
            {"partition": 1, "counts": 1},
            sort=[("round", ASCENDING), ("epoch", ASCENDING)],
        )
        return {plan["partition"]: plan for plan in found}
