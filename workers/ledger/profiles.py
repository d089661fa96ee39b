"""The bookkeeping of profiles in MongoDB, and writes that go through only where nobody wrote since.

A profile document holds its fields at the top level for readers, as totals over all partitions.
Under `_fold` stands what else the next fold needs.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import bson
import msgspec
from bson import Int64
from bson.codec_options import CodecOptions
from bson.errors import InvalidDocument, InvalidStringData
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from workers.contributions.accumulators import Accumulator
from workers.contributions.readers import ProfileError
from workers.ledger.mongo import only_duplicates
from workers.values import Document, Value

MAX_DOCUMENT_BYTES = 16 << 20  # of a document in MongoDB

ENCODED: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
DECODED: CodecOptions[Document] = CodecOptions(tz_aware=True)

# A document in BSON begins with its length and `_id`, whose element has 10 bytes beside its text;
# ours end with `_fold`, and that with `check`, of 64 bits, and a zero for each of the two.
ID_BYTES = 4 + 10
FOLD_BEGINS = b"\x03_fold\0"
CHECK = slice(-10, -2)

UNWRITABLE = (OverflowError, InvalidDocument, InvalidStringData, UnicodeEncodeError)

Write = DeleteOne | InsertOne[Any] | ReplaceOne[Any]


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
    # A checksum of the fields as they were written: nobody else has changed them since.
    check: int = -1

    @classmethod
    def from_fold(cls, fold: Document) -> "Bookkeeping":
        """Return the bookkeeping that `_fold` of a profile holds."""
        if "base" in fold:  # of before profiles held totals: what each partition said, with epochs
            open_ = {fold_key: part["epoch"] for fold_key, part in fold["open"].items()}
            return cls(generation=fold["generation"], version=fold["version"], open=open_)
        return cls.of(fold)


class EncodedProfile(RawBSONDocument):
    """A profile in BSON. PyMongo asks whether it is empty, and would decode it whole to know."""

    def __bool__(self) -> bool:
        return True


class StoredProfile(NamedTuple):
    """A profile as it stands in MongoDB: its id, its fields as readers see them, its bookkeeping.

    The bookkeeping is an empty one where it was not asked for, or there is no such profile.
    """

    id: str
    fields: Document
    bookkeeping: Bookkeeping
    exists: bool = True
    # Whether the fields are as Fanfold wrote them; False where the bookkeeping was not asked for.
    is_intact: bool = False

    @classmethod
    def from_document(cls, document: Document) -> "StoredProfile":
        """Return the profile that a document of MongoDB holds, without its bookkeeping."""
        profile_id = document.pop("_id")
        return cls(profile_id, document, Bookkeeping())

    @classmethod
    def from_bson(cls, encoded: bytes) -> "StoredProfile":
        """Return the profile that a document of MongoDB holds."""
        fields = bson.decode(encoded, DECODED)
        profile_id = fields.pop("_id")
        bookkeeping = Bookkeeping.from_fold(fields.pop("_fold", {}))
        is_intact = bookkeeping.check == checksum(encoded, profile_id)
        return cls(profile_id, fields, bookkeeping, is_intact=is_intact)


ABSENT = StoredProfile("", {}, Bookkeeping(), exists=False)


def checksum(encoded: bytes, profile_id: str) -> int:
    """Return the checksum of the fields of a profile in BSON."""
    return zlib.crc32(encoded[ID_BYTES + len(profile_id.encode()) : encoded.rfind(FOLD_BEGINS)])


def each_profile(profiles: Collection[Document]) -> Iterator[StoredProfile]:
    """Yield all profiles in the order of their ids, without their bookkeeping."""
    documents = profiles.find({}, {"_fold": 0}).sort("_id", 1)
    return map(StoredProfile.from_document, documents)


def everyone(profiles: Collection[Document]) -> Iterator[str]:
    """Yield the ids of all profiles."""
    for document in profiles.find({}, {"_id": 1}):
        yield document["_id"]


def read_profiles(
    profiles: Collection[Document], profile_ids: Iterable[str]
) -> dict[str, StoredProfile]:
    """Return those of these profiles that exist."""
    encoded = profiles.with_options(codec_options=ENCODED)
    documents = encoded.find({"_id": {"$in": list(profile_ids)}})
    stored = (StoredProfile.from_bson(bytes(document.raw)) for document in documents)
    return {profile.id: profile for profile in stored}


def known_of(
    profiles: Collection[Document], profile_ids: Sequence[str], fields: Sequence[str]
) -> list[Document]:
    """Return some fields of each of these profiles, in the same order; {} where there is none."""
    projection = dict.fromkeys(fields, 1)
    documents = profiles.find({"_id": {"$in": list(profile_ids)}}, projection)
    known = {document["_id"]: document for document in documents}
    return [known.get(profile_id, {}) for profile_id in profile_ids]


def read_epochs(
    profiles: Collection[Document], profile_ids: Sequence[str], generation: int
) -> list[Mapping[str, int]]:
    """Return the different epochs in the bookkeeping of profiles of a generation."""
    query = {"_id": {"$in": list(profile_ids)}, "_fold.generation": generation}
    found: dict[tuple[Any, ...], Mapping[str, int]] = {}
    for document in profiles.find(query, {"_fold": 1}):
        open_ = Bookkeeping.from_fold(document["_fold"]).open
        found[tuple(sorted(open_.items()))] = open_
    return list(found.values())


def _as_read(profile: StoredProfile) -> Document:
    """Return the query that finds a profile only as it was read."""
    return {
        "_id": profile.id,
        "_fold.version": profile.bookkeeping.version,
        "_fold.generation": profile.bookkeeping.generation,
    }


def write_of(
    profile_id: str, profile: StoredProfile, fields: Mapping[str, Any], new: Bookkeeping
) -> Write:
    """Return the write that leaves a profile with these fields; ProfileError where it cannot be."""
    document = encode_profile(profile_id, fields, new)
    return ReplaceOne(_as_read(profile), document) if profile.exists else InsertOne(document)


def delete_of(profile: StoredProfile) -> list[Write]:
    """Return the write that deletes a profile, where there is one."""
    return [DeleteOne(_as_read(profile))] if profile.exists else []


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
) -> EncodedProfile:
    """Return a profile as MongoDB gets it, with its checksum; ProfileError where it cannot."""
    fold = {
        "generation": bookkeeping.generation,
        "version": bookkeeping.version,
        "open": bookkeeping.open,
        "state": bookkeeping.state,
        "check": Int64(0),
    }
    try:
        encoded = bson.encode({"_id": profile_id, **fields, "_fold": fold})
    except UNWRITABLE as error:
        raise ProfileError(_largest_field(fields), str(error)) from error

    if len(encoded) > MAX_DOCUMENT_BYTES:
        shown = len(bson.encode(fields))
        raise ProfileError(
            _largest_field(fields),
            f"the profile would have {len(encoded):,} bytes, and MongoDB holds "
            f"{MAX_DOCUMENT_BYTES:,}; readers see {shown:,} of them, and the others are "
            "bookkeeping (`_fold`)",
        )
    check = checksum(encoded, profile_id).to_bytes(8, "little")
    return EncodedProfile(encoded[: CHECK.start] + check + encoded[CHECK.stop :])


def _largest_field(fields: Mapping[str, Any]) -> str:
    """Return the field that takes most, or the first that cannot be written at all."""
    sizes = {}
    for name, value in fields.items():
        try:
            sizes[name] = len(bson.encode({name: value}))
        except UNWRITABLE:
            return name
    return max(sizes, key=lambda name: sizes[name], default="_fold")
