"""The job by Prefect: a flow that maps tasks over a pool of processes, and its own server."""

import time
from typing import Any

from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner

from benchmarks.peers.work import fold_one, run_one, warm_up, whole_job
from benchmarks.process import Answer
from benchmarks.surroundings import CORES
from workers.values import Document


@task
def run_batch(batch_id: str) -> None:
    """Run a batch."""
    run_one(batch_id)


@task
def fold_shard(shard: Document) -> Document:
    """Fold a shard."""
    return fold_one(shard)


@flow
def idle() -> None:
    """Do nothing: the first flow starts the server."""


@flow(task_runner=ProcessPoolTaskRunner(max_workers=CORES))
def job() -> None:
    """Materialise the day."""
    whole_job(_run_all, _fold_all)


def _run_all(batch_ids: list[str]) -> list[Any]:
    return run_batch.map(batch_ids).result()


def _fold_all(shards: list[Document]) -> list[Document]:
    return fold_shard.map(shards).result()


def run() -> Answer:
    """Run the job beside a server that is up; return its seconds, and those of the start."""
    started = time.monotonic()
    warm_up()
    idle()
    ready = time.monotonic()
    job()
    return {"seconds": time.monotonic() - ready, "start_seconds": ready - started}
