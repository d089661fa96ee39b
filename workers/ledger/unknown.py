"""Which fields of items were met that their type does not know, so that each is told once."""

from collections.abc import Iterable, Sequence

from pymongo.collection import Collection

from workers.values import Document, UnknownField

MAX_FIELDS = 100  # of an asset: objects whose names are data have any number
MAX_SHOWN = 5  # in a sentence


def unknown_text(fields: Sequence[UnknownField]) -> str:
    """Return which fields a type does not know, in a sentence."""
    more = len(fields) - MAX_SHOWN
    and_more = f" and {more} more" if more > 0 else ""
    return f"the type knows no field {', '.join(map(str, fields[:MAX_SHOWN]))}{and_more}"


class UnknownFields:
    """Reads and writes of such fields, in the documents of assets."""

    def __init__(self, assets: Collection[Document]) -> None:
        self.assets = assets

    def add(self, asset: str, run: str, fields: Iterable[UnknownField]) -> None:
        """Record fields that a run met; those that are known stay with the run that met them."""
        document: Document = self.assets.find_one({"_id": asset}, {"unknown_fields": 1}) or {}
        known = {field["name"] for field in document.get("unknown_fields", [])}
        met = [{**field.to_json(), "run": run} for field in fields if field.name not in known]
        if "unknown_fields" not in document:
            self._add_first_fields(asset, met)
            return
        for field in met[: MAX_FIELDS - len(known)]:
            is_new = {"_id": asset, "unknown_fields.name": {"$ne": field["name"]}}
            self.assets.update_one(is_new, {"$push": {"unknown_fields": field}})

    def _add_first_fields(self, asset: str, met: Sequence[Document]) -> None:
        """Record the fields of the blocks that were the first to be looked at."""
        beginning = {"generation": 0, "latest": 0}
        self.assets.update_one({"_id": asset}, {"$setOnInsert": beginning}, upsert=True)
        firsts = [{**field, "is_first": True} for field in met[:MAX_FIELDS]]
        never_looked = {"_id": asset, "unknown_fields": {"$exists": False}}
        self.assets.update_one(never_looked, {"$set": {"unknown_fields": firsts}})

    def of(self, asset: str, run: str = "") -> list[UnknownField]:
        """Return the fields that a run was the first to meet, or all that were ever met."""
        document = self.assets.find_one({"_id": asset}, {"unknown_fields": 1}) or {}
        fields = document.get("unknown_fields", [])
        return [UnknownField.of(field) for field in fields if run in ("", field["run"])]
