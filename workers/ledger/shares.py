"""Whose turn a batch is: those of a run are dealt to workers, and taken over from slow ones.

A batch is taken over only where nobody has begun it and nothing is said against it, by a write that
either its own worker's beginning or another one's wins. Whoever it was dealt to sees to it in the
end, so nothing depends on the one who took it.
"""

import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import ReturnDocument, UpdateMany
from pymongo.collection import Collection

from workers.ledger.records import Batch, BatchState, WorkerProcess
from workers.values import Document

# How long another worker on another machine may keep a batch that it took over.
KEPT = timedelta(minutes=5)


class Shares:
    """Reads and writes of `batches` whose turn they are."""

    def __init__(self, batches: Collection[Document]) -> None:
        self.batches = batches

    def deal(self, run: str, shares: Sequence[Sequence[str]]) -> None:
        """Record which batches each worker of a run is to run."""
        writes = [
            UpdateMany(
                {"_id": {"$in": list(batch_ids)}},
                {"$set": {"dealt": {"run": run, "share": number}}, "$unset": {"taken_by": ""}},
            )
            for number, batch_ids in enumerate(shares)
        ]
        if writes:
            self.batches.bulk_write(writes, ordered=False)

    def larger_than(self, size: int, batch_ids: Sequence[str]) -> set[str]:
        """Return those of these batches that read more than so many bytes."""
        query = {"_id": {"$in": list(batch_ids)}, "bytes": {"$gt": size}}
        return {each["_id"] for each in self.batches.find(query, {"_id": 1})}

    def begin(self, batch_id: str, **where: Any) -> Batch | None:
        """Count an attempt at a batch and return it; None where it is done."""
        return self._begin({"_id": batch_id, "state": {"$ne": BatchState.DONE}, **where}, {})

    def begin_own(self, batch_id: str, run: str) -> Batch | None:
        """Return a batch, begun or done; None where another worker has it."""
        batch = self.begin(batch_id, taken_by={"$ne": run})
        if batch:
            return batch
        document = self.batches.find_one({"_id": batch_id, "state": BatchState.DONE})
        return Batch.from_document(document) if document else None

    def take_over(self, batch_id: str, run: str) -> Batch | None:
        """Begin a batch that was dealt to another worker; None where somebody was faster."""
        return self._begin(_open_batches([batch_id]), {"taken_by": run})

    def _begin(self, query: Document, more: Document) -> Batch | None:
        worker = WorkerProcess(host=socket.gethostname(), pid=os.getpid()).to_json()
        begun = {"state": BatchState.RUNNING, "worker": worker, "started": datetime.now(UTC)}
        document = self.batches.find_one_and_update(
            query,
            {"$set": begun | more, "$inc": {"attempts": 1}},
            return_document=ReturnDocument.AFTER,
        )
        return Batch.from_document(document) if document else None

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


def is_given_up(batch: Batch, now: datetime) -> bool:
    """Tell whether the worker that began a batch will not finish it."""
    if batch.worker is None or batch.started is None:
        return True
    if batch.worker.host != socket.gethostname():
        return now - batch.started > KEPT

    try:
        os.kill(batch.worker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _open_batches(batch_ids: Sequence[str]) -> Document:
    """Return the query for those batches that nobody has begun, and nothing is said against."""
    return {
        "_id": {"$in": list(batch_ids)},
        "state": BatchState.PLANNED,
        "error": {"$in": [None, ""]},
    }
