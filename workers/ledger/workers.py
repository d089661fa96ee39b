"""Who is at work: one document for each worker, with the time at which it was last heard of.

Times are of MongoDB's clock, so those of the workers' machines may be wrong.
"""

import os
import socket
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from pymongo import IndexModel, ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from workers.ledger.records import Record, WorkerProcess
from workers.values import Document

LOST_SECONDS = 30  # after which a worker that is not heard of counts as lost
KEPT_SECONDS = 7 * 24 * 3600  # for which the ledger keeps a worker's document


class WorkerRecord(Record, frozen=True, kw_only=True):
    """A worker, and what it said last."""

    BY_LEDGER: ClassVar[frozenset[str]] = frozenset({"started", "beat", "at", "stop", "ended"})

    id: str
    host: str
    pid: int
    # The run that it works for, and the step of it; of a worker that serves many runs "".
    run: str = ""
    step: str = ""
    # How many workers it stands for: the slots of a process that starts others.
    slots: int = 1

    started: datetime | None = None
    # When it was last heard of.
    beat: datetime | None = None
    # What it is at, in a sentence.
    at: str = ""
    # Somebody asks it to stop.
    stop: bool = False
    ended: datetime | None = None


class Workers:
    """Reads and writes `workers`."""

    def __init__(self, workers: Collection[Document]) -> None:
        self.workers = workers

    def ensure_indexes(self) -> None:
        """Create the indexes; cheap where they exist."""
        outdated = IndexModel("beat", expireAfterSeconds=KEPT_SECONDS)
        self.workers.create_indexes([IndexModel("run"), IndexModel("step"), outdated])

    def enter(self, id_: str, run: str = "", step: str = "", slots: int = 1) -> bool:
        """Record that a worker of this process begins; False where its id was entered before.

        So is one that was asked to stop before it began.
        """
        process = WorkerProcess.this(id_)
        worker = WorkerRecord(
            id=id_, host=process.host, pid=process.pid, run=run, step=step, slots=slots
        )
        begun = {"started": "$$NOW", "beat": "$$NOW"}
        entering = {"$set": {**worker.to_document(), **begun}}
        try:
            # An update, since only that can write MongoDB's own time.
            self.workers.update_one({"_id": id_, "beat": None}, [entering], upsert=True)
        except DuplicateKeyError:
            return False
        return not self._is_asked_to_stop(id_)

    def beat(self, id_: str, at: str = "") -> bool:
        """Record that a worker is alive, and what it is at; False where it is asked to stop."""
        now = self.workers.find_one_and_update(
            {"_id": id_},
            {"$currentDate": {"beat": True}, "$set": {"at": at}},
            projection={"stop": 1},
            return_document=ReturnDocument.AFTER,
        )
        return not (now and now.get("stop"))

    def end(self, id_: str) -> None:
        """Record that a worker has ended."""
        self.workers.update_one({"_id": id_}, {"$currentDate": {"ended": True}})

    def ask_to_stop(self, id_: str) -> None:
        """Ask a worker to stop; one that has yet to begin will not."""
        self.workers.update_one({"_id": id_}, {"$set": {"stop": True}}, upsert=True)

    def get(self, id_: str) -> WorkerRecord | None:
        """Return a worker; None where none with this id has begun."""
        document = self.workers.find_one({"_id": id_, "beat": {"$ne": None}})
        return WorkerRecord.from_document(document) if document else None

    def of_run(self, run: str) -> list[WorkerRecord]:
        """Return the workers that a run has had."""
        return _of(self.workers.find({"run": run, "beat": {"$ne": None}}))

    def alive(self, ids: Sequence[str]) -> list[WorkerRecord]:
        """Return those of these workers that were heard of lately, and have not ended."""
        return self._alive({"_id": {"$in": list(ids)}}) if ids else []

    def alive_in(self, runs: Iterable[str]) -> list[WorkerRecord]:
        """Return the workers of runs that are alive."""
        ids = list(runs)
        return self._alive({"run": {"$in": ids}}) if ids else []

    def alive_at(self, step: str) -> list[WorkerRecord]:
        """Return the workers of a kind of step that are alive, of whatever run."""
        return self._alive({"step": step})

    def _alive(self, query: Document) -> list[WorkerRecord]:
        lately = {"$gt": ["$beat", {"$subtract": ["$$NOW", 1000 * LOST_SECONDS]}]}
        documents = self.workers.find({**query, "ended": None, "$expr": lately})
        return [each for each in _of(documents) if not is_gone(each)]

    def _is_asked_to_stop(self, id_: str) -> bool:
        return self.workers.find_one({"_id": id_, "stop": True}, {"_id": 1}) is not None


def is_gone(worker: WorkerRecord | WorkerProcess) -> bool:
    """Tell whether the process of a worker, of this machine, is no more."""
    if worker.host != socket.gethostname():
        return False
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _is_zombie(worker.pid)


def _is_zombie(pid: int) -> bool:
    """Tell whether a process has ended and only its parent has yet to take note; Linux knows."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return False


def _of(documents: Iterable[Document]) -> list[WorkerRecord]:
    return [WorkerRecord.from_document(document) for document in documents]
