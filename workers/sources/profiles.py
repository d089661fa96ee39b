"""The profiles of one asset as a source of items for another."""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import TypeVar

from pymongo.collection import Collection

from workers.declare.asset import Asset, Sizes
from workers.ledger.ledger import Ledger
from workers.sources.formats.header import Columns
from workers.sources.formats.rows import Rows
from workers.sources.gaps import Gap, even_spans
from workers.sources.slicing import Sliced, range_items_of
from workers.values import Block, Document, PlaceKind, ProfileRange, Range

T = TypeVar("T")
CHUNK_PROFILES = 10_000  # profiles read at a time


class Profiles:
    """The profiles of one asset, as items for another; they are one block, cut by ranges of ids.

    An item has the profile's fields as readers see them, its `id`, and `at`: when it was read, in
    milliseconds of MongoDB's clock. One that is no longer there, while the other asset still has
    a profile of that id, is an item with only `id`, `at` and `gone`.
    """

    def __init__(
        self, ledger: Ledger, profiles: Collection[Document], own_profiles: Collection[Document]
    ) -> None:
        self.ledger = ledger
        self.profiles = profiles
        # Those of the asset whose items the profiles are.
        self.own_profiles = own_profiles

    def blocks(self, asset: Asset, partition: str) -> list[Block]:  # noqa: ARG002  now is now
        name = self.profiles.name
        if not self.profiles.database.list_collection_names(filter={"name": name}):
            return []

        stats = self.profiles.aggregate([{"$collStats": {"storageStats": {}}}])
        size = sum(shard["storageStats"]["size"] for shard in stats)
        return [Block(key=name, etag="profiles", size=size)] if size else []

    def slice(
        self,
        gaps: Sequence[Gap],
        columns: Columns,
        sizes: Sizes,
        batch_items: int,
        dry_run: bool = False,
    ) -> Sliced:
        # Nothing is written, and a profile is far smaller than a batch may be.
        del columns, sizes, dry_run
        cursor = self.profiles.find({}, {"_id": 1}, sort=[("_id", 1)], batch_size=CHUNK_PROFILES)
        ids = (profile["_id"] for profile in cursor)

        starts = [""]
        counts: list[int] = []
        for chunk in _chunks(ids, range_items_of(batch_items)):
            if counts:
                starts.append(chunk[0])
            counts.append(len(chunk))

        ranges: dict[str, list[Range]] = {}
        for gap in gaps:
            ranges[gap.partition] = _ranges(gap, starts, counts or [1])
        return Sliced(ranges=ranges, plain_bytes=sum(gap.bytes for gap in gaps), looked=[])

    def read(
        self, ranges: Sequence[Range], columns: Columns
    ) -> Iterator[tuple[Range, Iterator[Rows]]]:
        for range_ in ranges:
            yield range_, self._read(range_, columns)

    def _read(self, range_: Range, columns: Columns) -> Iterator[Rows]:
        assert isinstance(range_, ProfileRange)
        query = _between(range_)
        milliseconds = round(self.ledger.now() * 1000)
        wanted = {name: 1 for name in columns.names if name not in ("id", "at", "gone")} | {
            "_id": 1
        }

        order = [("_id", 1)]
        profiles = self.profiles.find(query, wanted, sort=order, batch_size=CHUNK_PROFILES)
        own = self.own_profiles.find(query, {"_fold": 0}, sort=order, batch_size=CHUNK_PROFILES)

        # Profiles without fields are absent: see docs/decisions/0002-folding-exactly-once.md.
        present = (profile for profile in profiles if len(profile) > 1)
        own_ids = (profile["_id"] for profile in own if len(profile) > 1)
        for chunk in _chunks(_with_gone(present, own_ids), CHUNK_PROFILES):
            ids = [profile.pop("_id") for profile in chunk]
            rows: list[Document | str] = [
                {"id": profile_id, "at": milliseconds, **profile}
                for profile_id, profile in zip(ids, chunk, strict=True)
            ]
            yield Rows(rows, PlaceKind.PROFILE, ids, is_text=False)


def _ranges(gap: Gap, starts: Sequence[str], counts: Sequence[int]) -> list[Range]:
    """Return one range for each id to start from, with an even part of the gap's bytes."""
    ranges: list[Range] = []
    bounds = pairwise([*starts, ""])
    spans = even_spans(gap, len(counts))

    for (first, until), (start, end), count in zip(bounds, spans, counts, strict=True):
        ranges.append(
            ProfileRange(
                key=gap.key,
                etag=gap.etag,
                size=gap.size,
                start=start,
                end=end,
                items=count,
                first=first,
                until=until,
            )
        )
    return ranges


def _between(range_: ProfileRange) -> Document:
    """Return the query for the ids of a range."""
    bounds = {"$gte": range_.first, "$lt": range_.until}
    bounds = {operator: profile_id for operator, profile_id in bounds.items() if profile_id}
    return {"_id": bounds} if bounds else {}


def _with_gone(present: Iterator[Document], own_ids: Iterator[str]) -> Iterator[Document]:
    """Yield profiles, and in between the ids that only the other asset still has, in order."""
    own_id = next(own_ids, None)
    for profile in present:
        while own_id is not None and own_id < profile["_id"]:
            yield {"_id": own_id, "gone": True}
            own_id = next(own_ids, None)

        if own_id == profile["_id"]:
            own_id = next(own_ids, None)
        yield profile

    while own_id is not None:
        yield {"_id": own_id, "gone": True}
        own_id = next(own_ids, None)


def _chunks(elements: Iterator[T], size: int) -> Iterator[list[T]]:
    return iter(lambda: list(islice(elements, size)), [])
