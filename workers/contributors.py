"""What a profile is made of: the results in S3 that mention it, and what each says of it.

Of a result no more is read than its footer, and the parts that may hold the profile.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from workers.contributions.accumulators import (
    Accumulator,
    Contributed,
    merge_accumulators,
    read_profile,
)
from workers.contributions.fields import Gone, to_key
from workers.contributions.readers import Readers
from workers.contributions.results import Merger
from workers.contributions.tables import TEXTS
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Refused
from workers.folding.holdings import Holdings, Part
from workers.ledger.ledger import Ledger
from workers.ledger.profiles import OwnFields, StoredProfile, read_profiles
from workers.ledger.records import PartitionKey
from workers.sources.formats.containers.groups import S3File
from workers.store import REQUESTS_AT_ONCE, BlockStore
from workers.values import Document


class Contributor(NamedTuple):
    """A batch that says something of a profile, and what."""

    partition: str
    batch: str
    said: Accumulator
    # Whether its partition was folded whole: another run may be at it.
    is_folded: bool


class Made(NamedTuple):
    """A profile, and what it is made of."""

    profile: StoredProfile
    # Its fields that are Fanfold's, and those of others.
    fields: Document
    others: Document
    # In the order of their partitions.
    contributors: list[Contributor]
    # The partitions of results that are no longer in S3: any of them may have mentioned it.
    lost: list[str]
    results: int
    bytes_read: int

    def total(self, task: Task) -> Accumulator:
        """Return what it began with and its contributors say, merged."""
        return _merged(task, self.contributors, self.profile.bookkeeping.begun)

    def said_by(self, task: Task, contributors: Sequence[Contributor]) -> Document:
        """Return what readers see of what some of its contributors say."""
        return shown_of(task, _merged(task, contributors, {}))

    def began_with(self, task: Task) -> Document:
        """Return what readers see of what its document said before Fanfold came."""
        return shown_of(task, self.profile.bookkeeping.begun)


class Question(NamedTuple):
    """What is asked of a profile: all of it, a field, or a key of a field's map."""

    profile_id: str
    field: str = ""
    key: str = ""

    @classmethod
    def of_text(cls, task: Task, made: Made, text: str) -> "Question":
        """Return the question that a field's name asks, or one like `topics.Drama`."""
        profile_id = made.profile.id
        if not text:
            return cls(profile_id)

        name, has_key, key = text.partition(".")
        fields = {name: field for name, field in task.fields.items() if not isinstance(field, Gone)}
        if name in made.fields and name not in task.fields:
            raise Refused(f"{name} is derived; it is made of {', '.join(fields)}: ask for those")
        if name not in fields:
            raise Refused(f"profiles have no field {name!r}; items say {', '.join(fields)}")
        if has_key and not fields[name].keyed:
            raise Refused(f"{name} is one value, and has no {key!r}")
        return cls(profile_id, name, to_key(key))

    def part_of(self, said: Accumulator) -> Accumulator:
        """Return what of all that is said of the profile answers the question."""
        if not self.field:
            return said
        if self.field not in said:
            return {}
        state = said[self.field]
        if not self.key:
            return {self.field: state}
        return {self.field: {self.key: state[self.key]}} if self.key in state else {}


def made_of(asset: Asset, task: Task, ledger: Ledger, store: BlockStore, profile_id: str) -> Made:
    """Return a profile and what it is made of; Refused where there is none."""
    own = ledger.own_fields(asset.name, Readers(task.fields, task.derive).names)
    profile = _profile(asset, ledger, own, profile_id)

    holdings = Holdings(ledger, task, asset.name, ledger.claims.generation(asset.name))
    open_ = profile.bookkeeping.open
    by_partition = sorted(holdings.of(open_).items())
    unfinished = holdings.unfinished(open_)
    parts = [part for _, parts in by_partition for part in sorted(parts)]
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        looked = list(pool.map(partial(_look, store, task, profile_id), parts))

    contributors = [
        Contributor(
            partition=PartitionKey.partition_of(part.fold_key),
            batch=part.batch,
            said=look.said,
            is_folded=part.fold_key not in unfinished,
        )
        for part, look in zip(parts, looked, strict=True)
        if look.said
    ]
    fields = own.of(profile.fields)
    return Made(
        profile=profile,
        fields=fields,
        others={name: value for name, value in profile.fields.items() if name not in fields},
        contributors=contributors,
        lost=_lost(parts, looked),
        results=len(parts),
        bytes_read=sum(look.bytes_read for look in looked),
    )


def _profile(asset: Asset, ledger: Ledger, own: OwnFields, profile_id: str) -> StoredProfile:
    stored = read_profiles(ledger.profiles(asset.name), [profile_id], own)
    if profile_id not in stored:
        raise Refused(f"{asset.name} has no profile {profile_id!r}")
    profile = stored[profile_id]
    if not profile.is_ours:
        raise Refused(
            f"{asset.name}: no item says anything of {profile_id!r}; its document is of others"
        )
    return profile


class _Look(NamedTuple):
    """What a look into a result found."""

    said: Accumulator
    bytes_read: int
    is_lost: bool = False


def _look(store: BlockStore, task: Task, profile_id: str, part: Part) -> _Look:
    """Return what a result says of a profile."""
    result = next((block for block in store.list(part.s3_key) if block.key == part.s3_key), None)
    if result is None:
        return _Look({}, 0, is_lost=True)

    raw = S3File(store, result)
    file = pq.ParquetFile(pa.PythonFile(raw, mode="r"), read_dictionary=TEXTS)
    table = read_profile(file, profile_id)
    merger = Merger(task.fields)
    if table.num_rows:
        merger.add_table(table.combine_chunks())
    said = Contributed(merger.merged()).all()
    return _Look(said.get(profile_id, {}), raw.bytes_read)


def _lost(parts: Sequence[Part], looked: Sequence[_Look]) -> list[str]:
    lost = {part.fold_key for part, look in zip(parts, looked, strict=True) if look.is_lost}
    return sorted(set(map(PartitionKey.partition_of, lost)))


def _merged(
    task: Task, contributors: Sequence[Contributor], accumulator: Accumulator
) -> Accumulator:
    for contributor in contributors:
        accumulator = merge_accumulators(task.fields, accumulator, contributor.said)
    return accumulator


def shown_of(task: Task, said: Accumulator) -> Document:
    """Return what readers see of what is said, of those fields alone of which anything is."""
    return {
        name: field.to_reader(said[name]) for name, field in task.fields.items() if name in said
    }
