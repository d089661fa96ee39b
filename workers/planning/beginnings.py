"""What profiles began with, where a rebuild's take the place of those that are there.

A rebuild reads it when it folds. Until its profiles are in their place, runs and applications may
have come to say something else.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from workers.contributions.accumulators import Accumulator, merge_accumulators
from workers.contributions.exchange import Unknowable, exchanged
from workers.contributions.readers import ProfileError, Readers
from workers.declare.task import Task
from workers.errors import Unavailable
from workers.ledger.ledger import Ledger
from workers.ledger.profile_writes import Write, write_all, write_of
from workers.ledger.profiles import (
    Bookkeeping,
    OwnFields,
    ProfileCollection,
    StoredProfile,
    profiles_left,
    profiles_that_began,
    read_profiles,
)
from workers.values import Document

PROFILES_AT_ONCE = 1_000
MAX_TRIES = 20  # times that an application may change documents while they are written


@dataclass
class Beginnings:
    """Profiles of an asset that began with what documents said, in the generation of a rebuild."""

    asset: str
    task: Task
    ledger: Ledger
    readers: Readers
    profiles: ProfileCollection
    generation: int
    own: OwnFields

    def take_up(self, rebuilt: ProfileCollection) -> None:
        """Put rebuilt profiles into the documents that came to begin otherwise meanwhile."""
        for ids in _each_some(each["_id"] for each in rebuilt.documents.find({}, {"_id": 1})):
            for _ in range(MAX_TRIES):
                left = profiles_left(self.profiles, ids, self.generation, self.own)
                new = read_profiles(rebuilt, list(left), self.own)
                writes = [self._begun_anew(profile, new[id_]) for id_, profile in left.items()]
                if not write_all(self.profiles, [each for each in writes if each]).is_lost:
                    break
            else:
                raise Unavailable(
                    f"{self.asset}: others kept changing the documents that profiles begin with; "
                    "run again"
                )

    def _begun_anew(self, profile: StoredProfile, new: StoredProfile) -> Write | None:
        """Return the write of a rebuilt profile that begins with what its document says by now.

        None where that is of another kind than the field: then the document stays as it is.
        """
        try:
            begun = profile.bookkeeping.begun
            if not profile.is_ours:
                begun = self.readers.begun(profile.fields)
            begun, total = self._total(new, begun)
            return self._write(profile, begun, total, new.bookkeeping)
        except ProfileError:
            return None

    def _total(self, new: StoredProfile, begun: Accumulator) -> tuple[Accumulator, Accumulator]:
        """Return what a rebuilt profile begins with, and its total with that."""
        total = self.readers.states(new.fields) | new.bookkeeping.state
        before = new.bookkeeping.begun
        if not before:
            return begun, merge_accumulators(self.task.fields, begun, total)
        try:
            return begun, exchanged(self.task.fields, total, before, begun)
        except Unknowable:  # what the rebuild has met counts
            return before, total

    def keep(self) -> None:
        """Leave profiles of which no item says anything with what they began with."""
        began = profiles_that_began(self.profiles, self.generation, self.own)
        for profile in began.values():
            begun = profile.bookkeeping.begun
            write_all(self.profiles, [self._write(profile, begun, begun, Bookkeeping())])

    def _write(
        self, profile: StoredProfile, begun: Accumulator, total: Accumulator, new: Bookkeeping
    ) -> Write:
        shown = self.readers.shown(total)
        self._own(shown)
        bookkeeping = Bookkeeping(
            generation=self.generation,
            version=profile.bookkeeping.version + 1,
            open=new.open,
            state=self.readers.hidden(total),
            adopted=profile.bookkeeping.adopted or not profile.is_ours,
            begun=begun,
        )
        return write_of(self.profiles.key, profile.id, profile, shown, bookkeeping, self.own)

    def _own(self, shown: Document) -> None:
        """Record fields that `derive` makes for the first time, before they are written."""
        if new := shown.keys() - self.own.names:
            self.ledger.claims.add_own_fields(self.asset, new)
            self.own = self.own.with_more(new)


def _each_some(ids: Iterator[str]) -> Iterable[Sequence[str]]:
    return iter(lambda: list(islice(ids, PROFILES_AT_ONCE)), [])
