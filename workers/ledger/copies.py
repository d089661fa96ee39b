"""Which copy of an item counts, where an asset says what identifies one: that which holds its id.

One document an id: the stay of the block whose copy counts (stays), and the copy's place in that
block, so that the same copy is met again whichever batch reads it. See
docs/decisions/0022-the-same-item-twice.md.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from bson import Binary, Int64
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne
from pymongo.collection import Collection as MongoCollection
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from workers.errors import Unavailable
from workers.ledger.mongo import duplicates_of, only_duplicates
from workers.ledger.records import Batch
from workers.ledger.stays import Stays
from workers.values import Document

ID_BYTES = 16  # of a digest of what identifies an item
IDS_AT_ONCE = 10_000  # in a request
FIRST_IDS = 500  # in the first one, which shows whether most are held already
# A document as BSON has it: {_id: 16 bytes, stay: a long, place: a long}.
LAYOUT = np.dtype(
    [
        ("length", "<i4"),
        *(("_id_type", "S1"), ("_id_name", "S4"), ("_id_length", "<i4"), ("_id_subtype", "S1")),
        ("id", f"V{ID_BYTES}"),
        *(("stay_type", "S1"), ("stay_name", "S5"), ("stay", "<i8")),
        *(("place_type", "S1"), ("place_name", "S6"), ("place", "<i8")),
        ("end", "S1"),
    ]
)
WAIT_SECONDS = 0.01  # for what another worker has written, and a majority does not know yet
MAX_WAITS = 3_000


class Copy(NamedTuple):
    """Where a copy of an item is: the stay of its block, and its place in the block."""

    stay: int
    place: int


class CopiesRead(NamedTuple):
    """Copies that a worker read, in three columns: an id of ID_BYTES, a stay and a place each."""

    ids: np.ndarray
    stays: np.ndarray
    places: np.ndarray

    def at(self, numbers: np.ndarray) -> "CopiesRead":
        """Return the copies with these numbers."""
        return CopiesRead(*(column[numbers] for column in self))

    def rows(self) -> Iterator[tuple[bytes, Copy]]:
        """Yield each copy with its id."""
        content = self.ids.tobytes()
        places = zip(self.stays.tolist(), self.places.tolist(), strict=True)
        for number, (stay, place) in enumerate(places):
            yield content[number * ID_BYTES : (number + 1) * ID_BYTES], Copy(stay, place)

    def are_later(self) -> np.ndarray:
        """Tell of each whether a copy before it has the same id."""
        halves = np.ascontiguousarray(self.ids).view([("low", "u8"), ("high", "u8")])
        frame = pd.DataFrame({"low": halves["low"], "high": halves["high"]})
        return frame.duplicated().to_numpy()


class Copies:
    """The copies that count, of one asset."""

    def __init__(self, database: Database[Document], asset: str) -> None:
        self.collection: MongoCollection[Document] = database[f"{asset}.unique"]

    def hold(self, copies: CopiesRead) -> np.ndarray:
        """Let copies hold the ids that no copy holds; return the numbers of the others."""
        if not len(copies.ids):
            return np.empty(0, np.int64)
        # In the order of their ids, which costs MongoDB a quarter less.
        order = np.argsort(copies.ids.view(">u8")[::2])
        try:
            self.collection.insert_many(_documents(copies.at(order)), ordered=False)
        except BulkWriteError as error:
            if not only_duplicates(error):
                raise
            return order[duplicates_of(error)]
        return np.empty(0, np.int64)

    def holders(self, ids: Iterable[bytes]) -> dict[bytes, Copy]:
        """Return the copies that hold ids, as far as a majority of the servers knows."""
        wanted = {"_id": {"$in": [Binary(id_) for id_ in ids]}}
        answers: Any = self.collection.find_raw_batches(wanted, batch_size=IDS_AT_ONCE)
        found: dict[bytes, Copy] = {}
        for answer in answers:  # bytes, whatever pymongo's types say
            read = np.frombuffer(answer, LAYOUT)
            found.update(CopiesRead(read["id"], read["stay"], read["place"]).rows())
        return found

    def pass_on(self, changes: Mapping[bytes, tuple[Copy, Copy]]) -> None:
        """Let each id be held by the second of two copies, if the first still holds it."""
        writes = [
            UpdateOne(
                {"_id": Binary(id_), "stay": old.stay, "place": old.place},
                {"$set": {"stay": Int64(new.stay), "place": Int64(new.place)}},
            )
            for id_, (old, new) in changes.items()
        ]
        if writes:
            self.collection.bulk_write(writes, ordered=False)


def _documents(copies: CopiesRead) -> Iterator[RawBSONDocument]:
    """Yield the documents of copies, made as columns: a dict for each takes twice as long."""
    table = np.zeros(len(copies.ids), LAYOUT)
    table["length"] = LAYOUT.itemsize
    table["_id_type"], table["_id_name"], table["_id_length"] = b"\x05", b"_id", ID_BYTES
    table["stay_type"], table["stay_name"] = b"\x12", b"stay"
    table["place_type"], table["place_name"] = b"\x12", b"place"
    table["id"], table["stay"], table["place"] = copies

    content = table.tobytes()
    for start in range(0, len(content), LAYOUT.itemsize):
        yield RawBSONDocument(content[start : start + LAYOUT.itemsize])


class Counting:
    """Tells one batch which of its items count: those that hold their ids, or can come to.

    What is decided stays so for as long as the batch is not outdated.
    """

    def __init__(self, copies: Copies, stays: Stays, batch: Batch) -> None:
        self._copies, self._stays, self._batch = copies, stays, batch
        # Stays whose copies count in place of the batch's, and such as do not any more. What the
        # batch reads itself goes with it.
        self._relied_on = set(batch.stays)
        self._over: set[int] = set()
        # Whether most ids were held already, as when a batch is run again.
        self._mostly_held = False
        self._ids_at_once = FIRST_IDS

    def those_that_count(self, copies: CopiesRead) -> np.ndarray:
        """Tell of each copy whether it counts."""
        counts = np.zeros(len(copies.ids), bool)
        are_later = copies.are_later()
        later: dict[bytes, list[int]] = {}
        numbers = np.flatnonzero(are_later)
        for number, (id_, _) in zip(numbers.tolist(), copies.at(numbers).rows(), strict=True):
            later.setdefault(id_, []).append(number)

        firsts = np.flatnonzero(~are_later)
        while len(firsts):
            some, firsts = np.split(firsts, [self._ids_at_once])
            held = some if self._mostly_held else some[self._copies.hold(copies.at(some))]
            counts[np.setdiff1d(some, held, assume_unique=True)] = True
            counting, were_held = self._decide(copies, held, later)
            counts[counting] = True
            self._mostly_held = 2 * were_held > len(some)
            self._ids_at_once = IDS_AT_ONCE
        return counts

    def _decide(
        self, copies: CopiesRead, firsts: np.ndarray, later: Mapping[bytes, Sequence[int]]
    ) -> tuple[list[int], int]:
        """Return the numbers of the copies that count, of ids that seem to be held.

        And how many of the ids were held.
        """
        undecided: dict[bytes, dict[Copy, int]] = {}
        for number, (id_, copy) in zip(firsts.tolist(), copies.at(firsts).rows(), strict=True):
            undecided[id_] = {copy: number}
        for id_ in undecided.keys() & later.keys():
            numbers = later[id_]
            rows = copies.at(np.array(numbers)).rows()
            for number, (_, copy) in zip(numbers, rows, strict=True):
                undecided[id_][copy] = number

        counting: list[int] = []
        were_held: set[bytes] = set()
        for _ in range(MAX_WAITS):
            if not undecided:
                return counting, len(were_held)
            holders = self._copies.holders(undecided)
            were_held |= holders.keys()
            self._look_at({copy.stay for copy in holders.values()})
            changes = {}
            for id_, holder in holders.items():
                if holder.stay in self._over and holder not in undecided[id_]:
                    changes[id_] = (holder, next(iter(undecided[id_])))
                    continue
                mine = undecided.pop(id_).get(holder)
                if mine is not None:
                    counting.append(mine)
            self._copies.pass_on(changes)
            counting += self._hold_free(copies, undecided, holders)
        raise Unavailable("MongoDB does not show which copies hold the ids of items")

    def _hold_free(
        self,
        copies: CopiesRead,
        undecided: dict[bytes, dict[Copy, int]],
        holders: Collection[bytes],
    ) -> list[int]:
        """Let copies hold those ids that none holds; return their numbers.

        An id that others hold is waited for: a majority of the servers does not know them yet.
        """
        free = [id_ for id_ in undecided if id_ not in holders]
        numbers = np.array([next(iter(undecided[id_].values())) for id_ in free], np.int64)
        lost = self._copies.hold(copies.at(numbers))
        if len(lost):
            time.sleep(WAIT_SECONDS)
        won = np.setdiff1d(np.arange(len(free)), lost)
        for number in won.tolist():
            del undecided[free[number]]
        taken: list[int] = numbers[won].tolist()
        return taken

    def _look_at(self, stays: set[int]) -> None:
        """Find out which of these stays the batch is to leave items to, and rely on them."""
        unknown = self._split(stays - self._relied_on - self._over)
        if unknown:
            self._stays.rely_on(self._batch.id, unknown)
            self._relied_on |= self._split(unknown)

    def _split(self, ids: set[int]) -> set[int]:
        """Return those of these stays that are not over for the batch, and remember the others."""
        if not ids:
            return set()
        known = self._stays.by_id(ids).values()
        lasting = {stay.id for stay in known if not stay.is_over_for(self._batch.partition)}
        self._over |= ids - lasting
        return lasting


class KnownCopies:
    """Tells which items count by what was decided, without deciding anything.

    Where nothing was, or a block is gone that counted, the first copy that is met counts: profiles
    that do not hold it differ.
    """

    def __init__(self, copies: Copies, stays: Stays) -> None:
        self._copies, self._stays = copies, stays
        self._lasting: set[int] = set()
        self._over: set[int] = set()
        self._met: set[bytes] = set()

    def those_that_count(self, copies: CopiesRead) -> np.ndarray:
        """Tell of each copy whether it counts."""
        rows = list(copies.rows())
        holders = self._copies.holders({id_ for id_, _ in rows})
        unknown = {copy.stay for copy in holders.values()} - self._lasting - self._over
        known = self._stays.by_id(unknown).values() if unknown else ()
        self._lasting |= {stay.id for stay in known if not stay.state.is_over}
        self._over |= unknown - self._lasting
        return np.array([self._counts(id_, copy, holders.get(id_)) for id_, copy in rows], bool)

    def _counts(self, id_: bytes, copy: Copy, holder: Copy | None) -> bool:
        if holder and holder.stay in self._lasting:
            return holder == copy
        is_first = id_ not in self._met
        self._met.add(id_)
        return is_first
