"""What Celery's workers load: the two functions as tasks. Their command names the broker."""

from typing import Any

from celery import Celery
from celery.signals import worker_process_init

from benchmarks.peers import work
from workers.values import Document

app = Celery("benchmark")
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)


@worker_process_init.connect
def open_doors(**_: Any) -> None:
    """Warm a worker's process up."""
    work.warm_up()


@app.task
def run_batch(batch_id: str) -> None:
    """Run a batch."""
    work.run_one(batch_id)


@app.task
def fold_shard(shard: Document) -> Document:
    """Fold a shard."""
    return work.fold_one(shard)


@app.task
def gather(answers: list[Any]) -> list[Any]:
    """End a chord: its answers are those of its tasks."""
    return answers
