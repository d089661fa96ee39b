"""What a shard's fold works on: its claims and how they stand, and the profiles that it writes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pymongo.collection import Collection

from workers.contributions.accumulators import Accumulator
from workers.contributions.readers import ProfileError, Readers
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Unavailable
from workers.folding.holdings import Change, changes_of
from workers.ledger.claims import Claim
from workers.ledger.ledger import Ledger
from workers.ledger.profiles import (
    Bookkeeping,
    StoredProfile,
    Write,
    delete_of,
    write_of,
)
from workers.values import Document, FailedProfile

CHUNK_PROFILES = 1_000  # read, folded and written at a time
MAX_TRIES = 20  # times a chunk may lose against other writers before the fold gives up


class Outdated(Exception):
    """The ledger has come to say something else than what was begun with."""


class NewTotal(NamedTuple):
    """What a profile is to say, and the epochs of the claims that it then holds."""

    id: str
    before: StoredProfile
    total: Accumulator
    epochs: Mapping[str, int]


class ProfileWriter:
    """Makes the writes of profiles for the claims of a shard."""

    def __init__(
        self,
        asset: Asset,
        task: Task,
        ledger: Ledger,
        profiles: Collection[Document],
        claims: Sequence[Claim],
    ) -> None:
        self.asset, self.task, self.ledger = asset, task, ledger
        self.profiles, self.claims = profiles, claims
        self.generation = max((claim.generation for claim in claims), default=0)
        self.readers = Readers(task.fields, task.derive)
        self.failed_profiles: dict[str, FailedProfile] = {}

        self.changes = changes_of(ledger, task, claims)
        # Whether a slower run may still write: then an emptied profile stays as a fence, and
        # profiles hold one thing or the other.
        self.may_race = any(change.unfinished for change in self.changes)
        self._whole = ledger.folded.whole_epochs(asset.name, self.generation)
        # In a collection without a past no profile can be there.
        self.may_exist = self.may_race or bool(self._whole)

    def live(self) -> dict[Change, int]:
        """Return the changes whose claims are live, with what of their partitions is whole."""
        standings = self.ledger.claims.standings(self.claims)
        changes = ((change, standings[change.claim.key]) for change in self.changes)
        return {change: standing.whole for change, standing in changes if standing.is_live}

    def epochs_of(self, profile: StoredProfile) -> Mapping[str, int]:
        """Return the epochs in a profile's bookkeeping, unless another generation wrote it."""
        is_ours = profile.bookkeeping.generation == self.generation
        return profile.bookkeeping.open if is_ours else {}

    def writes(self, totals: Sequence[NewTotal]) -> list[Write]:
        """Return the writes that leave profiles with totals; none of those that cannot be held."""
        shown = self.readers.all_shown([new.total for new in totals])
        writes: list[Write] = []
        for new, fields in zip(totals, shown, strict=True):
            self.failed_profiles.pop(new.id, None)
            try:
                if isinstance(fields, ProfileError):
                    raise fields
                writes += self._write(new, fields if new.total else {})
            except ProfileError as error:
                partitions = {fold_key.partition("~")[0] for fold_key in new.epochs}
                self.failed_profiles[new.id] = FailedProfile(
                    profile=new.id,
                    partitions=sorted(partitions),
                    field=error.field,
                    why=error.why,
                )
        return writes

    def _write(self, new: NewTotal, fields: Document) -> list[Write]:
        if not fields and not self.may_race:
            return delete_of(new.before)

        open_ = dict(new.epochs)
        for fold_key, epoch in self.epochs_of(new.before).items():
            if epoch > self._whole.get(fold_key, 0):
                open_.setdefault(fold_key, epoch)
        bookkeeping = Bookkeeping(
            generation=self.generation,
            version=new.before.bookkeeping.version + 1,
            open=open_,
            state=self.readers.hidden(new.total),
        )
        return [write_of(new.id, new.before, fields, bookkeeping)]

    def contended(self) -> Unavailable:
        """Return the error of a fold that always loses against other writers."""
        return Unavailable(
            f"{self.asset.name}: other writers kept changing the same profiles; run again"
        )
