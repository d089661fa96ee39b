"""What most tests need: blocks to put, and the whole pattern as plain calls, without Dagster."""

import gzip
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from pymongo.database import Database

from pipelines.assets import USER_PROFILES
from workers import plan, task, verify
from workers.batch import run_batch
from workers.blocks import BlockStore
from workers.fold import Folded, fold_shard
from workers.ledger import Document, Ledger
from workers.model import Asset, Sizes
from workers.plan import Work
from workers.reconcile import Reconciled, reconcile_plans, settle

DAY = "1998-04-01"


def event(user: str = "ann", action: str = "like", ts: Any = 891388800, **more: Any) -> Document:
    """Return a canonical event; by default a like on 1998-04-01."""
    return {"user": user, "action": action, "ts": ts, **more}


def lines(items: Sequence[Any]) -> bytes:
    """Return items as JSON lines; bytes stand as they are."""
    parts = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
    return b"".join(part + b"\n" for part in parts)


@dataclass
class World:
    store: BlockStore
    database: Database[Document]
    ledger: Ledger
    asset: Asset = USER_PROFILES

    def sized(self, items: int, **more: Any) -> "World":
        """Return the same world with batches of about this many items."""
        sizes = Sizes(min_items=items, max_items=items, **more)
        changed = msgspec.structs.replace(self.asset, sizes=sizes)
        return World(self.store, self.database, self.ledger, changed)

    def put(self, items: Sequence[Any], day: str = DAY, name: str = "a.jsonl") -> str:
        """Put a block of items into a partition; a name that ends in .gz is compressed."""
        body = lines(items)
        key = f"events/dt={day}/{name}"
        self.store.put(key, gzip.compress(body, mtime=0) if name.endswith(".gz") else body)
        return key

    def remove(self, key: str) -> None:
        self.store.client.delete_object(Bucket=self.store.bucket, Key=key)

    def plan(self, *days: str) -> Work:
        """List, slice and pack, and write the plans."""
        self.ledger.ensure_indexes()
        version, run = task.load(self.asset.task).version, uuid.uuid4().hex
        work, _ = plan.plan_partitions(
            self.store, self.ledger, self.asset, version, run, days or (DAY,), slots=1
        )
        self.ledger.save(work.plans, work.new, work.lost)
        return work

    def work(self, work: Work) -> None:
        for batch in work.to_run:
            run_batch(batch, self.ledger, self.store)

    def reconcile(self, work: Work) -> Reconciled:
        return reconcile_plans(self.ledger, self.asset, [made.id for made in work.plans])

    def fold(self, reconciled: Reconciled) -> list[Folded]:
        of_asset = task.load(self.asset.task)
        return [
            fold_shard(shard, self.asset, of_asset, self.ledger, self.store, self.profiles)
            for shard in reconciled.shards
        ]

    def run(self, *days: str) -> dict[str, Any]:
        """Run partitions through the whole pattern; return the summary."""
        work = self.plan(*days)
        self.work(work)
        reconciled = self.reconcile(work)
        return settle(self.ledger, self.asset, reconciled, self.fold(reconciled))

    def verify(self, *days: str) -> verify.Verdict:
        of_asset = task.load(self.asset.task)
        return verify.verify(self.asset, of_asset, self.store, self.profiles, list(days) or None)

    @property
    def profiles(self) -> Any:
        return self.database[self.asset.name]

    def profile(self, user: str) -> Mapping[str, Any] | None:
        """Return a profile as readers see it."""
        found: Mapping[str, Any] | None = self.profiles.find_one({"_id": user}, {"_fold": 0})
        return found

    def letters(self) -> list[Document]:
        return list(self.ledger.dead_letters.find().sort("place"))
