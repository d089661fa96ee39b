"""Which items make a number of a profile: read again where they came from, as the worker did.

Only ranges of the batches that say something of it are read, one after the other, for as long as
somebody asks. Items are told by the code as it is now.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pandas as pd

from workers.contributions.accumulators import Contributed
from workers.contributions.apart import labelled, labels_of
from workers.contributions.fields import to_key
from workers.contributions.readers import Readers
from workers.contributions.results import Frames, Merger
from workers.contributors import Contributor, Made, Question, shown_of
from workers.declare.task import Task
from workers.errors import Malformed, Refused
from workers.ledger.copies import KnownCopies
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch
from workers.sources.columns.frames import Items
from workers.sources.items import contribute, reader_of
from workers.sources.source import source_of
from workers.sources.taken import Taken
from workers.sources.unique import Identity, UniqueItems
from workers.store import BlockStore
from workers.values import BrokenRange, Document, Place, ProfileRange, Range, Value

MAX_ITEM_BYTES = 4096  # of an item that are shown

# By key and ETag of a block.
Places = Mapping[tuple[str, str], Collection[Place]]


class ExplainedItem(Value, frozen=True, kw_only=True):
    """An item that says something of what is asked; of the world, its batch's result knows what."""

    partition: str
    batch: str
    block: str
    place: str
    says: Document
    # Its first bytes.
    item: str


class UnreadBlock(Value, frozen=True, kw_only=True):
    """A block whose items cannot be read any more, as it is gone or another."""

    partition: str
    batch: str
    block: str
    why: str


class Explanation:
    """The batches that make a value, and their items, which are read as they are asked for."""

    def __init__(
        self,
        task: Task,
        ledger: Ledger,
        store: BlockStore,
        made: Made,
        question: Question,
    ) -> None:
        self.task, self.made, self.question = task, made, question
        self._ledger, self._store = ledger, store
        self.contributors = [
            contributor for contributor in made.contributors if question.part_of(contributor.said)
        ]
        ids = {contributor.batch for contributor in self.contributors}
        self.batches = ledger.batches_by_id(ids)
        # What was read so far; bytes of blocks.
        self.ranges = 0
        self.bytes_read = 0
        self.unread: list[UnreadBlock] = []

        self._reader = reader_of(task.item, by_columns=task.observe is None)
        self._framer = reader_of(task.observation_type, by_columns=False)

    @property
    def value(self) -> Document:
        """What readers see of what is asked, made of what the results say."""
        return shown_of(self.task, self.question.part_of(self.made.total(self.task)))

    @property
    def began_with(self) -> Document:
        """What its document said of what is asked before Fanfold came."""
        begun = self.made.profile.bookkeeping.begun
        return shown_of(self.task, self.question.part_of(begun))

    @property
    def is_as_stored(self) -> bool:
        """Whether MongoDB holds what the results say."""
        readers = Readers(self.task.fields, None)
        shown = readers.shown(self.made.total(self.task))
        asked = [self.question.field] if self.question.field else readers.names
        return all(shown.get(name) == self.made.fields.get(name) for name in asked)

    @property
    def of_other_code(self) -> list[str]:
        """The batches that ran with another version of the task."""
        version = self.task.version
        return sorted(batch.id for batch in self.batches.values() if batch.version != version)

    def says(self, contributor: Contributor) -> Document:
        """Return what readers see of what a batch says of what is asked."""
        return shown_of(self.task, self.question.part_of(contributor.said))

    def blocks_of(self, contributor: Contributor) -> list[str]:
        """Return the keys of the blocks that a batch reads."""
        batch = self.batches.get(contributor.batch)
        return sorted({range_.key for range_ in batch.ranges}) if batch else []

    def is_redrive(self, contributor: Contributor) -> bool:
        """Tell whether a batch runs dead letters again."""
        batch = self.batches.get(contributor.batch)
        return batch is not None and batch.is_redrive

    def items(self) -> Iterator[ExplainedItem]:
        """Yield the items that say something of what is asked, in the order of partitions."""
        for contributor in self.contributors:
            batch = self.batches.get(contributor.batch)
            if batch:
                yield from self._items_of(batch)

    def _items_of(self, batch: Batch) -> Iterator[ExplainedItem]:
        only = _what_counts(batch, self.task, self._ledger)
        found = False
        for range_ in _narrowed(batch.ranges, self.question.profile_id):
            for item in self._items_in(batch, range_, only):
                found = True
                yield item
        if batch.source and not found:  # it is said by profiles of other ids
            for range_ in batch.ranges:
                yield from self._items_in(batch, range_, only)

    def _items_in(self, batch: Batch, range_: Range, only: "_Counting") -> Iterator[ExplainedItem]:
        for taken in self._read(batch, range_):
            counting = only.of(range_, taken)
            for number, says in self._mentions(counting.items):
                run, in_run = counting.run, counting.numbers[number]
                yield ExplainedItem(
                    partition=batch.partition,
                    batch=batch.id,
                    block=range_.key,
                    place=str(run.place(in_run)),
                    says=says,
                    item=run.raw(in_run)[:MAX_ITEM_BYTES].decode(errors="replace"),
                )

    def _read(self, batch: Batch, range_: Range) -> Iterator[Taken]:
        """Yield what a range holds that can be read."""
        if isinstance(range_, BrokenRange):
            return
        self.ranges += 1
        self.bytes_read += 0 if batch.source else range_.bytes
        places = frozenset(range_.places)
        source = source_of(batch, self._ledger, self._store)
        try:
            for _, runs in source.read([range_], self._reader.columns):
                for run in runs:
                    for part in run.pick(places) if places else [run]:
                        yield self._reader.items(part, _ignore)
        except Malformed:  # the rest of the block is a dead letter
            return
        except Refused as error:
            unread = UnreadBlock(
                partition=batch.partition, batch=batch.id, block=range_.key, why=str(error)
            )
            self.unread.append(unread)

    def _mentions(self, items: Items) -> Iterator[tuple[int, Document]]:
        """Yield the numbers of the items that say something of what is asked, and what."""
        observe = self.task.observe
        if observe:
            for number, item in enumerate(items):
                if observe.profile_id(item) == self.question.profile_id:
                    yield number, {}
            return

        contributing = _Labelled(self.task) if self.task.by_item else self.task
        yield from self._search(contributing, items, 0)

    def _search(
        self, contributing: "Task | _Labelled", items: Items, first: int
    ) -> Iterator[tuple[int, Document]]:
        """Yield the items that say something: told by their rows, or else by trying halves."""
        for start, end, frames in contribute(contributing, self._framer, items, first):
            if isinstance(frames, Exception):
                continue
            rows = self._rows(frames)
            if not rows:
                continue
            if self.task.by_item:
                yield from self._by_item(rows, start, end - start)
            elif end - start == 1:
                yield start, self._shown(rows)
            else:
                half = (start + end) // 2
                yield from self._search(contributing, items[start - first : half - first], start)
                yield from self._search(contributing, items[half - first : end - first], half)

    def _by_item(self, rows: Frames, first: int, count: int) -> Iterator[tuple[int, Document]]:
        """Yield what each of some items says, whose rows have their labels."""
        labels = {name: labels_of(frame, count) for name, frame in rows.items()}
        for number in np.unique(np.concatenate(list(labels.values()))).tolist():
            mine = {name: frame[labels[name] == number] for name, frame in rows.items()}
            yield first + number, self._shown({name: f for name, f in mine.items() if len(f)})

    def _rows(self, frames: Frames) -> Frames:
        """Return the rows of contributions that say something of what is asked."""
        rows = {}
        for name, frame in frames.items():
            if self.question.field in ("", name):
                are_asked = frame["profile"] == self.question.profile_id
                if self.question.key:
                    are_asked &= frame["key"].map(to_key) == self.question.key
                if are_asked.any():
                    rows[name] = frame[are_asked]
        return rows

    def _shown(self, rows: Frames) -> Document:
        """Return what readers see of what rows say of the profile."""
        merger = Merger(self.task.fields)
        merger.add(rows)
        return shown_of(self.task, Contributed(merger.merged()).all()[self.question.profile_id])


class _Labelled(NamedTuple):
    """A task whose rows of contributions tell by which item they are."""

    task: Task

    def contribute(self, items: pd.DataFrame) -> Frames:
        return self.task.contribute(labelled(items))


class _Counting(NamedTuple):
    """Leaves of the items of a batch those that counted."""

    dead: Places
    unique: UniqueItems | None

    def of(self, range_: Range, taken: Taken) -> Taken:
        """Return the items of a run that counted."""
        if places := self.dead.get((range_.key, range_.etag)):
            taken = taken.without(places)
        if self.unique:
            ((_, taken),) = self.unique.keep([(range_, taken)])
        return taken


def _what_counts(batch: Batch, task: Task, ledger: Ledger) -> _Counting:
    """Return what tells which items of a batch counted: no dead letter of it, and no copy."""
    dead: dict[tuple[str, str], set[Place]] = {}
    for letter in ledger.dead_letters.found_by([batch.attempt_id]):
        dead.setdefault((letter.block, letter.etag), set()).add(letter.place)
    if not batch.unique:
        return _Counting(dead, None)

    stays = ledger.stays.by_id(batch.stays).values()
    known = KnownCopies(ledger.copies(batch.asset), ledger.stays)
    unique = UniqueItems(
        Identity(task.item, batch.unique),
        {(stay.key, stay.etag): stay.id for stay in stays},
        known.those_that_count,
        _leave_out,
        _leave_out,
    )
    return _Counting(dead, unique)


def _narrowed(ranges: Sequence[Range], profile_id: str) -> list[Range]:
    """Return ranges as they are; of profiles, the profile of this id alone."""
    narrowed: list[Range] = []
    for range_ in ranges:
        if not isinstance(range_, ProfileRange):
            narrowed.append(range_)
        elif range_.first <= profile_id and (not range_.until or profile_id < range_.until):
            only = msgspec.structs.replace(range_, first=profile_id, until=f"{profile_id}\0")
            narrowed.append(only)
    return narrowed


def _ignore(_place: Place, _item: bytes, _reason: str) -> None:
    """Leave a bad item out: it is a dead letter."""


def _leave_out(_: object) -> None:
    """Leave out an item that nothing identifies, or copies that do not count."""
