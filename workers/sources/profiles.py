"""The profiles of one asset as a source of items for another."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import TypeVar

from workers.declare.asset import Asset, Sizes
from workers.ledger.ledger import Ledger
from workers.ledger.profiles import OURS, ProfileCollection
from workers.sources.formats.header import Columns
from workers.sources.formats.rows import Rows
from workers.sources.gaps import Gap, even_spans
from workers.sources.slicing import Sliced, range_items_of
from workers.values import Block, Document, PlaceKind, ProfileRange, Range

T = TypeVar("T")
Item = tuple[str, Document]  # the id of a profile, and fields of it
CHUNK_PROFILES = 10_000  # profiles read at a time


class Profiles:
    """The profiles of one asset, as items for another; they are one block, cut by ranges of ids.

    An item has the profile's fields as readers see them, its `id`, and `at`: when it was read, in
    milliseconds of MongoDB's clock. One that is no longer there, while the other asset still has
    a profile of that id, is an item with only `id`, `at` and `gone`.
    """

    def __init__(
        self, ledger: Ledger, profiles: ProfileCollection, own_profiles: ProfileCollection
    ) -> None:
        self.ledger = ledger
        self.profiles = profiles
        # Those of the asset whose items the profiles are.
        self.own_profiles = own_profiles

    def blocks(self, asset: Asset, partition: str) -> list[Block]:  # noqa: ARG002  now is now
        documents = self.profiles.documents
        name = documents.name
        if not documents.database.list_collection_names(filter={"name": name}):
            return []

        stats = documents.aggregate([{"$collStats": {"storageStats": {}}}])
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
        documents, key = self.profiles
        order = [(key, 1)]
        cursor = documents.find(OURS, {key: 1}, sort=order, batch_size=CHUNK_PROFILES)
        ids = (profile[key] for profile in cursor)

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
        milliseconds = round(self.ledger.now() * 1000)
        wanted = [name for name in columns.names if name not in ("id", "at", "gone")]
        present = _each(self.profiles, range_, dict.fromkeys(wanted, 1))
        own_ids = (profile_id for profile_id, _ in _each(self.own_profiles, range_, {"_fold": 0}))

        for chunk in _chunks(_with_gone(present, own_ids), CHUNK_PROFILES):
            ids = [profile_id for profile_id, _ in chunk]
            rows: list[Document | str] = [
                {"id": profile_id, "at": milliseconds, **fields} for profile_id, fields in chunk
            ]
            yield Rows(rows, PlaceKind.PROFILE, ids, is_text=False)


def _each(
    profiles: ProfileCollection, range_: ProfileRange, shown: Mapping[str, int]
) -> Iterator[Item]:
    """Yield the profiles of a range in the order of their ids, with some of their fields.

    Those without fields are absent: see docs/decisions/0002-folding-exactly-once.md.
    """
    documents, key = profiles
    projection = shown if 0 in shown.values() else {**shown, key: 1}
    bounds = {"$gte": range_.first, "$lt": range_.until}
    bounds = {operator: profile_id for operator, profile_id in bounds.items() if profile_id}
    query = OURS | ({key: bounds} if bounds else {})

    found = documents.find(query, projection, sort=[(key, 1)], batch_size=CHUNK_PROFILES)
    for document in found:
        profile_id = document.pop(key)
        document.pop("_id", None)
        if document:
            yield profile_id, document


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


def _with_gone(present: Iterator[Item], own_ids: Iterator[str]) -> Iterator[Item]:
    """Yield profiles, and in between the ids that only the other asset still has, in order."""
    own_id = next(own_ids, None)
    for profile_id, fields in present:
        while own_id is not None and own_id < profile_id:
            yield own_id, {"gone": True}
            own_id = next(own_ids, None)

        if own_id == profile_id:
            own_id = next(own_ids, None)
        yield profile_id, fields

    while own_id is not None:
        yield own_id, {"gone": True}
        own_id = next(own_ids, None)


def _chunks(elements: Iterator[T], size: int) -> Iterator[list[T]]:
    return iter(lambda: list(islice(elements, size)), [])
