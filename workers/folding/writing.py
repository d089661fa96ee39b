"""What a shard's fold works on: its claims and how they stand, and the profiles that it writes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple, TypeVar

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
from workers.ledger.records import PartitionKey
from workers.values import Document, FailedProfile

T = TypeVar("T")

CHUNK_PROFILES = 1_000  # read, folded and written at a time
CHUNKS_AT_ONCE = 2  # one is merged while another waits for MongoDB
MAX_TRIES = 20  # times a chunk may lose against other writers before the fold gives up


class Outdated(Exception):
    """The ledger has come to say something else than what was begun with."""


def each_chunk(profile_ids: Sequence[str], fold_chunk: Callable[[Sequence[str]], T]) -> Iterator[T]:
    """Fold chunks of profiles, some at once; what is left is not begun where one fails."""
    starts = range(0, len(profile_ids), CHUNK_PROFILES)
    chunks = [profile_ids[start : start + CHUNK_PROFILES] for start in starts]
    with ThreadPoolExecutor(CHUNKS_AT_ONCE) as pool:
        yield from pool.map(fold_chunk, chunks)


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
        self._deriving = Lock()  # the task's code need not know of threads

        self.changes = changes_of(ledger, task, claims)
        # Whether a slower run may still write: then an emptied profile stays as a fence, and
        # profiles hold one thing or the other.
        self.may_race = any(change.unfinished for change in self.changes)
        # In a collection without a past no profile can be there.
        newest = ledger.folded.newest_folded(asset.name, self.generation)
        self.may_exist = self.may_race or newest is not None
        # The newest epochs that were folded whole, of the partitions that profiles name.
        self._whole: dict[str, int] = {}

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
        self._ask_what_is_whole(totals)
        with self._deriving:
            shown = self.readers.all_shown([new.total for new in totals])
        writes: list[Write] = []
        for new, fields in zip(totals, shown, strict=True):
            self.failed_profiles.pop(new.id, None)
            try:
                if isinstance(fields, ProfileError):
                    raise fields
                writes += self._write(new, fields if new.total else {})
            except ProfileError as error:
                partitions = set(map(PartitionKey.partition_of, new.epochs))
                self.failed_profiles[new.id] = FailedProfile(
                    profile=new.id,
                    partitions=sorted(partitions),
                    field=error.field,
                    why=error.why,
                )
        return writes

    def _ask_what_is_whole(self, totals: Sequence[NewTotal]) -> None:
        """Ask the ledger about the partitions that stand in the bookkeeping of profiles."""
        named = {fold_key for new in totals for fold_key in self.epochs_of(new.before)}
        if unknown := named - self._whole.keys():
            partitions = sorted(set(map(PartitionKey.partition_of, unknown)))
            folded = self.ledger.folded
            whole = folded.whole_epochs(self.asset.name, self.generation, *partitions)
            self._whole |= dict.fromkeys(unknown, 0) | whole

    def _write(self, new: NewTotal, fields: Document) -> list[Write]:
        if not fields and not self.may_race:
            return delete_of(new.before)

        open_ = dict(new.epochs)
        for fold_key, epoch in self.epochs_of(new.before).items():
            if epoch > self._whole[fold_key]:
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
