"""Profiles in MongoDB: what of a document is Fanfold's, and its bookkeeping.

A document may have been there before, and may hold fields of others. Fanfold's are those of the
task, what its `derive` makes, and `_fold`, under which stands what else the next fold needs. They
are totals over all partitions.
"""

import zlib
from collections.abc import Collection as Names
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import bson
import msgspec
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection

from workers.contributions.accumulators import Accumulator
from workers.values import Document, Value

ENCODED: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
DECODED: CodecOptions[Document] = CodecOptions(tz_aware=True)

# A document in BSON begins with its length and `_id`, whose element has 10 bytes beside its text.
ID_BYTES = 4 + 10
FOLD_BEGINS = b"\x03_fold\0"
# Documents that Fanfold has written.
OURS: Document = {"_fold": {"$ne": None}}


class ProfileCollection(NamedTuple):
    """Where the documents of profiles are, and the field that holds the id of a profile."""

    documents: Collection[Document]
    key: str = "_id"


class OwnFields:
    """The names of the fields that are Fanfold's in the documents of an asset."""

    def __init__(
        self, declared: Iterable[str], known: Iterable[str] = (), beginning: Iterable[str] = ()
    ) -> None:
        self.declared = tuple(declared)
        # Of these, what a document said before Fanfold came counts.
        self.beginning = tuple(beginning)
        # With those that `derive` has made so far.
        self.names = frozenset((*self.declared, *known))

    def with_more(self, names: Names[str]) -> "OwnFields":
        """Return these and some that `derive` makes for the first time."""
        return OwnFields(self.declared, self.names.union(names), self.beginning)

    def of(self, fields: Mapping[str, Any]) -> Document:
        """Return those of a document's fields that are Fanfold's, in the order of writing."""
        declared = [name for name in self.declared if name in fields]
        others = sorted(name for name in fields if name in self.names and name not in declared)
        return {name: fields[name] for name in (*declared, *others)}

    def are_all(self, fields: Names[str]) -> bool:
        """Tell whether a document has no field of others."""
        return self.names.issuperset(fields)


class Bookkeeping(Value, frozen=True, kw_only=True):
    """What stands under `_fold`. A profile that does not exist yet has version 0."""

    # The rebuild that wrote it; what another generation wrote does not count.
    generation: int | None = None
    # Each write is one higher, and goes through only on the version that was read.
    version: int = 0
    # By fold key of a partition (see PartitionKey) the epoch of the claim whose contributions it
    # holds; of those only that were not known to be folded whole when it was written.
    open: dict[str, int] = msgspec.field(default_factory=dict)
    # The states of the fields of which readers do not see all.
    state: Accumulator = msgspec.field(default_factory=dict)
    # Whether the document was there before Fanfold came: then it is never deleted.
    adopted: bool = False
    # What it said by then, of fields that begin with it.
    begun: Accumulator = msgspec.field(default_factory=dict)
    # A checksum of the fields as they were written: nobody else has changed them since.
    check: int = -1

    @classmethod
    def from_fold(cls, fold: Document) -> "Bookkeeping":
        """Return the bookkeeping that `_fold` of a profile holds."""
        if "base" in fold:  # of before profiles held totals: what each partition said, with epochs
            open_ = {fold_key: part["epoch"] for fold_key, part in fold["open"].items()}
            return cls(generation=fold["generation"], version=fold["version"], open=open_)
        return cls.of(fold)

    def holds_more_than(self, whole: Mapping[str, int]) -> bool:
        """Tell whether it holds a fold that is newer than these epochs of its partition."""
        return any(epoch > whole.get(fold_key, 0) for fold_key, epoch in self.open.items())


class StoredProfile(NamedTuple):
    """A profile as it stands in MongoDB: its id, its document's fields, its bookkeeping."""

    id: str
    # Those of others too.
    fields: Document
    # An empty one where it was not asked for, or Fanfold has not written the document.
    bookkeeping: Bookkeeping
    # Whether there is such a document, and whether Fanfold has written it.
    exists: bool = True
    is_ours: bool = True
    # Whether Fanfold's fields are as it wrote them; False where the bookkeeping was not asked for.
    is_intact: bool = False

    @classmethod
    def from_document(cls, document: Document, key: str) -> "StoredProfile":
        """Return the profile that a document holds, with no more bookkeeping than it has."""
        profile_id = document.pop(key)
        document.pop("_id", None)
        begun = document.pop("_fold", {}).get("begun", {})
        return cls(profile_id, document, Bookkeeping(begun=begun))

    @classmethod
    def from_bson(cls, encoded: bytes, key: str, own: OwnFields) -> "StoredProfile":
        """Return the profile that a document of MongoDB holds."""
        fields = bson.decode(encoded, DECODED)
        profile_id = fields.pop(key)
        fields.pop("_id", None)
        fold = fields.pop("_fold", None)
        if fold is None:
            return cls(profile_id, fields, Bookkeeping(), is_ours=False)

        bookkeeping = Bookkeeping.from_fold(fold)
        is_intact = key == "_id" and checksum_as_inserted(encoded, profile_id) == bookkeeping.check
        if not is_intact:  # where others have added to the document, its fields lie anyhow
            is_intact = checksum(own.of(fields)) == bookkeeping.check
        return cls(profile_id, fields, bookkeeping, is_intact=is_intact)


ABSENT = StoredProfile("", {}, Bookkeeping(), exists=False, is_ours=False)


def checksum(fields: Mapping[str, Any]) -> int:
    """Return the checksum of fields, in their order."""
    return zlib.crc32(bson.encode(fields)[4:-1])


def checksum_as_inserted(encoded: bytes, profile_id: str) -> int:
    """Return the checksum of the fields between `_id` and `_fold` of a document in BSON."""
    start = ID_BYTES + len(profile_id.encode())
    return zlib.crc32(encoded[start : encoded.rfind(FOLD_BEGINS)])


def each_profile(profiles: ProfileCollection) -> Iterator[StoredProfile]:
    """Yield all profiles in the order of their ids, with what they began with."""
    names = ("generation", "version", "open", "state", "check", "adopted")
    left_out = {f"_fold.{name}": 0 for name in names}
    for document in profiles.documents.find(OURS, left_out).sort(profiles.key, 1):
        yield StoredProfile.from_document(document, profiles.key)


def everyone(profiles: ProfileCollection) -> Iterator[str]:
    """Yield the ids of all profiles."""
    for document in profiles.documents.find(OURS, {profiles.key: 1}):
        yield document[profiles.key]


def has_any(profiles: ProfileCollection) -> bool:
    """Tell whether there is any document, whoever wrote it."""
    return profiles.documents.find_one({}, {"_id": 1}) is not None


def read_profiles(
    profiles: ProfileCollection, profile_ids: Iterable[str], own: OwnFields
) -> dict[str, StoredProfile]:
    """Return those of these profiles of which there is a document, whoever wrote it."""
    return _found(profiles, {profiles.key: {"$in": list(profile_ids)}}, own)


def profiles_that_began(
    profiles: ProfileCollection, before: int, own: OwnFields
) -> dict[str, StoredProfile]:
    """Return the profiles of generations before one that began with what a document said."""
    query = {"_fold.generation": {"$lt": before}, "_fold.begun": {"$ne": None}}
    return _found(profiles, query, own)


def profiles_left(
    profiles: ProfileCollection, profile_ids: Sequence[str], generation: int, own: OwnFields
) -> dict[str, StoredProfile]:
    """Return those of these profiles of which there is a document, but of no such generation."""
    is_earlier = [{"_fold": None}, {"_fold.generation": {"$lt": generation}}]
    return _found(profiles, {profiles.key: {"$in": list(profile_ids)}, "$or": is_earlier}, own)


def _found(
    profiles: ProfileCollection, query: Document, own: OwnFields
) -> dict[str, StoredProfile]:
    encoded = profiles.documents.with_options(codec_options=ENCODED)
    stored = (
        StoredProfile.from_bson(bytes(document.raw), profiles.key, own)
        for document in encoded.find(query)
    )
    return {profile.id: profile for profile in stored}


def known_of(
    profiles: ProfileCollection, profile_ids: Sequence[str], fields: Sequence[str]
) -> list[Document]:
    """Return some fields of each of these profiles, in the same order; {} where there is none."""
    documents, key = profiles
    projection = dict.fromkeys((key, *fields), 1)
    found = documents.find({key: {"$in": list(profile_ids)}}, projection)
    known = {document[key]: document for document in found}
    return [known.get(profile_id, {}) for profile_id in profile_ids]


def unknown_of(profiles: ProfileCollection, profile_ids: Names[str]) -> set[str]:
    """Return those of these ids that no document has."""
    documents, key = profiles
    found = documents.find({key: {"$in": list(profile_ids)}}, {"_id": 0, key: 1})
    return set(profile_ids) - {document[key] for document in found}


def read_epochs(
    profiles: ProfileCollection, profile_ids: Sequence[str], generation: int
) -> list[Mapping[str, int]]:
    """Return the different epochs in the bookkeeping of profiles of a generation."""
    documents, key = profiles
    query = {key: {"$in": list(profile_ids)}, "_fold.generation": generation}
    found: dict[tuple[Any, ...], Mapping[str, int]] = {}
    for document in documents.find(query, {"_fold": 1}):
        open_ = Bookkeeping.from_fold(document["_fold"]).open
        found[tuple(sorted(open_.items()))] = open_
    return list(found.values())


def why_unfit(profiles: ProfileCollection, is_new: bool) -> str:
    """Return why a collection cannot hold profiles, and the way out; "" where it can.

    `is_new` says that no profile was ever written to it.
    """
    documents, key = profiles
    name = documents.name
    (info, *_) = [*documents.database.list_collections(filter={"name": name}), {}]
    options = info.get("options", {})
    if info.get("type") in ("view", "timeseries") or options.get("capped"):
        kind = "capped" if options.get("capped") else f"a {info['type']}"
        return f"the collection {name} is {kind}, and profiles need one whose documents can change"

    if key != "_id" and not _has_unique_index(documents, key):
        return (
            f"the collection {name} has no unique index on {key}, by which profiles are found: "
            f"db.{name}.createIndex({{{key}: 1}}, {{unique: true}}) makes one"
        )
    others = {"_id": {"$type": ["objectId", "number", "binData"]}}
    if key == "_id" and is_new and documents.find_one(others, {"_id": 1}):
        return (
            f"the documents of {name} have an _id that is no text, so that no profile's id is "
            "one: say which field holds it with key=..., or have a collection of your own"
        )
    return ""


def _has_unique_index(documents: Collection[Document], key: str) -> bool:
    indexes = documents.index_information().values()
    return any(
        [name for name, _ in index["key"]] == [key]
        and index.get("unique")
        and "partialFilterExpression" not in index  # it says nothing of other documents
        for index in indexes
    )
