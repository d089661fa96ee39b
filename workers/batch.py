"""Run one batch: read its ranges, contribute, write the result to S3, tell the ledger."""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from workers.contributions.results import Frames, Merger, result_key, to_parquet
from workers.declare.task import Task, load_task
from workers.errors import FanfoldError, Malformed, Refused, Unavailable
from workers.ledger.dead_letters import DeadLetter, dead_letter_id, task_lines
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors
from workers.ledger.records import Batch
from workers.sources.formats.lines import Lines
from workers.sources.formats.rows import Rows
from workers.sources.items import ItemReader, Reject
from workers.sources.source import source_of
from workers.store import BlockStore
from workers.values import Outcome, Range

TRIED_ITEMS = 20  # items a task fails on, one by one and with none used, before others are tried
OBSERVED_ITEMS = 10_000  # items a task looks at the world for in one call
MAX_UNREADABLE_ITEMS = 10_000  # items that cannot be read, with none used, before a batch gives up


def attempt_batch(
    batch_id: str, ledger: Ledger, store: BlockStore, is_last: bool = True
) -> Outcome:
    """Run the batch with this id, unless it is done; return its outcome either way.

    Unavailable may be retried, and leaves the batch planned; Refused may not; anything else may,
    where this is not the last attempt. A kill at any moment leaves a batch that a new
    call repeats whole: its result is one object, and done is written last.
    """
    document = ledger.begin(batch_id)
    if document["state"] == "done":
        return Outcome.of(document["outcome"])
    batch = Batch.of({**document, "id": batch_id})
    try:
        with mongodb_errors():
            outcome = _Worker(batch, document["attempts"], ledger, store).run()
    except Unavailable as error:  # says nothing about the batch: it is still to be run
        ledger.fail(batch_id, str(error), is_final=False)
        raise
    except Exception as error:
        said = str(error) if isinstance(error, FanfoldError) else f"{type(error).__name__}: {error}"
        ledger.fail(batch_id, said, is_last or isinstance(error, Refused))
        raise
    first = ledger.finish(batch_id, outcome)
    if first.result != outcome.result:  # another attempt was faster, and its result counts
        store.delete(outcome.result)
    return first


class Place(NamedTuple):
    """Where an item stands: which of a run, in which range."""

    cut: Range
    run: Lines | Rows
    number: int

    @property
    def named(self) -> tuple[Range, str]:
        return self.cut, self.run.place(self.number)


class _Worker:
    """What one attempt at a batch holds while it reads."""

    def __init__(self, batch: Batch, attempt: int, ledger: Ledger, store: BlockStore) -> None:
        self.batch, self.attempt, self.ledger, self.store = batch, attempt, ledger, store
        self.task = load_task(batch.task)
        if self.task.version != batch.version:
            raise Refused(
                f"batch {batch.id} was planned for version {batch.version} of the task "
                f"{batch.task}, and this worker has {self.task.version}; run its partition again"
            )
        self.source = source_of(batch, store, ledger)
        self.reader = ItemReader(self.task.item)
        # Makes frames of what the task gets: observations, where it looks at the world.
        self.framer = ItemReader(self.task.seen)
        self.contributed = Merger(self.task.fields)
        self.used = self.skipped = self.dead = self.bugs = self.bytes = 0
        self.letters: list[DeadLetter] = []
        # Items still to be looked at, with their places: of all ranges together, so that a page
        # listed twice is visited once, and hosts have their pauses.
        self.unseen: list[tuple[Any, Place]] = []
        # Of a redrive: the letters that were met, whatever became of their items.
        self.met: set[str] = set()

    def run(self) -> Outcome:
        started = time.monotonic()
        for cut in self.batch.ranges:
            self._read(cut)
            self.bytes += cut.end - cut.start
        self._look()
        if unmet := set(self.batch.redrives) - self.met:
            self.dead += len(unmet)
            self.ledger.dead_letters.record_again(self.batch, self.attempt, unmet)
        result = self.contributed.table()
        key, body = result_key(self.batch, self.attempt), to_parquet(result)
        self.store.put(key, body)
        return Outcome(
            items=self.used + self.dead,
            used=self.used,
            skipped=self.skipped,
            dead=self.dead,
            bytes=self.bytes,
            rows=result.num_rows,
            profiles=len(result["profile"].unique()),
            seconds=round(time.monotonic() - started, 6),
            result=key,
            digest=hashlib.sha256(body).hexdigest(),
            attempt=self.attempt,
        )

    def _read(self, cut: Range) -> None:
        def reject(place: str, item: bytes, reason: str) -> None:
            self._dead(cut, place, DeadLetter.malformed(reason, item, **self._at(cut, place)))
            if self.dead >= MAX_UNREADABLE_ITEMS and not self.used:
                self._bury()
                raise Refused(
                    f"none of the first {self.dead:,} items of {cut.key} can be read ({reason}); "
                    f"is the format of {self.batch.asset} right?"
                )

        places = set(cut.places)
        if cut.broken:
            if not places or f"byte {cut.offset}" in places:
                reject(f"byte {cut.offset}", b"", cut.broken)
            self._bury()
            return
        try:
            for run in self.source.read(cut, self.reader.columns):
                for part in pick(run, places) if places else [run]:
                    self._use(cut, part, reject)
                self._bury()
        except Malformed as error:
            place, _, reason = str(error).partition(": ")
            if not places or place in places:
                reject(place, b"", reason)
            self._bury()

    def _at(self, cut: Range, place: str) -> dict[str, str]:
        return {"batch": self.batch.id, "block": cut.key, "etag": cut.etag, "place": place}

    def _dead(self, cut: Range, place: str, letter: DeadLetter) -> None:
        self.dead += 1
        self.letters.append(letter)
        self._meet(cut, place)

    def _meet(self, cut: Range, place: str) -> None:
        if self.batch.redrives:
            self.met.add(dead_letter_id(self.batch.asset, cut.key, cut.etag, place))

    def _bury(self) -> None:
        self.ledger.dead_letters.record(self.batch, self.attempt, self.letters)
        self.letters = []

    def _use(self, cut: Range, run: Lines | Rows, reject: Reject) -> None:
        items, numbers = self.reader.items(run, reject)
        if self.task.observe is None:
            self._contribute(items, lambda i: Place(cut, run, numbers[i]))
            return
        self.unseen += [(i, Place(cut, run, n)) for i, n in zip(items, numbers, strict=True)]
        if len(self.unseen) >= OBSERVED_ITEMS:
            self._look()

    def _look(self) -> None:
        """Let the task look at the world for the items that wait for it."""
        if (observe := self.task.observe) is None or not self.unseen:
            return
        items = [item for item, _ in self.unseen]
        ids = [observe.of(item) for item in items]
        fields = dict.fromkeys(observe.known, 1)
        profiles = self.ledger.profiles(self.batch.asset, self.batch.round.generation)
        known = {one["_id"]: one for one in profiles.find({"_id": {"$in": ids}}, fields)}
        answers = observe.look(items, [known.get(one, {}) for one in ids])
        seen, about = [], []
        for (_, place), answer in zip(self.unseen, answers, strict=True):
            if isinstance(answer, Exception):
                self._fail(place, answer)
            elif answer is None:
                self.skipped += 1
                self._used(place)
            else:
                seen.append(answer)
                about.append(place)
        self.unseen = []
        self._contribute(seen, about.__getitem__)
        self._bury()

    def _contribute(self, items: list[Any], place: Callable[[int], Place]) -> None:
        """Take in what items contribute; `place` tells where each stands."""
        for first, last, frames in contribute(self.task, self.framer, items):
            if isinstance(frames, Exception):
                self._fail(place(first), frames)
                self.bugs += 1
                if self.bugs == TRIED_ITEMS and not self.used:
                    self._check_hope(items, frames)
                continue
            self.contributed.add(frames)
            self.used += last - first
            if self.batch.redrives:
                for number in range(first, last):
                    self._meet(*place(number).named)

    def _used(self, place: Place) -> None:
        self.used += 1
        if self.batch.redrives:
            self._meet(*place.named)

    def _fail(self, place: Place, error: Exception) -> None:
        cut, name = place.named
        item = place.run.raw(place.number)
        letter = DeadLetter.bug(error, self.task.file, item, **self._at(cut, name))
        self._dead(cut, name, letter)

    def _check_hope(self, items: list[Any], error: Exception) -> None:
        """Refuse to go on where items from all over the chunk fail like the first ones did."""
        spread = items[:: max(1, len(items) // TRIED_ITEMS)] if len(items) > TRIED_ITEMS else []
        tried = [next(contribute(self.task, self.framer, [item]))[2] for item in spread]
        if tried and all(isinstance(one, Exception) for one in tried):
            self._bury()
            raise Refused(
                f"the task {self.batch.task} fails on every item, so batch {self.batch.id} stops "
                f"after {TRIED_ITEMS + len(tried)} of them: {type(error).__name__}: {error} "
                f"(items have the columns {', '.join(self.framer.columns)})"
                + "".join(f"; {line}" for line in task_lines(error, self.task.file)[:1])
            )


def pick(run: Lines | Rows, places: Collection[str]) -> Iterator[Lines | Rows]:
    """Yield what of a run stands at these places."""
    if isinstance(run, Rows):
        chosen = [number for number, place in enumerate(run.places) if place in places]
        if chosen:
            rows = [run.rows[number] for number in chosen]
            yield Rows(rows, [run.places[number] for number in chosen], is_text=run.is_text)
        return
    at = run.start
    for line in run.lines:
        if f"byte {at}" in places:
            yield Lines(at, [line], is_cut=run.is_cut)
        at += len(line) + 1


def contribute(
    task: Task, reader: ItemReader, items: list[Any], first: int = 0
) -> Iterator[tuple[int, int, Frames | Exception]]:
    """Yield (first, last, contributions) for items that work together.

    Where the task raises, halves are tried until the item at fault stands alone; it is yielded
    with its exception. One bad item among n costs at most 2 log2 n + 1 calls.
    """
    if not items:
        return
    try:
        frames = task.contribute(reader.frame(items))
    except (FanfoldError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  the task's own: whatever it is, it concerns these items
        if len(items) == 1:
            yield first, first + 1, error
            return
        half = len(items) // 2
        yield from contribute(task, reader, items[:half], first)
        yield from contribute(task, reader, items[half:], first + half)
        return
    yield first, first + len(items), frames
