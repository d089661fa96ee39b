"""Dead letters: items that could not be used, with the reason, kept until somebody acts on them.

A letter is open until a redrive uses its item, a person discards it, or a later run takes its
block or its code anew. Which letters belong to a plan is exact under retries: each letter names
the attempts at batches that found it, and a plan counts those attempts whose outcome it uses.
"""

import traceback
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pymongo import ASCENDING, IndexModel, UpdateOne
from pymongo import collection as mongo

from workers.ledger.fingerprint import REASON_KEPT, cause_of
from workers.ledger.records import Batch
from workers.values import Document, Value, digest

ITEM_KEPT = 4096  # bytes of a bad item that its letter keeps; redrives read the block
FRAMES_KEPT = 5  # lines of a traceback, from the task's own on
SUPERSEDED = "a later run took its block or its code anew"


class DeadLetter(Value, frozen=True, kw_only=True):
    """One item that could not be used."""

    batch: str
    block: str
    etag: str
    place: str
    # Whether the item is at fault, or the task that failed on it.
    kind: Literal["malformed", "bug"]
    # The class of the error.
    error: str
    # What went wrong, and what letters of one cause share of it: N stands for numbers.
    reason: str
    cause: str
    # The lines of the task that failed, outermost first; empty where the item is malformed.
    where: list[str]
    # The item's first bytes, and how many it has.
    item: str
    item_bytes: int

    @classmethod
    def malformed(cls, reason: str, item: bytes, **where: str) -> "DeadLetter":
        """Return the letter of an item that cannot be read."""
        return cls._of("malformed", "Malformed", reason, [], item, where)

    @classmethod
    def bug(cls, error: Exception, file: str, item: bytes, **where: str) -> "DeadLetter":
        """Return the letter of an item on which the task in this file raised an error."""
        name = type(error).__name__
        reason = f"{name} in the task: {error}"
        return cls._of("bug", name, reason, task_lines(error, file), item, where)

    @classmethod
    def _of(
        cls,
        kind: Literal["malformed", "bug"],
        error: str,
        reason: str,
        lines: list[str],
        item: bytes,
        where: Mapping[str, str],
    ) -> "DeadLetter":
        return cls(
            kind=kind,
            error=error,
            reason=reason[:REASON_KEPT],
            cause=cause_of(reason),
            where=lines,
            item=item[:ITEM_KEPT].decode(errors="replace"),
            item_bytes=len(item),
            **where,
        )


def dead_letter_id(asset: str, block: str, etag: str, place: str) -> str:
    """Return the id of the letter for the item at a place: the same in every run."""
    return digest([asset, block, etag, place])[:20]


def task_lines(error: Exception, file: str) -> list[str]:
    """Return the lines of a traceback from the first one in a file on, without folders."""
    stack = traceback.extract_tb(error.__traceback__)
    first = next((n for n, frame in enumerate(stack) if frame.filename == file), len(stack))
    return [
        f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in stack[first : first + FRAMES_KEPT]
    ]


def attempt_id(batch: str, attempt: int) -> str:
    """Return the name of an attempt at a batch, as letters hold it."""
    return f"{batch}-{attempt}"


class DeadLetters:
    """Reads and writes `dead_letters`."""

    def __init__(self, collection: mongo.Collection[Document]) -> None:
        self.collection = collection

    def ensure_indexes(self) -> None:
        """Create the indexes; cheap where they exist."""
        unit = [("asset", ASCENDING), ("partition", ASCENDING), ("state", ASCENDING)]
        self.collection.create_indexes([IndexModel(unit), IndexModel([("found_by", ASCENDING)])])

    def record(self, batch: Batch, attempt: int, letters: Sequence[DeadLetter]) -> None:
        """Record dead letters; the same item found dead again stays one letter."""
        now = datetime.now(UTC)
        unit = {"asset": batch.asset, "partition": batch.partition}
        writes = []
        for letter in letters:
            values = unit | letter.to_json() | {"last_seen": now}
            if batch.redrives:
                del values["batch"]  # it stays with the batch that its item belongs to
            at = dead_letter_id(batch.asset, letter.block, letter.etag, letter.place)
            writes.append(
                UpdateOne(
                    {"_id": at},
                    {
                        "$set": values,
                        "$setOnInsert": {"state": "open", "first_seen": now},
                        "$inc": {"attempts": 1},
                        "$addToSet": {"found_by": attempt_id(batch.id, attempt)},
                    },
                    upsert=True,
                )
            )
        if writes:
            self.collection.bulk_write(writes, ordered=False)

    def record_again(self, batch: Batch, attempt: int, ids: Collection[str]) -> None:
        """Record that items a redrive did not even meet are as dead as they were."""
        self.collection.update_many(
            {"_id": {"$in": list(ids)}},
            {
                "$set": {"last_seen": datetime.now(UTC)},
                "$inc": {"attempts": 1},
                "$addToSet": {"found_by": attempt_id(batch.id, attempt)},
            },
        )

    def found_by(self, sightings: Collection[str], **where: Any) -> list[Document]:
        """Return the letters that any of these attempts found."""
        return list(self.collection.find({"found_by": {"$in": list(sightings)}, **where}))

    def causes(self, sightings: Collection[str], most: int) -> list[tuple[str, int]]:
        """Return the most frequent causes of letters not discarded, with their counts."""
        query = {
            "found_by": {"$in": list(sightings)},
            "$or": [{"state": {"$ne": "discarded"}}, {"why": SUPERSEDED}],
        }
        pipeline: list[Document] = [
            {"$match": query},
            {"$group": {"_id": "$cause", "letters": {"$sum": 1}}},
            {"$sort": {"letters": -1, "_id": 1}},
            {"$limit": most},
        ]
        found = self.collection.aggregate(pipeline)
        return [(one["_id"], one["letters"]) for one in found]

    def states(self, sightings: Collection[str]) -> Counter[str]:
        """Count letters by state as a plan sees them: what a later run superseded is open."""
        pipeline: list[Document] = [
            {"$match": {"found_by": {"$in": list(sightings)}}},
            {"$group": {"_id": ["$state", {"$eq": ["$why", SUPERSEDED]}], "n": {"$sum": 1}}},
        ]
        counted: Counter[str] = Counter()
        for one in self.collection.aggregate(pipeline):
            state, is_superseded = one["_id"]
            counted["open" if is_superseded else state] += one["n"]
        return counted

    def partitions(self, asset: str, **where: Any) -> list[str]:
        """Return the partitions that have letters, in order."""
        return sorted(self.collection.distinct("partition", {"asset": asset, **where}))

    def discard(self, where: Mapping[str, Any], why: str) -> int:
        """Discard open letters for a person's reason; return how many."""
        query = {**where, "state": "open"}
        done = self.collection.update_many(query, {"$set": {"state": "discarded", "why": why}})
        return done.modified_count

    def settle(
        self, unit: Mapping[str, str], sightings: Iterable[str], redriven: Collection[str]
    ) -> None:
        """Bring the states of a folded partition's letters in line with what was folded."""
        mine, used = list(sightings), list(redriven)
        superseded = {"state": "discarded", "why": SUPERSEDED}
        self.collection.update_many(
            {**unit, "found_by": {"$nin": mine}, "state": {"$in": ["open", "redriven"]}},
            {"$set": superseded},
        )
        self.collection.update_many(
            {**unit, "_id": {"$in": used}, "state": {"$ne": "redriven"}},
            {"$set": {"state": "redriven"}, "$unset": {"why": ""}},
        )
        self.collection.update_many(
            {
                **unit,
                "found_by": {"$in": mine},
                "_id": {"$nin": used},
                "$or": [{"state": "redriven"}, superseded],
            },
            {"$set": {"state": "open"}, "$unset": {"why": ""}},
        )
