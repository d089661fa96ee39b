"""Run one batch: read its ranges, contribute, write the result to S3, tell the ledger."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from workers.contributions.results import Frames, Merger, Parts, profiles_of, to_parquet
from workers.declare.task import Task, load_task
from workers.errors import FanfoldError, Malformed, Refused, Unavailable
from workers.isolation.isolated import Isolated, Limits
from workers.isolation.trial import EndedWorker
from workers.ledger.attempt import AttemptLetters, AttemptWarnings
from workers.ledger.dead_letters import task_lines
from workers.ledger.known import KnownOnly
from workers.ledger.ledger import Ledger
from workers.ledger.moments import Moments
from workers.ledger.mongo import mongodb_errors
from workers.ledger.profiles import known_of
from workers.ledger.records import AttemptId, Batch
from workers.memory import peak_bytes
from workers.sources.columns.frames import Items
from workers.sources.formats.lines import Lines
from workers.sources.formats.rows import Rows
from workers.sources.heads import NONE_ASKED, AskedHeads
from workers.sources.items import Contributing, Reject, contribute, reader_of
from workers.sources.rests import Density, items_of_rest
from workers.sources.source import source_of
from workers.sources.taken import Origin, Part, Waiting
from workers.sources.unique import unique_items
from workers.store import OWN_PREFIX, BlockStore
from workers.values import Outcome, Place, Range

TRIED_ITEMS = 20  # items a task fails on, one by one and with none used, before others are tried
OBSERVED_ITEMS = 10_000  # items a task observes the world for in one call
MAX_UNREADABLE_ITEMS = 10_000  # items that cannot be read, with none used, before a batch gives up

# Hears what a worker is at, in a sentence.
Say = Callable[[str], None]


def say_nothing(_at: str) -> None:
    """Take what a worker is at, where nobody asks."""


def attempt_batch(
    ledger: Ledger, store: BlockStore, batch_id: str, is_last: bool = True, worker: str = ""
) -> Outcome:
    """Run the batch with this id, unless it is done; return its outcome either way.

    Unavailable may be retried, and leaves the batch planned; Refused may not; anything else may,
    where this is not the last attempt. A kill at any moment leaves a batch that a new
    call repeats whole: its result is one object, and done is written last.
    """
    return run_begun(ledger, store, ledger.begin(batch_id, worker), is_last)


def run_begun(
    ledger: Ledger,
    store: BlockStore,
    batch: Batch,
    is_last: bool,
    say: Say = say_nothing,
    limits: Limits | None = None,
) -> Outcome:
    """Run a batch that an attempt has begun, unless it is done; return its outcome either way.

    Meanwhile `say` hears what it is at. Within limits, its task is called in processes apart.
    """
    if batch.is_done:
        return batch.finished_outcome

    with failure_recorded(ledger, batch, is_last):
        outcome = Worker(batch, ledger, store, say=say, limits=limits).run()
    return finish_batches(ledger, store, {batch.id: outcome})[batch.id]


@contextmanager
def failure_recorded(ledger: Ledger, batch: Batch, is_last: bool) -> Iterator[None]:
    """Record why an attempt at a batch fails, where it does; the error goes on."""
    try:
        with mongodb_errors():
            yield
    except Unavailable as error:  # says nothing about the batch: it is still to be run
        ledger.fail(batch.id, str(error), is_final=False)
        raise
    except Exception as error:
        is_ours = isinstance(error, FanfoldError)
        why = str(error) if is_ours else f"{type(error).__name__}: {error}"
        ledger.fail(batch.id, why, is_last or isinstance(error, Refused))
        raise


def finish_batches(
    ledger: Ledger, store: BlockStore, outcomes: Mapping[str, Outcome]
) -> dict[str, Outcome]:
    """Record outcomes whose results are in S3; return those that count."""
    firsts = ledger.finish(outcomes)
    for batch_id, outcome in outcomes.items():
        if firsts[batch_id].result != outcome.result:  # another attempt was faster
            store.delete(outcome.result)
    return firsts


def known_only(batch: Batch, task: Task | Isolated, ledger: Ledger) -> KnownOnly | None:
    """Return the task that a batch's items contribute by, where their profiles have to be known."""
    if not batch.known_only:
        return None
    return KnownOnly(task, ledger.profiles(batch.asset))


def result_key(batch: Batch, attempt_id: AttemptId) -> str:
    """Return the S3 key of an attempt's result: no attempt overwrites another's."""
    folder = f"{OWN_PREFIX}results/{batch.asset}/{batch.partition}"
    return f"{folder}/{attempt_id.batch}-{attempt_id.number}.parquet"


class Timed(NamedTuple):
    """A task that notes when the items are of that contribute."""

    task: Contributing
    moments: Moments

    def contribute(self, items: pd.DataFrame) -> Frames:
        self.moments.add(items)
        return self.task.contribute(items)


class Result(NamedTuple):
    """What one attempt at a batch says, before its object is in S3."""

    body: bytes
    outcome: Outcome


class Worker:
    """What one attempt at a batch holds while it reads."""

    def __init__(
        self,
        batch: Batch,
        ledger: Ledger,
        store: BlockStore,
        asked: AskedHeads = NONE_ASKED,
        say: Say = say_nothing,
        limits: Limits | None = None,
    ) -> None:
        self.batch = batch
        self.say = say
        self.attempt_id = AttemptId(batch=batch.id, number=batch.attempts)
        self.ledger = ledger
        self.store = store
        self.task = load_task(batch.task)
        if self.task.version != batch.version:
            raise Refused(
                f"batch {batch.id} was planned for version {batch.version} of the task "
                f"{batch.task}, and this worker has {self.task.version}; run its partition again"
            )

        self.source = source_of(batch, ledger, store, asked)
        self.reader = reader_of(self.task.item, by_columns=self.task.observe is None)
        # Makes frames of what the task gets: observations, where it observes the world.
        self.framer = reader_of(self.task.observation_type, by_columns=False)
        self.merger = Merger(self.task.fields)
        self.isolated = Isolated(self.task, batch.id, limits) if limits else None
        self.known = known_only(batch, self.isolated or self.task, ledger)
        self.unique = unique_items(
            batch, self.task.item, ledger, self._add_unidentified, self._add_duplicates
        )
        self.used = 0
        self.duplicates = 0
        self.skipped = 0
        self.bytes = 0
        self.bugs = 0
        self.dead_letters = AttemptLetters(ledger.dead_letters, batch, self.attempt_id)
        # What was read and has not contributed yet.
        self.waiting = Waiting()
        # Items that wait to be observed, of all ranges together, so that a page listed twice is
        # visited once, and hosts have their pauses.
        self.unobserved: list[tuple[Any, Origin]] = []
        self.warnings = AttemptWarnings()
        self.moments = Moments(batch.partition, self.task.observation_type)

    def run(self) -> Outcome:
        """Read all ranges and write the result; return the outcome."""
        started = time.monotonic()
        self.read()
        result = self.end()
        self.store.put(result.outcome.result, result.body)
        return result.outcome.taking(time.monotonic() - started)

    def read(self) -> None:
        """Read all ranges; some items may still wait to contribute."""
        for range_, runs in self.source.read(self.batch.ranges, self.reader.columns):
            self.say(f"batch {self.batch.id}: {self._items_met:,} items so far, at {range_.key}")
            self._read(range_, runs)
            self.bytes += range_.bytes
        self._leave_out_duplicates()

    def take_in(self, parts: Parts) -> None:
        """Take in what all items that wait contribute."""
        self.merger.add_parts(parts)
        self.used += self.waiting.items
        self.waiting.clear()

    def end(self) -> Result:
        """Let what still waits contribute; return the result, which is still to be written."""
        self._contribute_waiting()
        self._observe()
        self.dead_letters.record_unmet()

        table = self.merger.table()
        body = to_parquet(table)
        outcome = Outcome(
            items=self.used + self.dead_letters.count + self.duplicates,
            used=self.used,
            duplicates=self.duplicates,
            skipped=self.skipped,
            dead=self.dead_letters.count,
            unread_parts=self.dead_letters.rests,
            unread_items=self.dead_letters.rest_items,
            bytes=self.bytes,
            rows=table.num_rows,
            profiles=profiles_of(table),
            seconds=0.0,
            result=result_key(self.batch, self.attempt_id),
            digest=hashlib.sha256(body).hexdigest(),
            attempt=self.attempt_id.number,
            peak_bytes=peak_bytes(),
            warnings=self.warnings.listed(),
            moments=self.moments.text,
        )
        return Result(body, outcome)

    def _read(self, range_: Range, runs: Iterator[Lines | Rows]) -> None:
        """Take in what a range holds, and record its dead letters."""
        places = frozenset(range_.places)
        reject = partial(self._reject, range_)
        items_before = self._items_met
        try:
            for run in runs:
                if isinstance(run, Rows):
                    self.warnings.add(range_, run.warnings)
                for part in run.pick(places) if places else [run]:
                    self._use(range_, part, reject)
                self.dead_letters.record()
        except Malformed as error:
            if error.place is None:  # not of a block
                raise
            if not places or error.place in places:
                self._reject_part(range_, error.place, error.reason, items_before)
            self.dead_letters.record()

    @property
    def _items_met(self) -> int:
        """The items that were read so far, whatever became of them."""
        waiting = self.waiting.items + len(self.unobserved)
        return self.used + self.dead_letters.count + self.duplicates + waiting

    def _use(self, range_: Range, run: Lines | Rows, reject: Reject) -> None:
        """Let the items of a run contribute, or put them aside to be observed."""
        self.waiting.add(range_, self.reader.items(run, reject))
        if self.task.observe is None:
            if self.waiting.is_full:
                self._contribute_waiting()
            return

        self._leave_out_duplicates()
        for taken in self.waiting.take():
            origins = map(taken.origin_of, range(len(taken.items)))
            self.unobserved += zip(taken.items, origins, strict=True)
        if len(self.unobserved) >= OBSERVED_ITEMS:
            self._observe()

    def _leave_out_duplicates(self) -> None:
        """Leave out of what waits the copies of items that count elsewhere."""
        if self.unique:
            self.waiting.filter(self.unique.keep)

    def _contribute_waiting(self) -> None:
        """Let the items that were read contribute, many in one call."""
        self._leave_out_duplicates()
        for taken in self.waiting.take():
            self._contribute(taken.items, taken.origin_of)
        self.dead_letters.record()

    def _observe(self) -> None:
        """Let the task observe the world for the items that wait for it."""
        observe = self.task.observe
        if observe is None or not self.unobserved:
            return

        items = [item for item, _ in self.unobserved]
        profile_ids = [observe.profile_id(item) for item in items]
        profiles = self.ledger.profiles(self.batch.asset, self.batch.generation)
        known = known_of(profiles, profile_ids, observe.known_fields)
        if self.isolated:
            answers: Sequence[Any] = self.isolated.observe(observe, items, known)
        else:
            answers = observe.observe(items, known)

        observations = []
        origins = []
        for (_, origin), answer in zip(self.unobserved, answers, strict=True):
            if isinstance(answer, Exception):
                self._add_bug(origin, answer)
            elif answer is None:
                self.skipped += 1
                self.used += 1
                self.dead_letters.mark_used(origin.range_, origin.place)
            else:
                observations.append(answer)
                origins.append(origin)

        self.unobserved = []
        self._contribute(observations, origins.__getitem__)
        self.dead_letters.record()

    def _contribute(self, items: Items, origin_of: Callable[[int], Origin]) -> None:
        """Take in what items contribute; `origin_of` tells where each was read."""
        task = Timed(self.known or self.isolated or self.task, self.moments)
        for first, last, frames in contribute(task, self.framer, items):
            if isinstance(frames, Exception):
                self._add_bug(origin_of(first), frames)
                self.bugs += not isinstance(frames, EndedWorker)
                if self.bugs == TRIED_ITEMS and not self.used:
                    self._stop_if_all_fail(items, frames)
                continue

            self.merger.add(frames)
            unknown = self.known.unknown if self.known else {}
            self.used += last - first - len(unknown)
            for number, profile_id in unknown.items():
                self._add_unknown(origin_of(first + number), profile_id)
            if self.batch.is_redrive:
                for index in range(first, last):
                    if index - first not in unknown:
                        origin = origin_of(index)
                        self.dead_letters.mark_used(origin.range_, origin.place)

    def _add_unidentified(self, origin: Origin) -> None:
        """Add the dead letter of an item that lacks what identifies it."""
        reason = f"{' or '.join(self.batch.unique)} is missing or empty, which identifies an item"
        self._reject(origin.range_, origin.place, origin.run.raw(origin.number), reason)

    def _add_duplicates(self, part: Part) -> None:
        """Count items of which other copies count."""
        range_, taken = part
        self.duplicates += len(taken.items)
        if self.batch.is_redrive:
            for number in taken.numbers:
                self.dead_letters.mark_used(range_, taken.run.place(number))

    def _add_unknown(self, origin: Origin, profile_id: str) -> None:
        """Add the dead letter of an item that says something of a profile without a document."""
        assert self.known
        item = origin.run.raw(origin.number)
        reason = self.known.reason(profile_id)
        self.dead_letters.add_malformed(origin.range_, origin.place, reason, item)

    def _stop_if_all_fail(self, items: Items, error: Exception) -> None:
        """Refuse to go on where items from all over the chunk fail like the first ones did."""
        if len(items) <= TRIED_ITEMS:
            return

        numbers = range(0, len(items), max(1, len(items) // TRIED_ITEMS))
        spread = [items[number : number + 1] for number in numbers]
        task = self.isolated or self.task
        answers = [next(contribute(task, self.framer, item)).frames for item in spread]
        if not all(isinstance(answer, Exception) for answer in answers):
            return

        self.dead_letters.record()
        lines = task_lines(error, self.task.file)
        where = f"; {lines[0]}" if lines else ""
        raise Refused(
            f"the task {self.batch.task} fails on every item, so batch {self.batch.id} stops "
            f"after {TRIED_ITEMS + len(answers)} of them: {type(error).__name__}: {error} "
            f"(items have the columns {', '.join(self.framer.columns.names)}){where}"
        )

    def _reject(self, range_: Range, place: Place, item: bytes, reason: str) -> None:
        """Add a dead letter of an item that cannot be read; Refused where no item can."""
        self.dead_letters.add_malformed(range_, place, reason, item)
        unreadable = self.dead_letters.count
        if unreadable >= MAX_UNREADABLE_ITEMS and not self.used and not self.waiting.items:
            self.dead_letters.record()
            raise Refused(
                f"none of the first {unreadable:,} items of {range_.key} can be read ({reason}); "
                f"is the format of {self.batch.asset} right?"
            )

    def _reject_part(self, range_: Range, place: Place, reason: str, items_before: int) -> None:
        """Add the dead letter of a part of a block that cannot be read.

        `items_before` are those that were met before its range.
        """
        if not place.is_rest:
            self._reject(range_, place, b"", reason)
            return

        met_before = Density(items_before, self.bytes)
        items = items_of_rest(range_, place, self._items_met - items_before, met_before)
        self.dead_letters.add_rest(range_, place, reason, items)

    def _add_bug(self, origin: Origin, error: Exception) -> None:
        """Add a dead letter of an item on which the task failed, or which ended its worker."""
        item = origin.run.raw(origin.number)
        if isinstance(error, EndedWorker):
            self.dead_letters.add_ended(origin.range_, origin.place, error, item)
            return
        self.dead_letters.add_bug(origin.range_, origin.place, error, self.task.file, item)
