"""Who may fold: a plan claims the next epoch of its partition, and the highest epoch counts.

Closing a partition, and entering a new generation of profiles, end claims in the same way. See
docs/decisions/0002-folding-exactly-once.md and 0007-rebuilding-in-generations.md.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, ReturnDocument, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError

from workers.errors import Refused
from workers.ledger.mongo import only_duplicates
from workers.ledger.records import FOLDED_STATES, PartitionKey, Plan, PlanState
from workers.values import Counts, Document, FailedProfile, Value

# For grouping the plans of one asset and generation by what they compete for.
BY_PARTITION = {
    "asset": "$asset",
    "generation": "$generation",
    "partition": "$partition",
    "round": "$round",
}


class Claim(Value, frozen=True, kw_only=True):
    """The right to fold a plan: profiles keep what the highest epoch of a partition wrote."""

    plan: str
    key: PartitionKey
    epoch: int

    @property
    def partition(self) -> str:
        return self.key.partition

    @property
    def generation(self) -> int:
        return self.key.generation


class Claims:
    """The epochs of plans, and the generations of assets."""

    def __init__(self, plans: Collection[Document], assets: Collection[Document]) -> None:
        self.plans, self.assets = plans, assets

    # Generations

    def generation(self, asset: str) -> int:
        """Return the generation that the asset's profiles are of."""
        document = self.assets.find_one({"_id": asset})
        return document["generation"] if document else 0

    def new_generation(self, asset: str) -> int:
        """Return a number that no generation of the asset had before."""
        document: Any = self.assets.find_one_and_update(
            {"_id": asset},
            {"$inc": {"latest": 1}, "$setOnInsert": {"generation": 0}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        latest: int = document["latest"]
        return latest

    def enter(self, asset: str, generation: int) -> bool:
        """Make a generation the asset's; from here on no claim of an earlier one is live."""
        result = self.assets.update_one(
            {"_id": asset, "generation": {"$lt": generation}},
            {"$set": {"generation": generation}},
        )
        return bool(result.matched_count)

    # Claims

    def claim(self, plan: Plan, results: Mapping[str, str]) -> Claim | None:
        """Give a plan the next epoch of its partition. From here on profiles may hold it.

        `results` are the keys, by batch, that every shard of its fold will read: a batch that
        another run finishes meanwhile is for another plan. None where a run that listed the blocks
        later has claimed the partition: what it folds is newer. Refused where it is closed.
        """
        claimed = {"state": PlanState.FOLDING, "results": dict(results)}
        while True:
            newest = self._newest_claimed(plan.key)
            if newest and newest.state is PlanState.CLOSED:
                raise Refused(
                    f"{plan.asset}: partition {plan.partition} was closed while this run "
                    "was on its way; run it again to see whether anything is left to do"
                )
            if newest and newest.listed > plan.listed:
                return None

            epoch = (newest.epoch or 0) + 1 if newest else 1
            try:
                self.plans.update_one({"_id": plan.id}, {"$set": claimed | {"epoch": epoch}})
            except DuplicateKeyError:
                continue  # another run claimed this epoch in between
            return Claim(plan=plan.id, key=plan.key, epoch=epoch)

    def _newest_claimed(self, key: PartitionKey) -> Plan | None:
        query = {**key.to_json(), "epoch": {"$exists": True}}
        document = self.plans.find_one(query, sort=[("epoch", DESCENDING)])
        return Plan.from_document(document) if document else None

    def abandon_outdated(self, plans: Sequence[Plan]) -> None:
        """Abandon plans that were written only after a newer view of their partition was claimed.

        Their run was slow, or frozen; it would be refused its claim.
        """
        if not plans:
            return

        claimed = self._newest_by_key(plans[0].key, plans, "listed", {"epoch": {"$exists": True}})
        outdated = [plan.id for plan in plans if claimed.get(plan.key, 0.0) > plan.listed]
        self.plans.update_many(
            {"_id": {"$in": outdated}, "state": PlanState.PLANNED},
            {"$set": {"state": PlanState.ABANDONED}},
        )

    def live(self, claims: Sequence[Claim]) -> set[PartitionKey]:
        """Return the keys of claims that are still the highest, in a generation not yet past."""
        if not claims:
            return set()

        some = claims[0].key
        highest = self._newest_by_key(some, claims, "epoch")
        live = {claim.key for claim in claims if highest.get(claim.key) == claim.epoch}
        return live if self.generation(some.asset) <= some.generation else set()

    def _newest_by_key(
        self,
        some: PartitionKey,
        of: Sequence[Plan] | Sequence[Claim],
        field: str,
        where: Mapping[str, Any] | None = None,
    ) -> dict[PartitionKey, Any]:
        """Return the greatest value of a field among the plans that compete for each key."""
        query: Document = {
            "asset": some.asset,
            "generation": some.generation,
            "partition": {"$in": [competitor.partition for competitor in of]},
        }
        groups = self.plans.aggregate(
            [
                {"$match": query | dict(where or {})},
                {"$group": {"_id": BY_PARTITION, "newest": {"$max": f"${field}"}}},
            ]
        )
        return {PartitionKey.of(group["_id"]): group["newest"] for group in groups}

    def earlier(self, claim: Claim) -> list[Plan]:
        """Return the plans of lower epochs that profiles may still hold."""
        states = {"$in": [PlanState.FOLDING, PlanState.FOLDED, PlanState.ABANDONED]}
        query = {**claim.key.to_json(), "epoch": {"$lt": claim.epoch}, "state": states}
        return [Plan.from_document(document) for document in self.plans.find(query)]

    def mark_folded(
        self, claim: Claim, counts: Counts, failed_profiles: Sequence[FailedProfile]
    ) -> bool:
        """Record that a claim is folded whole; False where a later claim took over."""
        folded = {
            "state": PlanState.FOLDED,
            "folded": datetime.now(UTC),
            "counts": counts.to_json(),
            "failed_profiles": [profile.to_json() for profile in failed_profiles],
        }
        states = {"$in": [PlanState.FOLDING, PlanState.FOLDED]}
        document = self.plans.find_one_and_update(
            {"_id": claim.plan, "epoch": claim.epoch, "state": states}, {"$set": folded}
        )
        if document is None:  # asked again after the partition was closed, it is still true
            mine = {"_id": claim.plan, "epoch": claim.epoch + 1, "state": PlanState.CLOSED}
            return self.plans.find_one(mine) is not None

        if claim.key not in self.live([claim]):
            return False
        self._retire_older(claim, Plan.from_document(document).listed)
        return True

    def _retire_older(self, claim: Claim, listed: float) -> None:
        """Move the plans that a folded claim has overtaken out of its way."""
        key = claim.key.to_json()
        before = {**key, "epoch": {"$lt": claim.epoch}}
        moves = (
            ({**before, "state": PlanState.FOLDED}, PlanState.REPLACED),
            ({**before, "state": PlanState.FOLDING}, PlanState.ABANDONED),
            (
                {**key, "state": PlanState.PLANNED, "listed": {"$lte": listed}},
                PlanState.ABANDONED,
            ),
        )
        for query, state in moves:
            self.plans.update_many(query, {"$set": {"state": state}})

    # Closing

    def close(self, asset: str, generation: int, before: str, claims: Iterable[Claim]) -> None:
        """Close the folded partitions that start before the given one, and rounds before claims.

        Closing takes an epoch: it fails where a run has claimed the partition since, and a claim
        of before it is no longer live.
        """
        old: list[Document] = [{"partition": {"$lt": before}}]
        old += [
            {**claim.key.to_json(), "round": {"$lt": claim.key.round}}
            for claim in claims
            if claim.key.round
        ]
        query = {"asset": asset, "generation": generation, "state": PlanState.FOLDED, "$or": old}
        writes = [_closing(plan) for plan in self._plans(query)]
        if not writes:
            return

        try:
            self.plans.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            if not only_duplicates(error):
                raise

    def closed(self, key: PartitionKey) -> Plan | None:
        """Return the plan that a closed partition was folded from, or None where it is open."""
        document = self.plans.find_one({**key.to_json(), "state": PlanState.CLOSED})
        return Plan.from_document(document) if document else None

    def closed_keys(self, asset: str, generation: int) -> set[PartitionKey]:
        """Return the keys of what may merge into the base for good."""
        query = {"asset": asset, "generation": generation, "state": PlanState.CLOSED}
        documents = self.plans.find(query, dict.fromkeys(BY_PARTITION, 1))
        return {PartitionKey.of(document) for document in documents}

    # What is folded

    def newest_folded(self, asset: str, generation: int) -> str | None:
        """Return the newest partition that was ever folded."""
        document = self.plans.find_one(
            {"asset": asset, "generation": generation, "state": {"$in": FOLDED_STATES}},
            sort=[("partition", DESCENDING)],
        )
        return document["partition"] if document else None

    def folded_plans(self, asset: str, generation: int, *partitions: str) -> list[Plan]:
        """Return the plans that profiles consist of, of all partitions or of those given."""
        query: Document = {"asset": asset, "generation": generation}
        query |= {"partition": {"$in": list(partitions)}} if partitions else {}
        return list(self._plans({**query, "state": {"$in": FOLDED_STATES}}))

    def newest_folds(self, asset: str, generation: int) -> dict[str, Plan]:
        """Return the newest folded plan of each partition."""
        query = {"asset": asset, "generation": generation, "state": {"$in": FOLDED_STATES}}
        oldest_first = [("round", ASCENDING), ("epoch", ASCENDING)]
        return {plan.partition: plan for plan in self._plans(query, sort=oldest_first)}

    def _plans(self, query: Document, **how: Any) -> Iterator[Plan]:
        return map(Plan.from_document, self.plans.find(query, **how))


def _closing(plan: Plan) -> UpdateOne:
    closed = {"state": PlanState.CLOSED, "epoch": (plan.epoch or 0) + 1}
    return UpdateOne(
        {"_id": plan.id, "epoch": plan.epoch, "state": PlanState.FOLDED}, {"$set": closed}
    )
