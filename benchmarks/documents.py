"""What a turn left for readers, to be compared with what the others left: to the bit."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec
from bson import Int64
from pymongo.collection import Collection

from workers.values import Document

DIGEST_BYTES = 8  # of a document
Digests = Mapping[str, bytes]  # of documents, by their ids, in the order of these


def digests(profiles: Collection[Document]) -> Digests:
    """Return the digest of each document.

    Fields whose names begin with an underscore are bookkeeping. The order of keys says nothing,
    that of lists does, and so do types: 1 is not 1.0, nor of 64 bits the 1 that has 32.
    """
    encoder = msgspec.msgpack.Encoder(order="deterministic", enc_hook=_of_other_type)
    found = {}
    for document in profiles.find({}).sort("_id"):
        shown = {key: value for key, value in document.items() if not key.startswith("_")}
        found[document["_id"]] = blake2b(encoder.encode(shown), digest_size=DIGEST_BYTES).digest()
    return found


def digest(of_documents: Digests) -> str:
    """Return one digest of all documents and their ids."""
    whole = blake2b(digest_size=2 * DIGEST_BYTES)
    for id_, of_document in of_documents.items():
        whole.update(of_document + id_.encode() + b"\n")
    return whole.hexdigest()


class Agreement:
    """What all turns of a size have to leave: the documents of the first one."""

    def __init__(self) -> None:
        self.first = ""
        self.digests: Digests = {}

    def check(self, name: str, found: Digests) -> None:
        """Compare what a turn left; SystemExit where it differs, which names a document."""
        if not self.first:
            self.first, self.digests = name, found
        if differing := first_difference(self.digests, found):
            raise SystemExit(f"{name} and {self.first} left different documents: {differing!r}")


def first_difference(expected: Digests, found: Digests) -> str | None:
    """Return the id of the first document that differs, or that only one of both has."""
    if expected == found:
        return None
    ids = expected.keys() | found.keys()
    return min(id_ for id_ in ids if expected.get(id_) != found.get(id_))


def _of_other_type(value: Any) -> Any:
    """Return what stands for a value that MessagePack does not know."""
    if isinstance(value, Int64):
        return {"64 bits": int(value)}
    raise TypeError(f"no profile holds {type(value).__name__}")
