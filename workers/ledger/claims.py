"""Who may fold: a plan claims the next epoch of its partition, and the highest epoch counts.

Entering a new generation of profiles ends claims in the same way. See
docs/decisions/0002-folding-exactly-once.md and 0007-rebuilding-in-generations.md.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pymongo import ReturnDocument, UpdateMany, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from workers.ledger.mongo import duplicates_of, only_duplicates
from workers.ledger.records import PartitionKey, Plan, PlanState
from workers.values import Counts, Document, FailedProfile, Value

# For grouping the plans of one asset and generation by what they compete for.
BY_PARTITION = {
    "asset": "$asset",
    "generation": "$generation",
    "partition": "$partition",
    "round": "$round",
}
HAS_EPOCH = {"epoch": {"$exists": True}}


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


class Standing(NamedTuple):
    """How a claim stands."""

    # It is the highest of its partition, and nobody has recorded it as folded whole. An op that was
    # given up and works on after that must not write: what is folded whole need not stand in
    # profiles.
    is_live: bool
    # The newest epoch of its partition that was folded whole; 0 where none was.
    whole: int


class Fold(NamedTuple):
    """A claim that is folded whole, with what came of it."""

    claim: Claim
    counts: Counts
    failed_profiles: Sequence[FailedProfile]


class CollectionKey(Value, frozen=True, kw_only=True):
    """Where the profiles of an asset are: the collection, and the field that holds an id."""

    collection: str
    key: str = "_id"


class Claims:
    """The epochs of plans, and the generations of assets."""

    def __init__(self, plans: Collection[Document], assets: Collection[Document]) -> None:
        self.plans, self.assets = plans, assets

    # Generations

    def generation(self, asset: str) -> int:
        """Return the generation that the asset's profiles are of."""
        document = self.assets.find_one({"_id": asset})
        return document["generation"] if document else 0

    def latest_generation(self, asset: str) -> int:
        """Return the newest generation of an asset, which a rebuild may still be making."""
        document: Any = self.assets.find_one({"_id": asset}, {"latest": 1})
        return document.get("latest", 0) if document else 0

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

    def enter(self, asset: str, generation: int, where: CollectionKey) -> bool:
        """Make a generation the asset's; from here on no claim of an earlier one is live.

        From here on its profiles are where it says, too.
        """
        result = self.assets.update_one(
            {"_id": asset, "generation": {"$lt": generation}},
            {"$set": {"generation": generation, "profiles": where.to_json()}},
        )
        return bool(result.matched_count)

    # Where profiles are, and which fields of theirs

    def collection_key(self, asset: str) -> CollectionKey:
        """Return where the profiles of an asset are: in a collection of its name, if unsaid."""
        document = self.assets.find_one({"_id": asset}, {"profiles": 1}) or {}
        return CollectionKey.of(document.get("profiles") or {"collection": asset})

    def settle(self, asset: str, where: CollectionKey) -> None:
        """Record where the profiles of an asset are from here on."""
        beginning = {"generation": 0, "latest": 0}
        self.assets.update_one(
            {"_id": asset},
            {"$set": {"profiles": where.to_json()}, "$setOnInsert": beginning},
            upsert=True,
        )

    def own_fields(self, asset: str) -> list[str]:
        """Return the names of all fields that were ever written in profiles of the asset."""
        document = self.assets.find_one({"_id": asset}, {"fields": 1})
        names: list[str] = (document or {}).get("fields", [])
        return names

    def add_own_fields(self, asset: str, names: Iterable[str]) -> None:
        """Record names of fields that are about to be written."""
        self.assets.update_one(
            {"_id": asset},
            {
                "$addToSet": {"fields": {"$each": sorted(names)}},
                "$setOnInsert": {"generation": 0, "latest": 0},
            },
            upsert=True,
        )

    # Claims

    def claim(
        self, plans: Sequence[Plan], results: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Claim]:
        """Give plans the next epochs of their partitions. From here on profiles may hold them.

        `results` are the S3 keys of each plan's batches, fixed here: what a batch counts that
        another run finishes meanwhile is for another plan. Claims come back by plan. There is none
        where a run that listed the blocks later has claimed the partition: what it folds is newer.
        """
        claims: dict[str, Claim] = {}
        waiting = list(plans)
        while waiting:
            claimed = self._next_claims(waiting)
            lost = self._write_claims(claimed, results)
            claims |= {claim.plan: claim for claim in claimed if claim.plan not in lost}
            waiting = [plan for plan in waiting if plan.id in lost]
        return claims

    def _next_claims(self, plans: Sequence[Plan]) -> list[Claim]:
        """Return the claims that are next, of those plans that nobody has overtaken."""
        order = {name: f"${name}" for name in ("epoch", "listed")}
        newest = self._newest_by_key(plans, order, HAS_EPOCH)

        claims = []
        for plan in plans:
            before = newest.get(plan.key, {})
            if before.get("listed", 0.0) <= plan.listed:
                epoch = before.get("epoch", 0) + 1
                claims.append(Claim(plan=plan.id, key=plan.key, epoch=epoch))
        return claims

    def _write_claims(
        self, claims: Sequence[Claim], results: Mapping[str, Mapping[str, str]]
    ) -> set[str]:
        """Write claims; return the plans whose epoch another run claimed in between."""
        writes = []
        for claim in claims:
            claimed = {
                "state": PlanState.FOLDING,
                "results": dict(results[claim.plan]),
                "epoch": claim.epoch,
                "why": "",
            }
            writes.append(UpdateOne({"_id": claim.plan}, {"$set": claimed}))
        if not writes:
            return set()

        try:
            self.plans.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            if not only_duplicates(error):
                raise
            return {claims[number].plan for number in duplicates_of(error)}
        return set()

    def abandon_outdated(self, plans: Sequence[Plan]) -> None:
        """Abandon plans that were written only after a newer view of their partition was claimed.

        Their run was slow, or frozen; it would be refused its claim.
        """
        if not plans:
            return

        claimed = self._newest_by_key(plans, "$listed", HAS_EPOCH)
        outdated = [plan.id for plan in plans if claimed.get(plan.key, 0.0) > plan.listed]
        self.plans.update_many(
            {"_id": {"$in": outdated}, "state": PlanState.PLANNED},
            {"$set": {"state": PlanState.ABANDONED}},
        )

    def live(self, claims: Sequence[Claim]) -> set[PartitionKey]:
        """Return the keys of claims that are still the highest, in a generation not yet past."""
        if not claims:
            return set()

        highest = self._newest_by_key(claims, "$epoch")
        live = {claim.key for claim in claims if highest.get(claim.key) == claim.epoch}
        some = claims[0].key
        return live if self.generation(some.asset) <= some.generation else set()

    def standings(self, claims: Sequence[Claim]) -> dict[PartitionKey, Standing]:
        """Return how claims stand, by what they fold; of a past generation none is live."""
        if not claims:
            return {}

        top = {"epoch": "$epoch", "state": "$state"}
        is_whole = {"$eq": ["$state", PlanState.FOLDED]}
        values = {
            "top": {"$max": top},
            "whole": {"$max": {"$cond": [is_whole, "$epoch", 0]}},
        }
        groups = self._grouped([claim.key for claim in claims], values, HAS_EPOCH)
        some = claims[0].key
        is_current = self.generation(some.asset) <= some.generation

        standings = {}
        for claim in claims:
            group = groups.get(claim.key, {"top": {}, "whole": 0})
            mine = {"epoch": claim.epoch, "state": PlanState.FOLDING}
            is_live = is_current and group["top"] == mine
            standings[claim.key] = Standing(is_live, group["whole"])
        return standings

    def _newest_by_key(
        self,
        competitors: Sequence[Plan] | Sequence[Claim],
        value: str | Mapping[str, str],
        where: Mapping[str, Any] | None = None,
    ) -> dict[PartitionKey, Any]:
        """Return the greatest value among the plans that compete for each key.

        The value is a field, written with a dollar sign, or several that count in their order.
        """
        keys = [competitor.key for competitor in competitors]
        groups = self._grouped(keys, {"newest": {"$max": value}}, where or {})
        return {key: group["newest"] for key, group in groups.items()}

    def _grouped(
        self, keys: Sequence[PartitionKey], values: Document, where: Mapping[str, Any]
    ) -> dict[PartitionKey, Document]:
        """Return values of the plans that compete for each key, as `$group` computes them."""
        stages = [
            {"$match": _of_partitions(keys) | dict(where)},
            {"$group": {"_id": BY_PARTITION, **values}},
        ]
        return {PartitionKey.of(group["_id"]): group for group in self.plans.aggregate(stages)}

    def earlier(self, claims: Sequence[Claim]) -> dict[PartitionKey, list[Plan]]:
        """Return the plans of lower epochs that profiles may still hold, by what they fold."""
        if not claims:
            return {}

        epochs = {claim.key: claim.epoch for claim in claims}
        states = {"$in": [PlanState.FOLDING, PlanState.FOLDED, PlanState.ABANDONED]}
        below = {"epoch": {"$lt": max(epochs.values())}, "state": states}

        earlier: dict[PartitionKey, list[Plan]] = {}
        for plan in self._plans(_of_partitions(list(epochs)) | below):
            if plan.epoch is not None and plan.epoch < epochs.get(plan.key, 0):
                earlier.setdefault(plan.key, []).append(plan)
        return earlier

    def mark_folded(self, folds: Sequence[Fold]) -> set[str]:
        """Record that claims are folded whole; return their plans, without those overtaken.

        A claim that is live by now was so for every write of its fold.
        """
        live = self.live([fold.claim for fold in folds])
        ends = [_folding_end(fold) for fold in folds if fold.claim.key in live]
        if ends:
            self.plans.bulk_write(ends, ordered=False)

        mine = {"_id": {"$in": [fold.claim.plan for fold in folds]}}
        shown = dict.fromkeys(("state", "epoch", "listed"), 1)
        documents = {document["_id"]: document for document in self.plans.find(mine, shown)}

        folded: set[str] = set()
        moves: list[UpdateMany] = []
        for claim, *_ in folds:
            document = documents.get(claim.plan, {})
            state = (document.get("state"), document.get("epoch"))
            if state == (PlanState.FOLDED, claim.epoch):
                folded.add(claim.plan)
                moves += _retiring(claim, document["listed"])
        if moves:
            self.plans.bulk_write(moves, ordered=False)
        return folded

    def _plans(self, query: Document, **how: Any) -> Iterator[Plan]:
        return map(Plan.from_document, self.plans.find(query, **how))


def _of_partitions(keys: Sequence[PartitionKey]) -> Document:
    """Return the query for all plans of partitions, of one asset and generation."""
    some = keys[0]
    partitions = sorted({key.partition for key in keys})
    return {
        "asset": some.asset,
        "generation": some.generation,
        "partition": {"$in": partitions},
    }


def _folding_end(fold: Fold) -> UpdateOne:
    """Return the write that a claim is folded whole, unless a later one has taken over."""
    folded = {
        "state": PlanState.FOLDED,
        "folded": datetime.now(UTC),
        "counts": fold.counts.to_json(),
        "failed_profiles": [profile.to_json() for profile in fold.failed_profiles],
    }
    states = {"$in": [PlanState.FOLDING, PlanState.FOLDED]}
    mine = {"_id": fold.claim.plan, "epoch": fold.claim.epoch, "state": states}
    return UpdateOne(mine, {"$set": folded})


def _retiring(claim: Claim, listed: float) -> list[UpdateMany]:
    """Return the writes that move the plans a folded claim has overtaken out of its way."""
    key = claim.key.to_json()
    before = {**key, "epoch": {"$lt": claim.epoch}}
    slow = {**key, "state": PlanState.PLANNED, "listed": {"$lte": listed}}
    moves = (
        ({**before, "state": PlanState.FOLDED}, PlanState.REPLACED),
        ({**before, "state": PlanState.FOLDING}, PlanState.ABANDONED),
        (slow, PlanState.ABANDONED),
    )
    return [UpdateMany(query, {"$set": {"state": state}}) for query, state in moves]
