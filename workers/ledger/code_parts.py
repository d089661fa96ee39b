"""Which parts the code of a version had, so that a later one can say what changed."""

from collections.abc import Iterable, Mapping

from pymongo import UpdateOne
from pymongo.collection import Collection

from workers.values import Document


class CodeParts:
    """Reads and writes of `code`: digests of functions, constants and files, by version."""

    def __init__(self, code: Collection[Document]) -> None:
        self.code = code

    def record(self, versions: Mapping[str, Mapping[str, str]]) -> None:
        """Keep the parts of versions, each a digest by name."""
        known = self.of(versions)
        writes = [
            # Pairs, since names of files have dots.
            UpdateOne({"_id": version}, {"$setOnInsert": {"parts": [*parts.items()]}}, upsert=True)
            for version, parts in versions.items()
            if version not in known
        ]
        if writes:
            self.code.bulk_write(writes, ordered=False)

    def of(self, versions: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the parts of those of these versions that a run was ever made with."""
        found = self.code.find({"_id": {"$in": list(versions)}})
        return {document["_id"]: dict(document["parts"]) for document in found}
