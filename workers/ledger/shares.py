"""Whose turn a batch is: those of a run are dealt to workers, and taken over from slow ones.

A batch is taken over only where nobody has begun it and nothing is said against it, by a write that
either its own worker's beginning or another one's wins. Whoever it was dealt to sees to it in the
end, so nothing depends on the one who took it.
"""

import os
import socket
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from pymongo import UpdateMany, UpdateOne
from pymongo.collection import Collection

from workers.ledger.records import Batch, BatchState, WorkerProcess
from workers.values import Document

# How long another worker on another machine may keep a batch that it took over.
KEPT = timedelta(minutes=5)
# A batch that nobody has begun, and nothing is said against.
OPEN = {"state": BatchState.PLANNED, "error": {"$in": [None, ""]}}


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

    def begin(self, batch_ids: Sequence[str], not_taken_in: str = "") -> dict[str, Batch]:
        """Count an attempt at batches; return them, and those that are done as they are.

        Those that another worker took over in a run can be left out.
        """
        where = {"taken_by": {"$ne": not_taken_in}} if not_taken_in else {}
        begun = self._begin(batch_ids, {"state": {"$ne": BatchState.DONE}, **where}, {})
        others = [batch_id for batch_id in batch_ids if batch_id not in begun]
        if others:
            done = {"_id": {"$in": others}, "state": BatchState.DONE}
            begun |= _by_id(self.batches.find(done))
        return begun

    def take_over(self, batch_ids: Sequence[str], run: str) -> dict[str, Batch]:
        """Begin batches dealt to another worker; without those where somebody was faster."""
        return self._begin(batch_ids, OPEN, {"taken_by": run})

    def _begin(self, batch_ids: Sequence[str], where: Document, more: Document) -> dict[str, Batch]:
        """Count an attempt at those of batches of which something holds, and return them.

        Each beginning has a name, or of two at once both might read the later one's number.
        """
        worker = WorkerProcess(host=socket.gethostname(), pid=os.getpid()).to_json()
        begun = {"state": BatchState.RUNNING, "worker": worker, "started": datetime.now(UTC)}
        mine = {"begun_as": uuid.uuid4().hex}

        update = {"$set": begun | mine | more, "$inc": {"attempts": 1}}
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


def _by_id(documents: Iterable[Document]) -> dict[str, Batch]:
    batches = map(Batch.from_document, documents)
    return {batch.id: batch for batch in batches}
