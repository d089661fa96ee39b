"""How many documents of a collection are written, by MongoDB's own count."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.collection import Collection

from workers.values import Document

LOG = "system.profile"
LOG_BYTES = 128 << 20
# What MongoDB's profiler counts of a write, by the name that it gives it.
COUNTS = {"ninserted": "inserted", "nModified": "updated", "ndeleted": "deleted"}


class Written:
    """Counts of documents that were written."""

    def __init__(self) -> None:
        self.inserted = 0
        self.updated = 0
        self.deleted = 0
        # Requests that write, whatever came of them.
        self.requests = 0

    @property
    def total(self) -> int:
        return self.inserted + self.updated + self.deleted


@contextmanager
def count_written(collection: Collection[Document]) -> Iterator[Written]:
    """Give what is counted of a collection's documents, once the block ends."""
    written = Written()
    database = collection.database
    database.command("profile", 0)
    database[LOG].drop()
    database.create_collection(LOG, capped=True, size=LOG_BYTES)
    writes = {"$or": [{name: {"$exists": True}} for name in (*COUNTS, "command.insert")]}
    kinds = {"op": {"$in": ["insert", "update", "remove"]}}
    here = {"ns": f"{database.name}.{collection.name}"}
    database.command("profile", 1, filter={"$and": [here, {"$or": [kinds, writes]}]})
    try:
        yield written
    finally:
        database.command("profile", 0)

    for entry in database[LOG].find():
        written.requests += 1
        for count, name in COUNTS.items():
            setattr(written, name, getattr(written, name) + entry.get(count, 0))
