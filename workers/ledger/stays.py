"""Stays of blocks in their partitions, where an asset says what identifies an item.

A stay begins with the listing that has the block first, and is over for good with one that lacks
it: a block that comes back begins another. Copies of items are held in the name of stays (copies).
See docs/decisions/0022-the-same-item-twice.md.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum

import pymongo
from pymongo import ASCENDING, IndexModel, UpdateOne

from workers.values import Block, Document, Value, digest


class StayState(StrEnum):
    """Whether copies of items in a block may count."""

    # The newest listing of its partition has the block.
    HERE = "here"
    # It has not, and profiles may still hold what the block said.
    LEAVING = "leaving"
    # No profile holds it any more; copies elsewhere count what it counted.
    GONE = "gone"
    # And all batches that relied on it are outdated.
    SETTLED = "settled"

    @property
    def is_over(self) -> bool:
        return self in (StayState.GONE, StayState.SETTLED)


class Stay(Value, frozen=True, kw_only=True):
    """One stay of a block in its partition."""

    id: int
    asset: str
    partition: str
    key: str
    etag: str
    # How often the same block was there before.
    number: int
    state: StayState

    @classmethod
    def from_document(cls, document: Document) -> "Stay":
        return cls.of({**document, "id": document["_id"]})

    def is_over_for(self, partition: str) -> bool:
        """Tell whether batches of a partition may count what it counted.

        Those of its own may once a newer listing lacks the block: they are folded in its place.
        """
        is_own = self.partition == partition
        return self.state.is_over or (is_own and self.state is StayState.LEAVING)


def stay_id(asset: str, key: str, etag: str, number: int) -> int:
    """Return the id of a block's stay: 8 bytes, as each item's copy names it."""
    text = digest([asset, key, etag, number])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True)


class Stays:
    """The collection `stays`, and the batches that depend on them."""

    def __init__(
        self,
        collection: pymongo.collection.Collection[Document],
        batches: pymongo.collection.Collection[Document],
    ) -> None:
        self.collection, self.batches = collection, batches

    def ensure_indexes(self) -> None:
        """Create the indexes; cheap where they exist."""
        by_partition = [("asset", ASCENDING), ("partition", ASCENDING)]
        by_block = [("asset", ASCENDING), ("key", ASCENDING)]
        self.collection.create_indexes([IndexModel(by_partition), IndexModel(by_block)])
        self.batches.create_indexes([IndexModel([("held_by", ASCENDING)], sparse=True)])

    # Listings

    def open(self, asset: str, partitions: Collection[str] | None = None) -> dict[str, list[Stay]]:
        """Return the stays of blocks that all partitions, or these, have or may hold in profiles.

        They come by partition.
        """
        open_: dict[str, list[Stay]] = {}
        query = {"asset": asset, "state": {"$in": [StayState.HERE, StayState.LEAVING]}}
        if partitions is not None:
            query["partition"] = {"$in": list(partitions)}
        for stay in self._find(query):
            open_.setdefault(stay.partition, []).append(stay)
        return open_

    def recounts(self, asset: str, partitions: Collection[str]) -> dict[str, int]:
        """Return the recount that new batches of partitions are of; none where it is 0."""
        of_partitions = {"asset": asset, "partition": {"$in": list(partitions)}}
        groups = self.batches.aggregate(
            [
                {"$match": {**of_partitions, "outdated": True}},
                {"$group": {"_id": "$partition", "most": {"$max": "$recount"}}},
            ]
        )
        return {group["_id"]: (group["most"] or 0) + 1 for group in groups}

    def recount_without(self, asset: str, partition: str, leaving: Collection[int]) -> int:
        """Return the recount of new batches in a partition that lacks some stays from now on."""
        batches = self.batches.find(_without(asset, partition, leaving), {"recount": 1})
        return max((batch["recount"] + 1 for batch in batches), default=0)

    def begin(
        self, asset: str, blocks: Mapping[str, Collection[Block]]
    ) -> dict[tuple[str, str], int]:
        """Let blocks, given by partition, be here; return their stays by key and ETag."""
        newest = self.newest(asset, [block for each in blocks.values() for block in each])
        ids: dict[tuple[str, str], int] = {}
        writes = []
        for partition, each in blocks.items():
            for block in each:
                before = newest.get((block.key, block.etag))
                if before and before.state is StayState.HERE:
                    ids[block.key, block.etag] = before.id
                    continue
                number = before.number + 1 if before else 0
                values = {
                    "asset": asset,
                    "partition": partition,
                    "key": block.key,
                    "etag": block.etag,
                    "number": number,
                    "state": StayState.HERE,
                }
                id_ = stay_id(asset, block.key, block.etag, number)
                writes.append(UpdateOne({"_id": id_}, {"$setOnInsert": values}, upsert=True))
                ids[block.key, block.etag] = id_
        if writes:
            self.collection.bulk_write(writes, ordered=False)
        return ids

    def leave(self, asset: str, leaving: Mapping[str, Sequence[int]]) -> None:
        """Record which stays newer listings lack, by partition.

        Batches of these partitions that read such a block, or that left an item to a copy in it,
        are outdated from now on.
        """
        for partition, ids in leaving.items():
            if ids:
                here = {"_id": {"$in": list(ids)}, "state": StayState.HERE}
                self.collection.update_many(here, {"$set": {"state": StayState.LEAVING}})
                self._outdate(_without(asset, partition, ids))

    # Batches

    def newest(self, asset: str, blocks: Iterable[Block]) -> dict[tuple[str, str], Stay]:
        """Return the newest stay of blocks that have one, by key and ETag."""
        wanted = {(block.key, block.etag) for block in blocks}
        keys = sorted({key for key, _ in wanted})
        newest: dict[tuple[str, str], Stay] = {}
        for stay in self._find({"asset": asset, "key": {"$in": keys}}):
            known = newest.get((stay.key, stay.etag))
            is_wanted = (stay.key, stay.etag) in wanted
            if is_wanted and (known is None or known.number < stay.number):
                newest[stay.key, stay.etag] = stay
        return newest

    def by_id(self, ids: Iterable[int]) -> dict[int, Stay]:
        """Return stays by their ids."""
        return {stay.id: stay for stay in self._find({"_id": {"$in": list(ids)}})}

    def rely_on(self, batch_id: str, ids: Iterable[int]) -> None:
        """Record that a batch leaves items to copies in blocks of these stays.

        Once one of them is gone, the batch is outdated: also where it was recorded as going just
        before, if the caller looks at the stays again.
        """
        relied = {"$addToSet": {"held_by": {"$each": sorted(ids)}}}
        self.batches.update_one({"_id": batch_id}, relied)

    def outdated(self, batch_ids: Iterable[str]) -> list[str]:
        """Return those of these batches that are outdated."""
        query = {"_id": {"$in": list(batch_ids)}, "outdated": True}
        return [batch["_id"] for batch in self.batches.find(query, {"_id": 1})]

    # Folds

    def end(self, asset: str, held: Mapping[str, Collection[int]]) -> list[str]:
        """Record that partitions are folded from blocks of these stays, and of no others.

        What other blocks counted there, copies elsewhere count from now on. Returns the partitions
        whose batches are outdated by that.
        """
        states = {"$in": [StayState.LEAVING, StayState.GONE]}
        not_here = {"asset": asset, "partition": {"$in": list(held)}, "state": states}
        ids = [stay.id for stay in self._find(not_here) if stay.id not in held[stay.partition]]
        if not ids:
            return []

        gone = {"_id": {"$in": ids}}
        self.collection.update_many(gone, {"$set": {"state": StayState.GONE}})
        outdated = self._outdate({"held_by": {"$in": ids}})
        self.collection.update_many(gone, {"$set": {"state": StayState.SETTLED}})
        return outdated

    def _outdate(self, query: Document) -> list[str]:
        """Mark batches as outdated; return the partitions of those that were not before."""
        standing = {**query, "outdated": {"$ne": True}}
        partitions: list[str] = self.batches.distinct("partition", standing)
        self.batches.update_many(standing, {"$set": {"outdated": True}})
        return sorted(partitions)

    def _find(self, query: Document) -> Iterable[Stay]:
        return map(Stay.from_document, self.collection.find(query))


def _without(asset: str, partition: str, ids: Collection[int]) -> Document:
    """Return the query for batches of a partition that read blocks of stays, or relied on them."""
    over = {"$in": list(ids)}
    depends = [{"stays": over}, {"held_by": over}]
    return {"asset": asset, "partition": partition, "$or": depends}
