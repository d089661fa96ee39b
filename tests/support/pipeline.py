"""What most tests need: blocks to put, and the whole pattern as plain calls, without Dagster."""

import gzip
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from pymongo.database import Database

from workers import steps
from workers.batch import attempt_batch
from workers.declare import Asset, Sizes, Task, Tolerance
from workers.declare.task import load_task
from workers.folding.fold import FoldedShard
from workers.folding.reconcile import Reconciled
from workers.ledger.dead_letters import DeadLetter
from workers.ledger.ledger import Ledger
from workers.planning.plans import Work
from workers.store import BlockStore
from workers.tasks import user_profiles
from workers.values import Document
from workers.verify import Verdict, verify_profiles

USER_PROFILES = user_profiles.asset
USER_TASK = user_profiles.task

DAY = "1998-04-01"


def event(user: str = "ann", action: str = "like", ts: Any = 891388800, **more: Any) -> Document:
    """Return a canonical event; by default a like on 1998-04-01."""
    return {"user": user, "action": action, "ts": ts, **more}


def lines(items: Sequence[Any]) -> bytes:
    """Return items as JSON lines; bytes stand as they are."""
    parts = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
    return b"".join(part + b"\n" for part in parts)


@dataclass
class Pipeline:
    store: BlockStore
    database: Database[Document]
    ledger: Ledger
    asset: Asset = USER_PROFILES

    @property
    def task(self) -> Task:
        return load_task(self.asset.task)

    @property
    def four(self) -> tuple[Asset, Task, Ledger, BlockStore]:
        """What each step takes first."""
        return self.asset, self.task, self.ledger, self.store

    def sized(self, items: int, **more: Any) -> "Pipeline":
        """Return the same pipeline with batches of about this many items."""
        sizes = Sizes(min_items=items, max_items=items, **more)
        return self.changed(sizes=sizes)

    def tolerant(self, count: int = 0, rate: float = 0.0) -> "Pipeline":
        """Return the same pipeline with another tolerance."""
        return self.changed(tolerance=Tolerance(count=count, rate=rate))

    def changed(self, **declared: Any) -> "Pipeline":
        """Return the same pipeline with another declaration of its asset."""
        asset = msgspec.structs.replace(self.asset, **declared)
        return Pipeline(self.store, self.database, self.ledger, asset)

    def put(self, items: Sequence[Any], day: str = DAY, name: str = "a.jsonl") -> str:
        """Put a block of items into a partition; a name that ends in .gz is compressed."""
        body = lines(items)
        key = f"events/dt={day}/{name}"
        self.store.put(key, gzip.compress(body, mtime=0) if name.endswith(".gz") else body)
        return key

    def remove(self, key: str) -> None:
        self.store.client.delete_object(Bucket=self.store.bucket, Key=key)

    # The steps

    def plan(self, *days: str, **how: Any) -> Work:
        """List, slice and pack, and write the plans."""
        return self.queue(self.list_blocks(*days, **how))

    def list_blocks(self, *days: str, **how: Any) -> steps.Listed:
        """List partitions; `how` is what a run is for, as `Purpose` has it."""
        return steps.list_blocks(*self.four, days or (DAY,), 1, steps.Purpose(**how))

    def queue(self, listed: steps.Listed) -> Work:
        """Slice and pack what was listed, and write the plans."""
        sliced = [steps.slice_blocks(*self.four, group) for group in listed.groups]
        return steps.queue_batches(*self.four, uuid.uuid4().hex, listed, sliced, 1).work

    def preview(self, *days: str) -> steps.Queued:
        """Return what a run would do, as `fanfold plan` shows it."""
        return steps.plan(*self.four, days or (DAY,), 1)

    def work(self, work: Work) -> None:
        """Run the batches that have no result; what goes wrong is raised."""
        for batch_id in work.to_run:
            attempt_batch(self.ledger, self.store, batch_id)

    def reconcile(self, work: Work) -> Reconciled:
        return steps.reconcile(*self.four, [plan.id for plan in work.plans])

    def fold(self, reconciled: Reconciled) -> list[FoldedShard]:
        return [steps.fold_shard(*self.four, shard) for shard in reconciled.shards]

    def publish(self, reconciled: Reconciled, folded: Sequence[FoldedShard]) -> dict[str, Any]:
        return steps.publish(*self.four, reconciled, folded).to_json()

    def finish(self, work: Work) -> dict[str, Any]:
        """Run what was planned to its end; return the summary."""
        self.work(work)
        reconciled = self.reconcile(work)
        return self.publish(reconciled, self.fold(reconciled))

    def run(self, *days: str, **how: Any) -> dict[str, Any]:
        """Run partitions through the whole pattern; return the summary."""
        return self.finish(self.plan(*days, **how))

    def redrive(self, *days: str) -> dict[str, Any]:
        """Run open dead letters again; return the summary."""
        return self.finish(self.plan(*days, is_redrive=True))

    def give_up_rests(self) -> int:
        """Discard the parts of blocks that were not read, as a person may; return how many."""
        rests = self.ledger.dead_letters.find(self.asset.name, is_unread=True)
        return self.ledger.dead_letters.discard({letter.id for letter in rests}, "given up")

    def verify(self, *days: str) -> Verdict:
        return verify_profiles(*self.four, list(days) or None)

    # What came of it

    @property
    def profiles(self) -> Any:
        return self.database[self.asset.name]

    def profile(self, user: str) -> Mapping[str, Any] | None:
        """Return a profile as readers see it."""
        profile: Mapping[str, Any] | None = self.profiles.find_one({"_id": user}, {"_fold": 0})
        return profile

    def letters(self) -> list[Document]:
        """Return the dead letters as `fanfold dead-letters --json` shows them, by place."""
        documents = self.ledger.dead_letters.collection.find()
        letters = [DeadLetter.from_document(document) for document in documents]
        letters.sort(key=lambda letter: str(letter.place))
        return [
            letter.to_json() | {"id": letter.id, "place": str(letter.place)} for letter in letters
        ]


def fragile(monkeypatch: Any, fails: Callable[[Any], bool], version: str = "") -> list[int]:
    """Let the task fail where `fails` is true of a user; return the sizes of its calls.

    With another version it counts as changed code.
    """
    real = USER_TASK  # not the one of an earlier call, which may fail
    calls = []

    def contributions(items: Any) -> Any:
        calls.append(len(items))
        for user in items["user"]:
            if fails(user):
                raise ZeroDivisionError(f"by the user {user}")
        return real.contributions(items)

    changed = Task(real.item, real.fields, contributions, real.derive)
    changed.__dict__["version"] = version or real.version
    monkeypatch.setattr("workers.tasks.user_profiles.task", changed)
    return calls
