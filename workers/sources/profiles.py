"""The profiles of one asset as items for another."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

import msgspec
from pymongo.collection import Collection

from workers.declare.asset import Asset, Sizes
from workers.ledger.ledger import Ledger
from workers.sources.formats.rows import Rows
from workers.sources.slicing import RANGES_PER_BATCH, Gap, Sliced, cut_evenly
from workers.values import Block, Document, Range

T = TypeVar("T")
CHUNK = 10_000  # profiles read at a time


class Profiles:
    """The profiles of one asset, as items for another; they are one block, cut by ranges of ids.

    An item has the profile's fields as readers see them, its `id`, and `at`: when it was read, in
    milliseconds of MongoDB's clock. One that is no longer there, while the other asset still has
    a profile of that id, is an item with only `id`, `at` and `gone`.
    """

    def __init__(
        self, ledger: Ledger, profiles: Collection[Document], others: Collection[Document]
    ) -> None:
        self.ledger, self.profiles, self.others = ledger, profiles, others

    def blocks(self, asset: Asset, partition: str) -> list[Block]:  # noqa: ARG002  now is now
        name = self.profiles.name
        if not self.profiles.database.list_collection_names(filter={"name": name}):
            return []
        stats = self.profiles.aggregate([{"$collStats": {"storageStats": {}}}])
        size = sum(one["storageStats"]["size"] for one in stats)
        return [Block(key=name, etag="profiles", size=size)] if size else []

    def cut(
        self, gaps: Sequence[Gap], sizes: Sizes, batch_items: int, dry_run: bool = False
    ) -> Sliced:
        del sizes, dry_run  # nothing is written, and a profile is far smaller than a batch may be
        range_items = max(1, batch_items // RANGES_PER_BATCH)
        ids = self.profiles.find({}, {"_id": 1}, sort=[("_id", 1)], batch_size=CHUNK)
        parts = [(part[0], len(part)) for part in _chunks((i["_id"] for i in ids), range_items)]
        starts = ["", *(first for first, _ in parts[1:])]
        ranges: dict[str, list[Range]] = {}
        for gap in gaps:
            ranges[gap.partition] = [
                msgspec.structs.replace(one, first=first, until=until, items=items)
                for one, first, until, (_, items) in zip(
                    cut_evenly(gap, max(len(parts), 1), 1),
                    starts,
                    [*starts[1:], ""],
                    parts or [("", 1)],
                    strict=True,
                )
            ]
        return Sliced(ranges=ranges, plain_bytes=sum(gap.end - gap.start for gap in gaps))

    def read(self, cut: Range, columns: Sequence[str]) -> Iterator[Rows]:
        bounds = {name: at for name, at in (("$gte", cut.first), ("$lt", cut.until)) if at}
        query = {"_id": bounds} if bounds else {}
        at = round(self.ledger.now() * 1000)
        wanted = {name: 1 for name in columns if name not in ("id", "at", "gone")} | {"_id": 1}
        items = self.profiles.find(query, wanted, sort=[("_id", 1)], batch_size=CHUNK)
        others = self.others.find(query, {"_fold": 0}, sort=[("_id", 1)], batch_size=CHUNK)
        # Profiles without fields are absent: see docs/decisions/0002-folding-exactly-once.md.
        present = (one for one in items if len(one) > 1)
        left = (one["_id"] for one in others if len(one) > 1)
        for part in _chunks(_with_gone(present, left), CHUNK):
            places = [f"profile {one['_id']}" for one in part]
            yield Rows(
                [{"id": one.pop("_id"), "at": at, **one} for one in part], places, is_text=False
            )


def _with_gone(present: Iterator[Document], left: Iterator[str]) -> Iterator[Document]:
    """Yield profiles, and in between the ids that only the other asset still has, in order."""
    other = next(left, None)
    for one in present:
        while other is not None and other < one["_id"]:
            yield {"_id": other, "gone": True}
            other = next(left, None)
        if other == one["_id"]:
            other = next(left, None)
        yield one
    while other is not None:
        yield {"_id": other, "gone": True}
        other = next(left, None)


def _chunks(source: Iterator[T], size: int) -> Iterator[list[T]]:
    return iter(lambda: list(islice(source, size)), [])
