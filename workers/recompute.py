"""What profiles have to say: recomputed from what they were made of, in one process.

No plan, batch or result is used, only the blocks and the task; but for tasks that observe the
world, whose results are all there is.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from workers.contributions.accumulators import (
    Accumulator,
    Contributed,
    merge_accumulators,
)
from workers.contributions.readers import Readers
from workers.contributions.results import Merger
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Malformed, Refused
from workers.folding.holdings import Holdings, Part, parts_of
from workers.folding.said import ResultGone, Said
from workers.ledger.copies import KnownCopies
from workers.ledger.known import KnownOnly
from workers.ledger.ledger import Ledger
from workers.ledger.records import PartitionKey, Plan
from workers.sources.columns.frames import Items, join_items
from workers.sources.items import ItemReader, contribute
from workers.sources.objects import blocks_of_partition, blocks_with_owners
from workers.sources.source import Source, source_of
from workers.sources.taken import Taken
from workers.sources.unique import Identity, UniqueItems
from workers.store import BlockStore
from workers.values import BUCKETS, Block, ByteRange, Document, Place, ProfileRange, Range

CHUNK_ITEMS = 10_000  # that contribute in one call
READ_BLOCKS = 1_000  # blocks that are listed ahead of what reads them
RAW_BLOCKS = "the raw blocks"
STORED_RESULTS = "the stored results of what workers saw"


class UnreadPart(NamedTuple):
    """The block of which only a part can be read, and why."""

    key: str
    etag: str
    why: str

    def __str__(self) -> str:
        return f"{self.key}, {self.why}"


class Recomputed(NamedTuple):
    """What profiles have to say: their states by id, how many items say it, whence it is."""

    totals: dict[str, Accumulator]
    items: int
    against: str
    # The blocks that could not be read whole.
    unread: tuple[UnreadPart, ...] = ()
    # The partitions that have blocks and were never run: they are left out.
    not_run: tuple[str, ...] = ()


class _Unique:
    """Leaves of items those that count, by what the ledger says of which copy does."""

    def __init__(self, asset: Asset, task: Task, ledger: Ledger) -> None:
        self._asset, self._stays = asset, ledger.stays
        self._stay_ids: dict[tuple[str, str], int] = {}
        known = KnownCopies(ledger.copies(asset.name), ledger.stays)
        identity = Identity(task.item, asset.unique)
        self._unique = UniqueItems(
            identity, self._stay_ids, known.those_that_count, _leave_out, _leave_out
        )

    def look_at(self, ranges: Sequence[Range]) -> None:
        """Find out what is known of blocks that are about to be read."""
        stays = self._stays.newest(self._asset.name, [range_.block for range_ in ranges])
        self._stay_ids.clear()
        for range_ in ranges:
            stay = stays.get((range_.key, range_.etag))
            self._stay_ids[range_.key, range_.etag] = stay.id if stay else 0

    def only(self, range_: Range, taken: Taken) -> Taken:
        """Return the items of a run that count."""
        ((_, kept),) = self._unique.keep([(range_, taken)])
        return kept


def _leave_out(_: object) -> None:
    """Leave out an item that nothing identifies, or copies that do not count."""


def recompute(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    partitions: Sequence[str] | None,
) -> Recomputed:
    """Return what profiles have to say of all partitions, or of those given.

    Partitions that were never run are left out, and named. What a task observed of the world is
    folded again from its results. Profiles made of other profiles are recomputed from those as they
    are, all of them.
    """
    if asset.source:
        blocks = source_of(asset, ledger, store).blocks(asset, "")
        recomputed = recompute_blocks(asset, task, ledger, store, blocks)
        return recomputed._replace(against=f"the profiles of {asset.source} as they are")
    if task.observe:
        return _fold_results(asset, task, ledger, store, partitions)

    planned = ledger.folded.planned_partitions(asset.name, ledger.claims.generation(asset.name))
    not_run: set[str] = set()
    raw_blocks = _blocks_of(_raw_blocks(asset, store, partitions), planned, not_run)
    recomputed = recompute_blocks(asset, task, ledger, store, raw_blocks)
    return recomputed._replace(not_run=tuple(sorted(not_run)))


def recompute_plan(
    asset: Asset, task: Task, ledger: Ledger, store: BlockStore, plan: Plan
) -> Recomputed:
    """Return what the blocks that a plan was folded from have to say.

    Refused where one of them was replaced or removed since.
    """
    if task.observe:
        partitions = None if asset.source else [plan.partition]
        return recompute(asset, task, ledger, store, partitions)

    ranges = [range_ for batch in ledger.batches_of(plan) for range_ in batch.ranges]
    blocks = {Block(key=part.key, etag=part.etag, size=part.size) for part in ranges}
    in_order = sorted(blocks, key=lambda block: block.key)
    return recompute_blocks(asset, task, ledger, store, in_order)


def _fold_results(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    partitions: Sequence[str] | None,
) -> Recomputed:
    """Return what the results say that profiles were folded from."""
    current = ledger.claims.generation(asset.name)
    plans = ledger.folded.folded_plans(asset.name, current, *(partitions or ()))

    parts = sorted({part for plan in plans for part in parts_of(plan, task)})
    said = Said(store, task.fields, range(BUCKETS), parts)
    items = sum(plan.counts.used for plan in plans if plan.counts)
    return Recomputed(said.merged(parts).all(), items, STORED_RESULTS)


def recompute_blocks(
    asset: Asset, task: Task, ledger: Ledger, store: BlockStore, blocks: Iterable[Block]
) -> Recomputed:
    """Return what blocks have to say."""
    reader = ItemReader(task.item, by_columns=task.observe is None)
    framer = ItemReader(task.observation_type)
    source = source_of(asset, ledger, store)
    merger = Merger(task.fields)
    known = KnownOnly(task, ledger.profiles(asset.name)) if asset.known_only else None

    items_used = 0
    unread: list[UnreadPart] = []
    unique = _Unique(asset, task, ledger) if asset.unique else None
    deadly = ledger.dead_letters.that_ended_workers(asset.name)
    for items in _chunks(_items(asset, source, reader, blocks, unread, unique, deadly)):
        observations = _observe_anew(task, items)
        for first, last, frames in contribute(known or task, framer, observations):
            if not isinstance(frames, Exception):
                merger.add(frames)
                items_used += last - first - (len(known.unknown) if known else 0)

    totals = Contributed(merger.merged()).all()
    return Recomputed(totals, items_used, RAW_BLOCKS, tuple(unread))


def _chunks(parts: Iterable[Items]) -> Iterator[Items]:
    """Yield items in fewer and larger parts, as a call of the task costs the same for ten.

    What was read by columns and what was read one by one stay apart.
    """
    for _, alike in groupby(parts, type):
        held: list[Items] = []
        for part in alike:
            held.append(part)
            if sum(map(len, held)) >= CHUNK_ITEMS:
                yield join_items(held)
                held = []
        if held:
            yield join_items(held)


def _observe_anew(task: Task, items: Items) -> Items:
    """Return what a task makes of items when no profile is known; items where it does not look."""
    if task.observe is None:
        return items
    answers = task.observe.observe(items, [{}] * len(items))
    return [answer for answer in answers if answer and not isinstance(answer, Exception)]


def _raw_blocks(
    asset: Asset, store: BlockStore, partitions: Sequence[str] | None
) -> Iterator[tuple[str, Block]]:
    """Yield the blocks of all partitions in S3, or of those given, with the partition in front."""
    if partitions is None:
        yield from blocks_with_owners(asset, store)
        return
    for partition in partitions:
        for block in blocks_of_partition(asset, store, partition):
            yield partition, block


def _blocks_of(
    blocks: Iterable[tuple[str, Block]], planned: Collection[str], not_run: set[str]
) -> Iterator[Block]:
    """Yield the blocks of partitions that were run; `not_run` gets the others."""
    for partition, block in blocks:
        if partition in planned:
            yield block
        else:
            not_run.add(partition)


def _items(
    asset: Asset,
    source: Source,
    reader: ItemReader,
    blocks: Iterable[Block],
    unread: list[UnreadPart],
    unique: _Unique | None,
    deadly: Mapping[tuple[str, str], Collection[Place]],
) -> Iterator[Items]:
    """Yield the usable items of blocks, by chunks; `unread` gets the blocks that break off.

    Those at deadly places, which would end this process too, are left out.
    """
    kind = ProfileRange if asset.source else ByteRange
    whole = (
        kind(key=block.key, etag=block.etag, size=block.size, start=0, end=block.size, items=0)
        for block in blocks
        if block.size
    )
    for ranges in iter(lambda: list[Range](islice(whole, READ_BLOCKS)), []):
        if unique:
            unique.look_at(ranges)
        for range_, runs in source.read(ranges, reader.columns):
            try:
                for run in runs:
                    taken = reader.items(run, _ignore)
                    if places := deadly.get((range_.key, range_.etag)):
                        taken = taken.without(places)
                    yield (unique.only(range_, taken) if unique else taken).items
            except Malformed as error:  # what was read before counts; the run keeps a dead letter
                unread.append(UnreadPart(range_.key, range_.etag, str(error)))


def _ignore(_place: Place, _item: bytes, _reason: str) -> None:
    """Leave a bad item out; that it is bad is for a run to say."""


def parts_of_others(
    asset: Asset, task: Task, ledger: Ledger, partitions: Collection[str]
) -> list[Part]:
    """Return the results of what profiles hold of other partitions."""
    holdings = Holdings(ledger, task, asset.name, ledger.claims.generation(asset.name))
    by_fold_key = holdings.parts.items()
    others = (
        parts for key, parts in by_fold_key if PartitionKey.partition_of(key) not in partitions
    )
    return sorted(part for parts in others for part in parts)


def said_by(
    asset: Asset,
    task: Task,
    store: BlockStore,
    parts: Sequence[Part],
    profile_ids: Collection[str],
) -> dict[str, Accumulator]:
    """Return what results say of profiles; Refused where one is no longer in S3."""
    try:
        said = Said(store, task.fields, range(BUCKETS), parts, profile_ids)
    except ResultGone as error:
        raise Refused(
            f"{asset.name}: the result {error} is no longer in S3, so partitions cannot be told "
            f"apart; `fanfold verify {asset.name}` compares everything with the blocks"
        ) from error
    return said.merged(parts).all()


def with_others(
    task: Task,
    recomputed: Recomputed,
    others: Mapping[str, Accumulator],
    profile_ids: Collection[str],
) -> dict[str, Accumulator]:
    """Return what profiles have to say in all, where some partitions are recomputed."""
    return {
        profile_id: merge_accumulators(
            task.fields, recomputed.totals.get(profile_id, {}), others.get(profile_id, {})
        )
        for profile_id in profile_ids
    }


def profiles_of(task: Task, totals: Mapping[str, Accumulator]) -> dict[str, Document]:
    """Return the profiles that readers see of totals, by id."""
    readers = Readers(task.fields, task.derive)
    shown = ((profile_id, readers.shown(total)) for profile_id, total in totals.items() if total)
    return {profile_id: fields for profile_id, fields in shown if fields}
