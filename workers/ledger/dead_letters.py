"""Dead letters: items that could not be used, with the reason, kept until somebody acts on them.

Which letters belong to a plan is exact under retries: each letter names the attempts at batches
that found it, and a plan counts those attempts whose outcome it uses.
"""

import re
import traceback
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Self

import msgspec
from pymongo import ASCENDING, IndexModel, UpdateOne
from pymongo import collection as mongo

from workers.isolation.trial import EndedWorker
from workers.ledger.fingerprint import MAX_REASON_CHARACTERS, cause_of
from workers.ledger.records import AttemptId, Batch, PartitionKey, Record
from workers.values import Document, Place, PlaceKind, Range, digest

MAX_ITEM_BYTES = 4096  # of a bad item that its letter keeps; redrives read the block
MAX_TASK_LINES = 5  # lines of a traceback, from the task's own on
OF_RESTS: Document = {"place.kind": PlaceKind.REST}  # a query for the letters of rests of blocks


class DeadLetterState(StrEnum):
    """What became of a dead letter."""

    # Nobody has acted on it yet.
    OPEN = "open"
    # A redrive has used its item.
    REDRIVEN = "redriven"
    # A person gave it up, and said why: it is tolerated.
    DISCARDED = "discarded"
    # A later run took its block or its code anew.
    SUPERSEDED = "superseded"


class DeadLetterKind(StrEnum):
    """What is wrong with an item."""

    # It cannot be read.
    MALFORMED = "malformed"
    # The task raised an error.
    BUG = "bug"
    # It ended the process of the worker, each time.
    KILLED = "killed"
    # It did not come to an end.
    STUCK = "stuck"


class DeadLetter(Record, frozen=True, kw_only=True):
    """One item that could not be used."""

    BY_LEDGER: ClassVar[frozenset[str]] = frozenset(
        {"state", "why", "attempts", "first_seen", "last_seen", "found_by"}
    )

    asset: str
    partition: str
    # The batch that its item belongs to.
    batch: str
    block: str
    etag: str
    place: Place
    # Of a rest of a block: about how many items it holds, by its bytes. Else it is the item alone.
    items: int = 1
    kind: DeadLetterKind
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

    state: DeadLetterState = DeadLetterState.OPEN
    # What the person who discarded it said.
    why: str = ""
    attempts: int = 0
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    found_by: list[AttemptId] = msgspec.field(default_factory=list)

    @property
    def id(self) -> str:
        return dead_letter_id(self.asset, self.block, self.etag, self.place)

    @classmethod
    def malformed(cls, batch: Batch, range_: Range, place: Place, reason: str, item: bytes) -> Self:
        """Return the letter of an item that cannot be read."""
        kind = DeadLetterKind.MALFORMED
        return cls._of_item(batch, range_, place, item, kind, "Malformed", reason, [])

    @classmethod
    def rest(cls, batch: Batch, range_: Range, place: Place, reason: str, items: int) -> Self:
        """Return the letter of a rest of a block, which holds about so many items."""
        letter = cls.malformed(batch, range_, place, reason, b"")
        return msgspec.structs.replace(letter, items=items)

    @classmethod
    def bug(
        cls, batch: Batch, range_: Range, place: Place, error: Exception, file: str, item: bytes
    ) -> Self:
        """Return the letter of an item on which the task in this file raised an error."""
        name = type(error).__name__
        reason = f"{name} in the task: {error}"
        lines = task_lines(error, file)
        return cls._of_item(batch, range_, place, item, DeadLetterKind.BUG, name, reason, lines)

    @classmethod
    def ended(
        cls, batch: Batch, range_: Range, place: Place, error: EndedWorker, item: bytes
    ) -> Self:
        """Return the letter of an item that ended the worker which tried it, or would not end."""
        name = type(error).__name__
        kind = DeadLetterKind(error.kind)
        return cls._of_item(batch, range_, place, item, kind, name, str(error), [])

    @classmethod
    def _of_item(
        cls,
        batch: Batch,
        range_: Range,
        place: Place,
        item: bytes,
        kind: DeadLetterKind,
        error: str,
        reason: str,
        lines: list[str],
    ) -> Self:
        return cls(
            asset=batch.asset,
            partition=batch.partition,
            batch=batch.id,
            block=range_.key,
            etag=range_.etag,
            place=place,
            kind=kind,
            error=error,
            reason=reason[:MAX_REASON_CHARACTERS],
            cause=cause_of(reason),
            where=lines,
            item=item[:MAX_ITEM_BYTES].decode(errors="replace"),
            item_bytes=len(item),
        )


def dead_letter_id(asset: str, block: str, etag: str, place: Place) -> str:
    """Return the id of the letter for the item at a place: the same in every run."""
    return digest([asset, block, etag, str(place)])[:20]


def task_lines(error: Exception, file: str) -> list[str]:
    """Return the lines of a traceback from the first one in a file on, without folders."""
    stack = traceback.extract_tb(error.__traceback__)
    first = next((n for n, frame in enumerate(stack) if frame.filename == file), len(stack))
    return [
        f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in stack[first : first + MAX_TASK_LINES]
    ]


class DeadLetters:
    """Reads and writes `dead_letters`."""

    def __init__(self, collection: mongo.Collection[Document]) -> None:
        self.collection = collection

    def ensure_indexes(self) -> None:
        """Create the indexes; cheap where they exist."""
        by_state = [("asset", ASCENDING), ("partition", ASCENDING), ("state", ASCENDING)]
        by_attempt = [("found_by", ASCENDING)]
        self.collection.create_indexes([IndexModel(by_state), IndexModel(by_attempt)])

    def record(self, batch: Batch, attempt: AttemptId, letters: Sequence[DeadLetter]) -> None:
        """Record dead letters; the same item found dead again stays one letter."""
        now = datetime.now(UTC)
        writes = []
        for letter in letters:
            values = letter.to_document() | {"last_seen": now}
            if batch.is_redrive:
                # It stays with the batch that its item belongs to, which knows what lies around it.
                del values["batch"], values["items"]
            update = {
                "$set": values,
                "$setOnInsert": {"state": DeadLetterState.OPEN, "first_seen": now},
                **_found_again(attempt),
            }
            writes.append(UpdateOne({"_id": letter.id}, update, upsert=True))

        if writes:
            self.collection.bulk_write(writes, ordered=False)

    def record_again(self, attempt: AttemptId, letter_ids: Collection[str]) -> None:
        """Record that items a redrive did not even meet are as dead as they were."""
        seen = {"$set": {"last_seen": datetime.now(UTC)}}
        self.collection.update_many(
            {"_id": {"$in": list(letter_ids)}}, seen | _found_again(attempt)
        )

    def find(
        self,
        asset: str,
        partition: str | None = None,
        letter_id: str | None = None,
        reason: str | None = None,
        state: str | None = None,
        is_unread: bool = False,
    ) -> list[DeadLetter]:
        """Return an asset's letters in the order of their places; `reason` is part of a text.

        Those that are unread are rests of blocks alone.
        """
        query: Document = {"asset": asset}
        query |= {"partition": partition} if partition else {}
        query |= {"_id": letter_id} if letter_id else {}
        query |= {"state": state} if state else {}
        query |= OF_RESTS if is_unread else {}
        if reason:
            query["reason"] = {"$regex": re.escape(reason), "$options": "i"}

        order = [("partition", 1), ("block", 1), ("place.position", 1)]
        return [
            DeadLetter.from_document(document)
            for document in self.collection.find(query).sort(order)
        ]

    def ids_beginning(self, asset: str, beginning: str) -> list[str]:
        """Return the ids of an asset's letters that begin so: two at most."""
        query = {"asset": asset, "_id": {"$regex": f"^{re.escape(beginning)}"}}
        return [document["_id"] for document in self.collection.find(query, {"_id": 1}).limit(2)]

    def found_by(self, attempts: Iterable[AttemptId], most: int = 0) -> list[DeadLetter]:
        """Return the letters that any of these attempts found; all, or so many at most."""
        found = self.collection.find({"found_by": _in(attempts)}, limit=most)
        return [DeadLetter.from_document(document) for document in found]

    def rests_found_by(self, attempts: Iterable[AttemptId]) -> list[DeadLetter]:
        """Return the letters of rests that any of these attempts found, in the blocks' order."""
        query = {"found_by": _in(attempts), **OF_RESTS}
        order = [("partition", 1), ("block", 1), ("place.position", 1)]
        documents = self.collection.find(query).sort(order)
        return [DeadLetter.from_document(document) for document in documents]

    def blocks_given_up(self, asset: str) -> set[tuple[str, str]]:
        """Return the keys and ETags of the blocks of which a person discarded a rest."""
        query = {"asset": asset, "state": DeadLetterState.DISCARDED, **OF_RESTS}
        documents = self.collection.find(query, {"block": 1, "etag": 1})
        return {(document["block"], document["etag"]) for document in documents}

    def that_ended_workers(self, asset: str) -> dict[tuple[str, str], set[Place]]:
        """Return the places of items that end whoever tries them, by key and ETag of the block."""
        kinds = [DeadLetterKind.KILLED, DeadLetterKind.STUCK]
        states = [DeadLetterState.OPEN, DeadLetterState.DISCARDED]
        query = {"asset": asset, "kind": {"$in": kinds}, "state": {"$in": states}}
        places: dict[tuple[str, str], set[Place]] = {}
        for document in self.collection.find(query):
            letter = DeadLetter.from_document(document)
            places.setdefault((letter.block, letter.etag), set()).add(letter.place)
        return places

    def causes(
        self, attempts: Iterable[AttemptId], most: int, with_rests: bool = True
    ) -> list[tuple[str, int]]:
        """Return the most frequent causes of letters not discarded, with their counts."""
        query: Document = {"found_by": _in(attempts), "state": {"$ne": DeadLetterState.DISCARDED}}
        query |= {} if with_rests else {"place.kind": {"$ne": PlaceKind.REST}}
        pipeline: list[Document] = [
            {"$match": query},
            {"$group": {"_id": "$cause", "letters": {"$sum": 1}}},
            {"$sort": {"letters": -1, "_id": 1}},
            {"$limit": most},
        ]
        groups = self.collection.aggregate(pipeline)
        return [(group["_id"], group["letters"]) for group in groups]

    def causes_by_partition(self, attempts: Iterable[AttemptId]) -> dict[str, dict[str, int]]:
        """Return how many letters each cause has by partition, the most frequent first."""
        query: Document = {"found_by": _in(attempts)}
        alike = {"partition": "$partition", "cause": "$cause"}
        pipeline: list[Document] = [
            {"$match": query},
            {"$group": {"_id": alike, "letters": {"$sum": 1}}},
            {"$sort": {"letters": -1, "_id.cause": 1}},
        ]
        causes: dict[str, dict[str, int]] = {}
        for group in self.collection.aggregate(pipeline):
            of_partition = causes.setdefault(group["_id"]["partition"], {})
            of_partition[group["_id"]["cause"]] = group["letters"]
        return causes

    def count_discarded(self, attempts: Iterable[AttemptId]) -> int:
        """Return how many of the letters that these attempts found a person discarded."""
        query = {"found_by": _in(attempts), "state": DeadLetterState.DISCARDED}
        return self.collection.count_documents(query)

    def partitions(self, asset: str, among: Collection[str] | None = None) -> list[str]:
        """Return the partitions (of some, or of all) that have letters, in order."""
        query: Document = {"asset": asset}
        query |= {} if among is None else {"partition": {"$in": list(among)}}
        return sorted(self.collection.distinct("partition", query))

    def count_open(self, asset: str) -> dict[str, int]:
        """Return how many open letters each partition has that has any."""
        query = {"asset": asset, "state": DeadLetterState.OPEN}
        group = {"_id": "$partition", "letters": {"$sum": 1}}
        groups = self.collection.aggregate([{"$match": query}, {"$group": group}])
        return {each["_id"]: each["letters"] for each in groups}

    def partitions_to_redrive(self, asset: str) -> list[str]:
        """Return the partitions that have letters which no redrive has used, in order."""
        query = {"asset": asset, "state": {"$ne": DeadLetterState.REDRIVEN}}
        return sorted(self.collection.distinct("partition", query))

    def discard(self, letter_ids: Collection[str], why: str) -> int:
        """Discard the open ones of these letters for a person's reason; return how many."""
        query = {"_id": {"$in": list(letter_ids)}, "state": DeadLetterState.OPEN}
        discarded = {"state": DeadLetterState.DISCARDED, "why": why}
        return self.collection.update_many(query, {"$set": discarded}).modified_count

    def settle(
        self, key: PartitionKey, attempts: Iterable[AttemptId], redriven: Collection[str]
    ) -> None:
        """Bring the states of a folded partition's letters in line with what was folded."""
        partition = {"asset": key.asset, "partition": key.partition}
        mine, used = [attempt.to_json() for attempt in attempts], list(redriven)

        def move(state: DeadLetterState, where: Document) -> None:
            update = {"$set": {"state": state}, "$unset": {"why": ""}}
            self.collection.update_many(partition | where, update)

        states = {"$in": [DeadLetterState.OPEN, DeadLetterState.REDRIVEN]}
        move(DeadLetterState.SUPERSEDED, {"found_by": {"$nin": mine}, "state": states})

        not_yet = {"$ne": DeadLetterState.REDRIVEN}
        move(DeadLetterState.REDRIVEN, {"_id": {"$in": used}, "state": not_yet})

        states = {"$in": [DeadLetterState.REDRIVEN, DeadLetterState.SUPERSEDED]}
        unused = {"found_by": {"$in": mine}, "_id": {"$nin": used}, "state": states}
        move(DeadLetterState.OPEN, unused)

    def supersede_replaced(
        self,
        partition: Document,
        attempts: Iterable[AttemptId],
        blocks: Collection[tuple[str, str]],
    ) -> None:
        """Bring letters in line with a partition's newest plan, which is not folded.

        Those of blocks (keys with ETags) that it no longer reads are superseded; those that it
        found once more are not.
        """
        mine = [attempt.to_json() for attempt in attempts]
        open_states = {"$in": [DeadLetterState.OPEN, DeadLetterState.REDRIVEN]}
        before = partition | {"state": open_states, "found_by": {"$nin": mine}}
        by_block = {"_id": {"block": "$block", "etag": "$etag"}}
        known = [
            group["_id"]
            for group in self.collection.aggregate([{"$match": before}, {"$group": by_block}])
        ]

        replaced = [each for each in known if (each["block"], each["etag"]) not in blocks]
        if replaced:
            superseded = {"$set": {"state": DeadLetterState.SUPERSEDED}}
            self.collection.update_many(before | {"$or": replaced}, superseded)

        again = partition | {"state": DeadLetterState.SUPERSEDED, "found_by": {"$in": mine}}
        self.collection.update_many(again, {"$set": {"state": DeadLetterState.OPEN}})


def _in(attempts: Iterable[AttemptId]) -> Document:
    return {"$in": [attempt.to_json() for attempt in attempts]}


def _found_again(attempt: AttemptId) -> Document:
    return {"$inc": {"attempts": 1}, "$addToSet": {"found_by": attempt.to_json()}}
