"""The bookkeeping of profiles in MongoDB, and writes that go through only where nobody wrote since.

A profile document holds its fields at the top level for readers, and under `_fold` what it is
made of: the contributions of open partitions, and the base that older ones have merged into.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import bson
import msgspec
from bson.errors import InvalidDocument, InvalidStringData
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from workers.contributions.accumulators import Accumulator, ProfileError, merge_accumulators
from workers.contributions.fields import Fields
from workers.ledger.mongo import only_duplicates
from workers.values import Document, Value

MAX_DOCUMENT_BYTES = 16 << 20  # of a document in MongoDB

UNWRITABLE = (OverflowError, InvalidDocument, InvalidStringData, UnicodeEncodeError)

Write = DeleteOne | InsertOne[Any] | ReplaceOne[Any]


class OpenPartition(Value, frozen=True, kw_only=True):
    """What one open partition says about a profile."""

    partition: str
    # The epoch of the claim that wrote it; a lower one never overwrites it.
    epoch: int
    fields: Accumulator


class Bookkeeping(Value, frozen=True, kw_only=True):
    """What a profile is made of. A profile that does not exist yet has version 0."""

    # The rebuild that wrote it; what another generation wrote does not count.
    generation: int | None = None
    # Each write is one higher, and goes through only on the version that was read.
    version: int = 0
    base: Accumulator = msgspec.field(default_factory=dict)
    # By fold key of the partition, see PartitionKey.
    open: dict[str, OpenPartition] = msgspec.field(default_factory=dict)
    # The first and the last partition that the base holds.
    merged: list[str] = msgspec.field(default_factory=list)

    @classmethod
    def from_profile(cls, profile: Document) -> "Bookkeeping":
        """Return the bookkeeping of a profile document."""
        return cls.of(profile["_fold"])

    def total(self, fields: Fields) -> Accumulator:
        """Return all that the profile is made of, merged."""
        total = self.base
        for part in self.open.values():
            total = merge_accumulators(fields, total, part.fields)
        return total

    def to_document(self) -> Document:
        """Return what stands under `_fold`."""
        document: Document = {
            "generation": self.generation,
            "version": self.version,
            "base": self.base,
            "open": {key: msgspec.structs.asdict(part) for key, part in self.open.items()},
        }
        if self.merged:
            document["merged"] = self.merged
        return document


class StoredProfile(NamedTuple):
    """A profile as it stands in MongoDB: its id, its fields as readers see them, its bookkeeping.

    The bookkeeping is an empty one where it was not asked for.
    """

    id: str
    fields: Document
    bookkeeping: Bookkeeping

    @classmethod
    def from_document(cls, document: Document) -> "StoredProfile":
        """Return the profile that a document of MongoDB holds."""
        fields = {name: v for name, v in document.items() if name not in ("_id", "_fold")}
        has_fold = "_fold" in document
        bookkeeping = Bookkeeping.from_profile(document) if has_fold else Bookkeeping()
        return cls(document["_id"], fields, bookkeeping)


def each_profile(profiles: Collection[Document], with_bookkeeping: bool) -> Iterator[StoredProfile]:
    """Yield all profiles in the order of their ids."""
    projection = None if with_bookkeeping else {"_fold": 0}
    documents = profiles.find({}, projection).sort("_id", 1)
    return map(StoredProfile.from_document, documents)


def profiles_by_id(
    profiles: Collection[Document], profile_ids: Iterable[str]
) -> dict[str, StoredProfile]:
    """Return those of these profiles that exist."""
    documents = profiles.find({"_id": {"$in": list(profile_ids)}})
    return {document["_id"]: StoredProfile.from_document(document) for document in documents}


def known_of(
    profiles: Collection[Document], profile_ids: Sequence[str], fields: Sequence[str]
) -> list[Document]:
    """Return some fields of each of these profiles, in the same order; {} where there is none."""
    projection = dict.fromkeys(fields, 1)
    documents = profiles.find({"_id": {"$in": list(profile_ids)}}, projection)
    known = {document["_id"]: document for document in documents}
    return [known.get(profile_id, {}) for profile_id in profile_ids]


def read_bookkeeping(
    profiles: Collection[Document], profile_ids: Iterable[str]
) -> dict[str, Bookkeeping]:
    """Return the bookkeeping of those of these profiles that exist."""
    documents = profiles.find({"_id": {"$in": list(profile_ids)}}, {"_fold": 1})
    return {document["_id"]: Bookkeeping.from_profile(document) for document in documents}


def profiles_holding(profiles: Collection[Document], fold_key: str) -> list[str]:
    """Return the ids of the profiles that hold contributions under a fold key."""
    documents = profiles.find({f"_fold.open.{fold_key}": {"$exists": True}}, {"_id": 1})
    return [document["_id"] for document in documents]


def write_of(
    profile_id: str, read: Bookkeeping | None, fields: Mapping[str, Any], new: Bookkeeping | None
) -> Write:
    """Return the write that leaves a profile with these fields; without `new` it is deleted.

    ProfileError where MongoDB cannot hold it.
    """
    if read is None:
        assert new is not None
        return InsertOne(encode_profile(profile_id, fields, new))

    as_read = {
        "_id": profile_id,
        "_fold.version": read.version,
        "_fold.generation": read.generation,
    }
    if new is None:
        return DeleteOne(as_read)
    return ReplaceOne(as_read, encode_profile(profile_id, fields, new))


def write_all(profiles: Collection[Document], writes: Sequence[Write]) -> bool:
    """Write profiles; False where another writer was faster with one of them."""
    guarded = sum(not isinstance(write, InsertOne) for write in writes)
    try:
        result = profiles.bulk_write(writes, ordered=False)
    except BulkWriteError as error:
        if not only_duplicates(error):
            raise
        return False
    return result.matched_count + result.deleted_count == guarded


def encode_profile(
    profile_id: str, fields: Mapping[str, Any], bookkeeping: Bookkeeping
) -> RawBSONDocument:
    """Return a profile as MongoDB gets it; ProfileError where it cannot."""
    document = {"_id": profile_id, **fields, "_fold": bookkeeping.to_document()}
    try:
        encoded = bson.encode(document)
    except UNWRITABLE as error:
        raise ProfileError(_largest_field(fields), str(error)) from error

    if len(encoded) > MAX_DOCUMENT_BYTES:
        readers_bytes = len(bson.encode({"_id": profile_id, **fields}))
        raise ProfileError(
            _largest_field(fields),
            f"the profile would have {len(encoded):,} bytes, and MongoDB holds "
            f"{MAX_DOCUMENT_BYTES:,}; readers see {readers_bytes:,} of them, and the others are "
            "what each open partition says (`_fold`)",
        )
    return RawBSONDocument(encoded)


def _largest_field(fields: Mapping[str, Any]) -> str:
    """Return the field that takes most, or the first that cannot be written at all."""
    sizes = {}
    for name, value in fields.items():
        try:
            sizes[name] = len(bson.encode({name: value}))
        except UNWRITABLE:
            return name
    return max(sizes, key=lambda name: sizes[name], default="_fold")
