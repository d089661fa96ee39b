"""What most tests need: blocks to put, and the whole pattern as plain calls, without Dagster."""

import gzip
import importlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from pymongo.database import Database

from workers import verify
from workers.batch import attempt_batch
from workers.declare import Tolerance
from workers.declare.asset import Asset, Sizes
from workers.declare.task import Task, load_task
from workers.folding.fold import Folded, fold_profiles
from workers.folding.publish import record_folded
from workers.folding.reconcile import Reconciled, reconcile_plans
from workers.ledger.ledger import Ledger
from workers.planning.listing import Listing, groups_of, list_partition
from workers.planning.plans import Work, expected_batch_items, make_plans
from workers.planning.redrive import list_redrive
from workers.sources.source import source_of
from workers.store import BlockStore
from workers.tasks import user_profiles
from workers.values import Document
from workers.verify import verify_profiles

USER_PROFILES = user_profiles.asset

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

    def sized(self, items: int, **more: Any) -> "Pipeline":
        """Return the same world with batches of about this many items."""
        sizes = Sizes(min_items=items, max_items=items, **more)
        changed = msgspec.structs.replace(self.asset, sizes=sizes)
        return Pipeline(self.store, self.database, self.ledger, changed)

    def put(self, items: Sequence[Any], day: str = DAY, name: str = "a.jsonl") -> str:
        """Put a block of items into a partition; a name that ends in .gz is compressed."""
        body = lines(items)
        key = f"events/dt={day}/{name}"
        self.store.put(key, gzip.compress(body, mtime=0) if name.endswith(".gz") else body)
        return key

    def remove(self, key: str) -> None:
        self.store.client.delete_object(Bucket=self.store.bucket, Key=key)

    def plan(self, *days: str, generation: int | None = None) -> Work:
        """List, slice and pack, and write the plans."""
        current = (
            self.ledger.claims.generation(self.asset.name) if generation is None else generation
        )
        of_asset = load_task(self.asset.task)
        return self.planned(
            list_partition(self.store, self.ledger, self.asset, of_asset, day, current)
            for day in days or (DAY,)
        )

    def planned(self, listed: Iterable[Listing]) -> Work:
        """Slice and pack what was listed, and write the plans."""
        self.ledger.ensure_indexes()
        listings = list(listed)
        full = expected_batch_items(self.ledger, self.asset, slots=1)
        sliced = [
            source_of(self.asset, self.store, self.ledger).cut(group, self.asset.sizes, full)
            for group in groups_of(self.asset, listings)
        ]
        work = make_plans(
            self.store, self.ledger, self.asset, uuid.uuid4().hex, listings, sliced, slots=1
        )
        self.ledger.save(work.plans, work.new, work.again)
        return work

    def work(self, work: Work) -> None:
        for batch in work.to_run:
            attempt_batch(batch, self.ledger, self.store)

    def reconcile(self, work: Work) -> Reconciled:
        return reconcile_plans(self.ledger, self.asset, [made.id for made in work.plans])

    def fold(self, reconciled: Reconciled) -> list[Folded]:
        of_asset = load_task(self.asset.task)
        return [
            fold_profiles(shard, self.asset, of_asset, self.ledger, self.store)
            for shard in reconciled.shards
        ]

    def run(self, *days: str, generation: int | None = None) -> dict[str, Any]:
        """Run partitions through the whole pattern; return the summary."""
        work = self.plan(*days, generation=generation)
        self.work(work)
        reconciled = self.reconcile(work)
        return record_folded(self.ledger, self.asset, reconciled, self.fold(reconciled))

    def redrive(self, *days: str) -> dict[str, Any]:
        """Run open dead letters again; return the summary."""
        version = load_task(self.asset.task).version
        current = self.ledger.claims.generation(self.asset.name)
        work = self.planned(
            list_redrive(self.ledger, self.asset, version, day, current) for day in days or (DAY,)
        )
        self.work(work)
        reconciled = self.reconcile(work)
        return record_folded(self.ledger, self.asset, reconciled, self.fold(reconciled))

    def verify(self, *days: str) -> verify.Verdict:
        of_asset = load_task(self.asset.task)
        return verify_profiles(self.asset, of_asset, self.store, self.ledger, list(days) or None)

    @property
    def profiles(self) -> Any:
        return self.database[self.asset.name]

    def profile(self, user: str) -> Mapping[str, Any] | None:
        """Return a profile as readers see it."""
        found: Mapping[str, Any] | None = self.profiles.find_one({"_id": user}, {"_fold": 0})
        return found

    def letters(self) -> list[Document]:
        return list(self.ledger.dead_letters.collection.find().sort("place"))

    def tolerant(self, count: int = 0, rate: float = 0.0) -> "Pipeline":
        """Return the same world with another tolerance."""
        changed = msgspec.structs.replace(self.asset, tolerance=Tolerance(count=count, rate=rate))
        return Pipeline(self.store, self.database, self.ledger, changed)


def fragile(monkeypatch: Any, fails: Callable[[Any], bool], version: str = "") -> list[int]:
    """Let the task fail where `fails` is true of a user; return the sizes of its calls.

    With another version it counts as changed code.
    """
    real = importlib.import_module("workers.tasks.user_profiles").task
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
