"""What a shard's fold works on: its claims and how they stand, and the profiles that it writes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple, TypeVar

from workers.contributions.accumulators import Accumulator, merge_accumulators
from workers.contributions.readers import ProfileError, Readers
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Unavailable
from workers.folding.holdings import Change, changes_of
from workers.ledger.claims import Claim
from workers.ledger.ledger import Ledger
from workers.ledger.profile_writes import Write, delete_of, write_all, write_of
from workers.ledger.profiles import (
    ABSENT,
    Bookkeeping,
    OwnFields,
    ProfileCollection,
    StoredProfile,
    has_any,
    read_profiles,
)
from workers.ledger.records import PartitionKey
from workers.values import Document, FailedProfile

T = TypeVar("T")

CHUNK_PROFILES = 1_000  # read, folded and written at a time
CHUNKS_AT_ONCE = 2  # one is merged while another waits for MongoDB
MAX_TRIES = 20  # times a chunk may lose against other writers before the fold gives up


class Outdated(Exception):
    """The ledger has come to say something else than what was begun with."""


def _is_of_others(profile: StoredProfile) -> bool:
    """Tell whether there is a document that Fanfold has not written yet."""
    return profile.exists and not profile.is_ours


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

    @property
    def partitions(self) -> list[str]:
        """The partitions of the claims."""
        return sorted(set(map(PartitionKey.partition_of, self.epochs)))


class ProfileWriter:
    """Makes the writes of profiles for the claims of a shard."""

    def __init__(
        self,
        asset: Asset,
        task: Task,
        ledger: Ledger,
        profiles: ProfileCollection,
        claims: Sequence[Claim],
    ) -> None:
        self.asset, self.task, self.ledger = asset, task, ledger
        self.profiles, self.claims = profiles, claims
        self.generation = max((claim.generation for claim in claims), default=0)
        self.readers = Readers(task.fields, task.derive)
        self._recorded = frozenset(ledger.claims.own_fields(asset.name))
        self.own = OwnFields(self.readers.names, self._recorded, self.readers.beginning)
        self.failed_profiles: dict[str, FailedProfile] = {}
        # Of documents that others had written before: how many values of theirs gave way.
        self.adopted: dict[str, int] = {}
        self._deriving = Lock()  # the task's code need not know of threads

        self.changes = changes_of(ledger, task, claims)
        # Whether a slower run may still write: then an emptied profile stays as a fence, and
        # profiles hold one thing or the other.
        self.may_race = any(change.unfinished for change in self.changes)
        # Those that a rebuild is about to replace: profiles begin with what these began with.
        current = ledger.profiles(asset.name)
        self.begun_in = current if self.readers.beginning and current != profiles else None
        # In an empty collection no profile can be there.
        self.may_exist = self.may_race or has_any(profiles) or self.begun_in is not None
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

    def read(self, profile_ids: Sequence[str]) -> dict[str, StoredProfile]:
        """Return what is known of these profiles: their documents, and what they begin with."""
        stored = read_profiles(self.profiles, profile_ids, self.own)
        if self.begun_in is not None:
            absent = [profile_id for profile_id in profile_ids if profile_id not in stored]
            for profile in read_profiles(self.begun_in, absent, self.own).values():
                begun = Bookkeeping(begun=profile.bookkeeping.begun)
                said = {} if profile.is_ours else profile.fields
                stored[profile.id] = ABSENT._replace(id=profile.id, fields=said, bookkeeping=begun)
        return stored

    def begun(self, profile: StoredProfile) -> Accumulator:
        """Return what a profile began with, or is to begin with; ProfileError as Readers' begun."""
        is_known = profile.is_ours or profile.bookkeeping.begun
        return profile.bookkeeping.begun if is_known else self.readers.begun(profile.fields)

    def with_begun(self, profile: StoredProfile, said: Accumulator) -> Accumulator:
        """Return what results say of a profile, with what it begins with.

        Without the latter where that cannot be read: then the write says so.
        """
        try:
            begun = self.begun(profile)
        except ProfileError:
            return said
        return merge_accumulators(self.task.fields, begun, said) if begun else said

    def write(self, totals: Sequence[NewTotal]) -> bool:
        """Write new totals of profiles, but those that cannot be held; False to read once more."""
        writes = self._writes(totals)
        written = write_all(self.profiles, writes)
        by_id = {new.id: new for new in totals}
        for profile_id, why in written.refused.items():
            self._fail(by_id[profile_id], ProfileError("the document", why))
        if written.is_lost:
            return False

        for profile_id, *_ in writes:
            before = by_id[profile_id].before
            if _is_of_others(before) and profile_id not in written.refused:
                begun = self.readers.begun(before.fields).keys()
                self.adopted[profile_id] = len(self.own.of(before.fields).keys() - begun)
        return True

    def _writes(self, totals: Sequence[NewTotal]) -> list[Write]:
        """Return the writes that leave profiles with totals; none of those that cannot be held."""
        self._ask_what_is_whole(totals)
        with self._deriving:
            shown = self.readers.all_shown([new.total for new in totals])
            self._own(shown)
        writes: list[Write] = []
        for new, fields in zip(totals, shown, strict=True):
            self.failed_profiles.pop(new.id, None)
            try:
                if isinstance(fields, ProfileError):
                    raise fields
                writes += self._write(new, fields if new.total else {})
            except ProfileError as error:
                self._fail(new, error)
        return writes

    def _own(self, shown: Sequence[Document | ProfileError]) -> None:
        """Record the fields that are written for the first time, before they are."""
        names = {name for fields in shown if isinstance(fields, dict) for name in fields}
        if new := names - self._recorded:
            self.ledger.claims.add_own_fields(self.asset.name, new)
            self._recorded |= new
            self.own = self.own.with_more(new)

    def _fail(self, new: NewTotal, error: ProfileError) -> None:
        self.failed_profiles[new.id] = FailedProfile(
            profile=new.id, partitions=new.partitions, field=error.field, why=error.why
        )

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
            return delete_of(self.profiles.key, new.before, self.own)

        open_ = dict(new.epochs)
        for fold_key, epoch in self.epochs_of(new.before).items():
            if epoch > self._whole[fold_key]:
                open_.setdefault(fold_key, epoch)
        bookkeeping = Bookkeeping(
            generation=self.generation,
            version=new.before.bookkeeping.version + 1,
            open=open_,
            state=self.readers.hidden(new.total),
            adopted=new.before.bookkeeping.adopted or _is_of_others(new.before),
            begun=self.begun(new.before),
        )
        key = self.profiles.key
        return [write_of(key, new.id, new.before, fields, bookkeeping, self.own)]

    def contended(self) -> Unavailable:
        """Return the error of a fold that always loses against other writers."""
        return Unavailable(
            f"{self.asset.name}: other writers kept changing the same profiles; run again"
        )
