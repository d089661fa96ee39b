"""What every peer calls: the steps of a run; the two that fan out go through maps of its own."""

import uuid
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from benchmarks.surroundings import ASSET, CORES, DAY
from workers import steps
from workers.batch import attempt_batch
from workers.declare.task import Task, load_task
from workers.folding.fold import FoldedShard, Shard
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.settings import read_settings
from workers.store import BlockStore, open_store
from workers.values import Document

Call = Callable[[Any], Any]


@cache
def doors() -> tuple[Task, Ledger, BlockStore]:
    """Return the task and the doors to MongoDB and S3, opened once in each process."""
    settings = read_settings()
    return load_task(ASSET.task), Ledger(open_database(settings)), open_store(settings)


def warm_up(_: Any = None) -> None:
    """Open the doors of this process, so that no measurement waits for them."""
    _, ledger, store = doors()
    ledger.database.client.admin.command("ping")
    store.exists("none")


def run_one(batch_id: str) -> None:
    """Run a batch."""
    _, ledger, store = doors()
    attempt_batch(ledger, store, batch_id)


def fold_one(shard: Document) -> Document:
    """Fold a shard."""
    task, ledger, store = doors()
    return steps.fold_shard(ASSET, task, ledger, store, Shard.of(shard)).to_json()


def whole_job(
    run_all: Callable[[list[str]], object], fold_all: Callable[[list[Document]], Iterable[Document]]
) -> None:
    """Materialise the day: batches go through one map, shards through another."""
    task, ledger, store = doors()
    first = (ASSET, task, ledger, store)

    listed = steps.list_blocks(*first, [DAY], CORES)
    sliced = [steps.slice_blocks(*first, group) for group in listed.groups]
    work = steps.queue_batches(*first, uuid.uuid4().hex, listed, sliced, CORES).work

    run_all(list(work.to_run))
    reconciled = steps.reconcile(*first, [plan.id for plan in work.plans])
    shards = [shard.to_json() for shard in reconciled.shards]
    folded = [FoldedShard.of(answer) for answer in fold_all(shards)]
    steps.publish(*first, reconciled, folded)
