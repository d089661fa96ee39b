"""Small batches, run together: what each would wait for is asked for and written side by side.

Each has a reading, a result, counts and dead letters of its own, exactly as if it ran alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from typing import TypeVar

import pandas as pd

from workers.batch import Worker, failure_recorded, finish_batches
from workers.contributions.apart import labelled, tell_apart
from workers.contributions.results import Parts
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch
from workers.sources.heads import ask_heads
from workers.sources.taken import CHUNK_ITEMS
from workers.store import REQUESTS_AT_ONCE, BlockStore
from workers.values import Outcome

T = TypeVar("T")
# By batch; one that failed has its error.
Ends = dict[str, Outcome | Exception]


def run_together(
    ledger: Ledger, store: BlockStore, batches: Sequence[Batch], is_last: bool
) -> Ends:
    """Run batches that an attempt has begun, unless they are done; return what became of each."""
    done: Ends = {batch.id: batch.finished_outcome for batch in batches if batch.is_done}
    together = Together(ledger, store, is_last)
    return done | together.run([batch for batch in batches if not batch.is_done])


class Together:
    """What a worker holds while it runs small batches.

    One thread reads and contributes, and others wait for S3: several would only take turns.
    """

    def __init__(self, ledger: Ledger, store: BlockStore, is_last: bool) -> None:
        self.ledger, self.store, self.is_last = ledger, store, is_last
        self._errors: Ends = {}
        # Of batches that have not failed.
        self._workers: dict[str, Worker] = {}
        # Of batches whose results are written, or are being so.
        self._outcomes: dict[str, Outcome] = {}
        self._writes: dict[str, Future[None]] = {}

    def run(self, batches: Sequence[Batch]) -> Ends:
        """Run batches, record their outcomes, and return what became of each."""
        started = time.monotonic()
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            blocks = [range_.block for batch in batches for range_ in batch.ranges]
            asked = ask_heads(self.store, blocks, pool)
            for batch in batches:
                worker = self._try(batch, partial(Worker, batch, self.ledger, self.store, asked))
                if worker:
                    self._workers[batch.id] = worker
                    self._try(batch, worker.read)

            contribute_together(list(self._sound_workers()))
            for worker in self._sound_workers():
                self._try(worker.batch, partial(self._end, worker, pool))
            for batch_id, write in self._writes.items():
                self._try(self._workers[batch_id].batch, write.result)

        sound = {each: self._outcomes[each] for each in self._outcomes if each not in self._errors}
        seconds = (time.monotonic() - started) / max(1, len(sound))
        outcomes = {batch_id: outcome.taking(seconds) for batch_id, outcome in sound.items()}
        return self._errors | finish_batches(self.ledger, self.store, outcomes)

    def _sound_workers(self) -> Iterator[Worker]:
        return (self._workers[each] for each in self._workers if each not in self._errors)

    def _try(self, batch: Batch, step: Callable[[], T]) -> T | None:
        """Return what a step of a batch returns; an error is the end of this batch alone."""
        try:
            with failure_recorded(self.ledger, batch, self.is_last):
                return step()
        except Exception as error:  # noqa: BLE001  it is raised, or is an answer, in share
            self._errors[batch.id] = error
            return None

    def _end(self, worker: Worker, pool: ThreadPoolExecutor) -> None:
        """End a batch's reading, and begin to write its result."""
        body, outcome = worker.end()
        self._outcomes[worker.batch.id] = outcome
        self._writes[worker.batch.id] = pool.submit(self.store.put, outcome.result, body)


def contribute_together(workers: Sequence[Worker]) -> None:
    """Let the items that wait in several batches contribute in one call, where that says the same.

    Where it does not, or fails, they are left to wait: each batch contributes by itself.
    """
    for group in _groups(workers):
        parts = _contributions(group) if len(group) > 1 else None
        for worker, own in zip(group, parts or [], strict=bool(parts)):
            worker.take_in(own)


def _groups(workers: Sequence[Worker]) -> Iterator[list[Worker]]:
    """Yield workers whose items contribute together: no more than should."""
    group: list[Worker] = []
    items = 0
    for worker in workers:
        if not worker.task.by_item or worker.batch.is_redrive or worker.known:
            continue
        if not worker.waiting.read_singly:
            continue
        if group and items + worker.waiting.items > CHUNK_ITEMS:
            yield group
            group, items = [], 0
        group.append(worker)
        items += worker.waiting.items
    if group:
        yield group


def _contributions(workers: Sequence[Worker]) -> list[Parts] | None:
    """Return what the items of each worker contribute; None where that cannot be told."""
    task, framer = workers[0].task, workers[0].framer
    items = [item for worker in workers for item in worker.waiting.read_singly]
    ends = list(accumulate(worker.waiting.items for worker in workers))
    try:
        frame = framer.frame(items)
        _note_moments(workers, frame, ends)
        return tell_apart(task.contribute(labelled(frame)), task.fields, ends)
    except Exception:  # noqa: BLE001  it is met again, and told of, where each is by itself
        return None


def _note_moments(workers: Sequence[Worker], frame: pd.DataFrame, ends: Sequence[int]) -> None:
    """Let each worker note when the items are of that it read."""
    field = workers[0].moments.field
    if not field:
        return
    times = frame[field].to_numpy()
    for worker, start, end in zip(workers, [0, *ends], ends, strict=False):
        worker.moments.add_times(times[start:end])
