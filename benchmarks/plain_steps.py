"""The steps of a run as plain calls in this process, so that one of them can be timed."""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from pymongo.collection import Collection

from benchmarks.surroundings import database, store
from workers import steps
from workers.batch import attempt_batch
from workers.declare.asset import Asset
from workers.declare.task import Task, load_task
from workers.folding.fold import FoldedShard
from workers.folding.reconcile import Reconciled
from workers.ledger.ledger import Ledger
from workers.store import BlockStore
from workers.values import Document


class Steps(NamedTuple):
    """What the steps of an asset take first, and short ways to call them."""

    asset: Asset
    task: Task
    ledger: Ledger
    store: BlockStore

    @property
    def profiles(self) -> Collection[Document]:
        """Its profiles."""
        return self.ledger.database[self.asset.name]

    def queue(self, partitions: Sequence[str]) -> steps.Queued:
        """List and slice partitions, and write their plans."""
        listed = steps.list_blocks(*self, partitions, 1)
        sliced = [steps.slice_blocks(*self, group) for group in listed.groups]
        return steps.queue_batches(*self, uuid.uuid4().hex, listed, sliced, 1)

    def run_batches(self, queued: steps.Queued) -> None:
        """Run the batches of plans, one after the other."""
        for batch_id in queued.work.to_run:
            attempt_batch(self.ledger, self.store, batch_id)

    def reconcile(self, queued: steps.Queued) -> Reconciled:
        """Hold what came of them against the plans."""
        return steps.reconcile(*self, [plan.id for plan in queued.work.plans])

    def prepare(self, partitions: Sequence[str]) -> Reconciled:
        """Do all that comes before the fold of partitions."""
        queued = self.queue(partitions)
        self.run_batches(queued)
        return self.reconcile(queued)

    def fold(self, reconciled: Reconciled) -> list[FoldedShard]:
        """Fold shard by shard."""
        return [steps.fold_shard(*self, shard) for shard in reconciled.shards]

    def publish(self, reconciled: Reconciled, folded: Sequence[FoldedShard]) -> None:
        """Put on record what was folded."""
        steps.publish(*self, reconciled, folded)

    def put(self, partition: str, events: Sequence[Document]) -> None:
        """Put a block of events into a partition."""
        body = "".join(json.dumps(event) + "\n" for event in events).encode()
        self.store.put(f"{self.asset.prefixes(partition)[0]}0.jsonl", body)


@contextmanager
def open_steps(asset: Asset) -> Iterator[Steps]:
    """Give the steps of an asset in the benchmark's database and bucket."""
    with database() as opened:
        yield Steps(asset, load_task(asset.task), Ledger(opened), store())
