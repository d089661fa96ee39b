"""Writes of profiles, which go through only where nobody else has written Fanfold's part since.

They leave the fields of others alone, whoever sets them meanwhile.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import bson
from bson import Int64, ObjectId
from bson.errors import InvalidDocument, InvalidStringData
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from workers.contributions.readers import ProfileError
from workers.ledger.mongo import DUPLICATE_KEY
from workers.ledger.profiles import (
    ID_BYTES,
    Bookkeeping,
    OwnFields,
    ProfileCollection,
    StoredProfile,
    checksum_as_inserted,
)
from workers.values import Document

MAX_DOCUMENT_BYTES = 16 << 20  # of a document in MongoDB
CHECK = slice(-10, -2)  # of a document that Fanfold inserts: its last element, of 64 bits
UNWRITABLE = (OverflowError, InvalidDocument, InvalidStringData, UnicodeEncodeError)
# The expression of whether Fanfold has not written a document yet.
IS_OF_OTHERS: Document = {"$eq": [{"$type": "$_fold"}, "missing"]}
# What MongoDB says of a single document that it does not take.
REFUSALS = {
    DUPLICATE_KEY: "a unique index of the collection refuses the document",
    121: "the collection's validator refuses the document",
    10334: "the document would be too large",
    17419: "the document would be too large, with the fields of others",
}


class EncodedFields(RawBSONDocument):
    """Fields in BSON. PyMongo asks whether they are empty, and would decode them whole to know."""

    def __bool__(self) -> bool:
        return True


class Write(NamedTuple):
    """A write of one profile's document."""

    profile: str
    operation: DeleteOne | InsertOne[Any] | UpdateOne


class Written(NamedTuple):
    """What came of writes: whether another writer was faster with one; whom MongoDB refused."""

    is_lost: bool
    # By profile: why.
    refused: Mapping[str, str]


def write_of(
    key: str,
    profile_id: str,
    profile: StoredProfile,
    fields: Mapping[str, Any],
    new: Bookkeeping,
    own: OwnFields,
) -> Write:
    """Return the write that leaves a profile with these fields; ProfileError where it cannot be.

    `key` is the field that holds the id.
    """
    encoded = encode_profile(profile_id, fields, new)
    if not profile.exists and key == "_id":
        return Write(profile_id, InsertOne(EncodedFields(encoded)))

    without_id = encoded[ID_BYTES + len(profile_id.encode()) :]
    if not profile.exists:
        ids = bson.encode({"_id": ObjectId(), key: profile_id})[4:-1]
        return Write(profile_id, InsertOne(_fields_of(ids + without_id)))

    update: Document = {"$set": _fields_of(without_id)}
    if gone := own.of(profile.fields).keys() - fields.keys():
        update["$unset"] = dict.fromkeys(sorted(gone), "")
    return Write(profile_id, UpdateOne(_as_read(key, profile, own), update))


def _fields_of(elements: bytes) -> EncodedFields:
    """Return the fields that elements of BSON make, with the zero at their end."""
    return EncodedFields((4 + len(elements)).to_bytes(4, "little") + elements)


def delete_of(key: str, profile: StoredProfile, own: OwnFields) -> list[Write]:
    """Return the write that leaves nothing of Fanfold's in a profile's document.

    Where Fanfold made it, and nothing else is in it, it is deleted.
    """
    if not profile.is_ours:
        return []
    as_read = _as_read(key, profile, own)
    if own.are_all(profile.fields) and not profile.bookkeeping.adopted:
        # Unless somebody adds a field meanwhile.
        size = {"$size": {"$objectToArray": "$$ROOT"}}
        as_large = len(profile.fields) + len({"_id", "_fold", key})
        return [Write(profile.id, DeleteOne(as_read | {"$expr": {"$eq": [size, as_large]}}))]
    gone = {"$unset": dict.fromkeys((*own.of(profile.fields), "_fold"), "")}
    return [Write(profile.id, UpdateOne(as_read, gone))]


def _as_read(key: str, profile: StoredProfile, own: OwnFields) -> Document:
    """Return the query that finds a profile only as it was read.

    Of a document that Fanfold has not written yet that is what a profile begins with.
    """
    if not profile.is_ours:
        said = {name: {"$eq": profile.fields.get(name)} for name in own.beginning}
        return {key: profile.id, "_fold": None, **said}
    return {
        key: profile.id,
        "_fold.version": profile.bookkeeping.version,
        "_fold.generation": profile.bookkeeping.generation,
    }


def write_all(profiles: ProfileCollection, writes: Sequence[Write]) -> Written:
    """Write profiles; what MongoDB refuses of one costs the others nothing."""
    if not writes:
        return Written(False, {})

    operations = [write.operation for write in writes]
    details: dict[str, Any] = {}
    refused: dict[str, str] = {}
    try:
        result = profiles.documents.bulk_write(operations, ordered=False)
        reached = result.matched_count + result.deleted_count + result.inserted_count
    except BulkWriteError as error:
        details = dict(error.details or {})
        if details.get("writeConcernErrors") or not details.get("writeErrors"):
            raise
        for each in details["writeErrors"]:
            if each["code"] not in REFUSALS:
                raise
            if not _is_of_the_id(each, profiles.key):
                refused[writes[each["index"]].profile] = _sentence(each)
        reached = details["nMatched"] + details["nRemoved"] + details["nInserted"]
    return Written(reached + len(refused) < len(writes), refused)


def _is_of_the_id(error: Document, key: str) -> bool:
    """Tell whether somebody else has inserted a document of this id meanwhile."""
    return error["code"] == DUPLICATE_KEY and list(error.get("keyPattern", {key: 1})) == [key]


def _sentence(error: Document) -> str:
    """Return why MongoDB refuses a document; no value of it."""
    text = REFUSALS[error["code"]]
    if error["code"] == DUPLICATE_KEY:
        text += f" (on {', '.join(error['keyPattern'])})"
    return text


def encode_profile(profile_id: str, fields: Mapping[str, Any], bookkeeping: Bookkeeping) -> bytes:
    """Return a profile in BSON, with its checksum; ProfileError where it cannot be written."""
    fold: Document = {
        "generation": bookkeeping.generation,
        "version": bookkeeping.version,
        "open": bookkeeping.open,
        "state": bookkeeping.state,
    }
    if bookkeeping.adopted:
        fold["adopted"] = True
    if bookkeeping.begun:
        fold["begun"] = bookkeeping.begun
    # Ends the document, so that it can be filled in: 64 bits, and a zero for each of two maps.
    fold["check"] = Int64(0)
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
    check = checksum_as_inserted(encoded, profile_id).to_bytes(8, "little")
    return encoded[: CHECK.start] + check + encoded[CHECK.stop :]


def _largest_field(fields: Mapping[str, Any]) -> str:
    """Return the field that takes most, or the first that cannot be written at all."""
    sizes = {}
    for name, value in fields.items():
        try:
            sizes[name] = len(bson.encode({name: value}))
        except UNWRITABLE:
            return name
    return max(sizes, key=lambda name: sizes[name], default="_fold")


def merge_rebuilt(
    rebuilt: Collection[Document], profiles: ProfileCollection, generation: int, own: OwnFields
) -> None:
    """Put rebuilt profiles in the place of earlier generations' in the documents.

    MongoDB does it, a document at a time; done again, it changes nothing. Documents that begin
    otherwise than the rebuild has met them stay as they are.
    """
    documents, key = profiles
    with_key: list[Document] = [] if key == "_id" else [{"$set": {key: "$_id"}}, {"$unset": "_id"}]
    stays = {"$or": [_is_of(generation), _begins_otherwise(own)]}
    merge: Document = {
        "into": documents.name,
        "on": key,
        "whenMatched": [
            {"$replaceWith": {"$cond": [stays, "$$ROOT", _renewed(sorted(own.names))]}}
        ],
        "whenNotMatched": "insert",
    }
    rebuilt.aggregate([*with_key, {"$merge": merge}])


def _is_of(generation: int) -> Document:
    """Return the expression of whether a document is of a generation, or a later one."""
    return {"$gte": [{"$ifNull": ["$_fold.generation", -1]}, generation]}


def _begins_otherwise(own: OwnFields) -> Document:
    """Return the expression of whether a document begins with something else than a new one."""
    if not own.beginning:
        return {"$literal": False}
    says_something = [{"$ne": [{"$ifNull": [f"${name}", None]}, None]} for name in own.beginning]
    begun = [{"$ifNull": [f"{fold}.begun", {}]} for fold in ("$_fold", "$$new._fold")]
    return {"$cond": [IS_OF_OTHERS, {"$or": says_something}, {"$ne": begun}]}


def remove_earlier(profiles: ProfileCollection, generation: int, own: OwnFields) -> None:
    """Remove what generations before one have made, but what began with something."""
    documents, key = profiles
    mine = sorted(own.names)
    names = {"$map": {"input": {"$objectToArray": "$$ROOT"}, "in": "$$this.k"}}
    is_mine_alone = {"$setIsSubset": [names, [*mine, "_id", "_fold", key]]}
    left = {"_fold.generation": {"$lt": generation}, "_fold.begun": None}
    deleted = {**left, "_fold.adopted": None, "$expr": is_mine_alone}
    documents.delete_many(deleted)
    documents.update_many(left, {"$unset": dict.fromkeys((*mine, "_fold"), "")})


def _renewed(mine: Sequence[str]) -> Document:
    """Return the expression of a document whose fields of these names are of a new one."""
    elements = {"$objectToArray": "$$ROOT"}
    is_of_others = {"$not": [{"$in": ["$$this.k", [*mine, "_fold"]]}]}
    of_others = {"$arrayToObject": {"$filter": {"input": elements, "cond": is_of_others}}}

    was_adopted = {"$or": ["$_fold.adopted", IS_OF_OTHERS]}
    adopted = {"$cond": [was_adopted, {"adopted": True}, {}]}
    fold = {"$mergeObjects": [adopted, "$$new._fold"]}
    return {"$mergeObjects": [of_others, "$$new", {"_fold": fold}]}
