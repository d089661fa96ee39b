"""Whose turn a batch is: those of a run are dealt to workers, and taken over from slow ones.

A batch is taken over only where nobody has begun it and nothing is said against it, by a write that
either its own worker's beginning or another one's wins. Whoever it was dealt to sees to it in the
end, so nothing depends on the one who took it.
"""

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from pymongo import UpdateMany, UpdateOne
from pymongo.collection import Collection

from workers.ledger.records import UNFINISHED_STATES, Batch, BatchState, WorkerProcess
from workers.values import Document

MAX_PLAIN = 2  # attempts that end without a word, before the next one calls the task apart
# A batch that nobody has begun, and nothing is said against.
OPEN = {"state": BatchState.PLANNED, "error": {"$in": [None, ""]}}


class Shares:
    """Reads and writes of `batches` whose turn they are."""

    def __init__(self, batches: Collection[Document]) -> None:
        self.batches = batches

    def deal(self, run: str, shares: Sequence[Sequence[str]], first: int = 0) -> None:
        """Record which batches each worker of a run is to run, by numbers from the first on."""
        writes = []
        for number, batch_ids in enumerate(shares, first):
            dealt = {"dealt": {"run": run, "share": number}}
            # What ended workers of an earlier run is run with care in this one.
            update = {"$set": dealt, "$min": {"unanswered": MAX_PLAIN}, "$unset": {"taken_by": ""}}
            writes.append(UpdateMany({"_id": {"$in": list(batch_ids)}}, update))
        if writes:
            self.batches.bulk_write(writes, ordered=False)

    def dealt(self, run: str, share: int, batch_ids: Sequence[str]) -> list[str]:
        """Return those of these batches that are a worker's share of a run, in their order."""
        query = {"_id": {"$in": list(batch_ids)}, "dealt": {"run": run, "share": share}}
        mine = {each["_id"] for each in self.batches.find(query, {"_id": 1})}
        return [batch_id for batch_id in batch_ids if batch_id in mine]

    def left_behind(self, run: str, batch_ids: Sequence[str]) -> list[str]:
        """Return what is unfinished of the shares of a run whose workers have left a batch begun.

        Those workers are at it, or they ended without a word.
        """
        mine = {"_id": {"$in": list(batch_ids)}, "dealt.run": run}
        begun = self.batches.find({**mine, "state": BatchState.RUNNING}, {"dealt": 1})
        shares = {each["dealt"]["share"] for each in begun}
        if not shares:
            return []

        unfinished = {"state": {"$in": UNFINISHED_STATES}, "dealt.share": {"$in": list(shares)}}
        left = {each["_id"] for each in self.batches.find({**mine, **unfinished}, {"_id": 1})}
        return [batch_id for batch_id in batch_ids if batch_id in left]

    def failed(self, asset: str, run: str) -> dict[int, list[str]]:
        """Return the batches of a run that failed for good, by share; without those of redrives."""
        of_run = {"asset": asset, "state": BatchState.FAILED, "dealt.run": run, "redrives": []}
        shares: dict[int, list[str]] = {}
        for each in self.batches.find(of_run, {"dealt": 1}):
            shares.setdefault(each["dealt"]["share"], []).append(each["_id"])
        return shares

    def to_run_alone(self, size: int, batch_ids: Sequence[str]) -> set[str]:
        """Return those of these batches that read more than so many bytes, or ended a worker."""
        alone = [{"bytes": {"$gt": size}}, {"unanswered": {"$gt": 0}}]
        query = {"_id": {"$in": list(batch_ids)}, "$or": alone}
        return {each["_id"] for each in self.batches.find(query, {"_id": 1})}

    def note(self, batch_ids: Sequence[str], why: str) -> None:
        """Record why attempts at batches are about to end without an outcome.

        Each counts for two: nothing from outside has ended it.
        """
        mine = {"_id": {"$in": list(batch_ids)}, "state": BatchState.RUNNING}
        self.batches.update_many(mine, {"$set": {"error": why}, "$inc": {"unanswered": 1}})

    def running(self, batch_ids: Sequence[str], but_by: str) -> dict[str, str]:
        """Return the workers at which these batches are, by batch, without those of one worker."""
        by_others = {"$nin": [None, "", but_by]}
        query = {"_id": {"$in": list(batch_ids)}, "state": BatchState.RUNNING}
        documents = self.batches.find({**query, "worker.id": by_others}, {"worker.id": 1})
        return {each["_id"]: each["worker"]["id"] for each in documents}

    def begin(
        self, batch_ids: Sequence[str], worker: str = "", not_taken_in: str = ""
    ) -> dict[str, Batch]:
        """Count a worker's attempt at batches; return them, and those that are done as they are.

        Those that another worker took over in a run can be left out.
        """
        where = {"taken_by": {"$ne": not_taken_in}} if not_taken_in else {}
        begun = self._begin(batch_ids, worker, {"state": {"$ne": BatchState.DONE}, **where}, {})
        others = [batch_id for batch_id in batch_ids if batch_id not in begun]
        if others:
            done = {"_id": {"$in": others}, "state": BatchState.DONE}
            begun |= _by_id(self.batches.find(done))
        return begun

    def take_over(self, batch_ids: Sequence[str], worker: str, run: str) -> dict[str, Batch]:
        """Begin batches dealt to another worker; without those where somebody was faster."""
        return self._begin(batch_ids, worker, OPEN, {"taken_by": run})

    def _begin(
        self, batch_ids: Sequence[str], worker: str, where: Document, more: Document
    ) -> dict[str, Batch]:
        """Count an attempt at those of batches of which something holds, and return them.

        Each beginning has a name, or of two at once both might read the later one's number.
        """
        process = WorkerProcess.this(worker).to_json()
        begun = {"state": BatchState.RUNNING, "worker": process, "started": datetime.now(UTC)}
        mine = {"begun_as": uuid.uuid4().hex}

        update = {"$set": begun | mine | more, "$inc": {"attempts": 1, "unanswered": 1}}
        writes = [UpdateOne({"_id": batch_id, **where}, update) for batch_id in batch_ids]
        if not self.batches.bulk_write(writes, ordered=False).matched_count:
            return {}
        return _by_id(self.batches.find({"_id": {"$in": list(batch_ids)}, **mine}))

    def open_by_share(self, run: str, batch_ids: Sequence[str]) -> list[list[str]]:
        """Return what nobody has begun of the shares of a run that their workers have begun.

        Empty where a share is not begun at all: whoever is to run it has yet to start.
        """
        mine = {"_id": {"$in": list(batch_ids)}, "dealt.run": run}
        shown = dict.fromkeys(("dealt", "state", "error"), 1)
        shares: dict[int, dict[str, bool]] = {}
        for each in self.batches.find(mine, shown):
            is_open = each["state"] == BatchState.PLANNED and not each.get("error")
            shares.setdefault(each["dealt"]["share"], {})[each["_id"]] = is_open

        if any(all(share.values()) for share in shares.values()):
            return []
        return [
            [batch_id for batch_id in batch_ids if share.get(batch_id)] for share in shares.values()
        ]


def _by_id(documents: Iterable[Document]) -> dict[str, Batch]:
    batches = map(Batch.from_document, documents)
    return {batch.id: batch for batch in batches}
