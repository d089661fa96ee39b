"""The seven steps of a run, in data order: the graph's ops, `fanfold plan` and tests call them.

    list_blocks        what is in the partitions, and what of it is new
      slice_blocks     slicers cut new blocks into ranges
    queue_batches      ranges become batches, batches become shares of workers
      run_batch        a worker runs its share: read, contribute, write results
    reconcile          outcomes held against the plans; claims, and shards of profiles
      fold_shard       contributions merge into profiles
    publish            what came of it, on record

Each takes (asset, task, ledger, store) and what the step before handed on, and returns a value
that is JSON on the way. What a step did is in the ledger, so a step that is repeated finds it
there. How to do a step is in the rooms: planning, batch, folding.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from workers.dealt import Answer, ShareReference
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Refused
from workers.folding.fold import FoldedShard, Shard, fold_profiles
from workers.folding.publish import Published, record_folded
from workers.folding.reconcile import Reconciled, reconcile_plans
from workers.ledger.ledger import Ledger
from workers.ledger.manifest import write_manifests
from workers.ledger.records import Removed
from workers.ledger.removals import exceeds_share
from workers.planning.changed_code import code_change
from workers.planning.listing import Group, Listing, groups_of, held_back, list_partitions
from workers.planning.packing import share
from workers.planning.plans import Work, describe_work, expected_batch_items, make_plans
from workers.planning.rebuild import finish_swap, keeps_observations, list_observed
from workers.planning.redrive import list_redrive
from workers.planning.remarks import (
    describe_formats,
    describe_listings,
    describe_unknown,
    remarks_on,
)
from workers.planning.slots import Slots, within_memory
from workers.planning.turnover import record_stays
from workers.planning.whereabouts import settle_profiles, why_not_there
from workers.share import ShareRunner
from workers.sources.items import columns_of
from workers.sources.slicing import Sliced
from workers.sources.source import source_of
from workers.store import BlockStore
from workers.values import Value

log = logging.getLogger(__name__)


class Purpose(NamedTuple):
    """What a run is for, beside bringing partitions up to date with their blocks."""

    # Of a rebuild; without it, profiles as they are now are meant.
    generation: int | None = None
    # To run dead letters and failed batches again, and nothing else.
    is_redrive: bool = False
    # What is gone from partitions may take along what profiles hold of it.
    drop_removed: bool = False


PLAIN = Purpose()


class Listed(Value, frozen=True, kw_only=True):
    """What the partitions of a run hold; each group of gaps is for a slicer."""

    listings: list[Listing]
    slicers: int
    groups: list[Group]
    # What a person should know of the partitions as they lie in S3.
    remarks: list[str]

    @property
    def reference(self) -> "Listed":
        """What queue_batches needs of it: all but the gaps, which slicers turn into ranges."""
        listings = [msgspec.structs.replace(listing, gaps=[]) for listing in self.listings]
        return msgspec.structs.replace(self, listings=listings, groups=[])


class Queued(Value, frozen=True, kw_only=True):
    """The plans of a run, and the batches that each of its workers is to run."""

    work: Work
    shares: list[list[str]]
    # The plan in numbers, for people and for programs.
    summary: dict[str, Any]


def list_blocks(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    partitions: Sequence[str],
    slots: int,
    purpose: Purpose = PLAIN,
) -> Listed:
    """List partitions and group what is not planned yet for slicers.

    A redrive lists dead letters and failed batches instead of blocks. Refused where too much of
    what profiles were made of is gone from all partitions, unless the purpose says that it is
    meant; and, before anything is written, where profiles cannot be where they are to be.
    """
    if why := why_not_there(asset, ledger):
        raise Refused(why)
    ledger.ensure_indexes()
    finish_swap(asset, task, ledger)
    settle_profiles(asset, ledger, is_rebuild=bool(purpose.generation))
    current = ledger.claims.generation(asset.name)

    generation = purpose.generation or current

    if purpose.is_redrive:
        listings = [
            list_redrive(asset, task, ledger, partition, generation) for partition in partitions
        ]
    elif purpose.generation and keeps_observations(asset, task):
        listings = [
            list_observed(asset, task, ledger, partition, generation) for partition in partitions
        ]
    else:
        listings = list_partitions(asset, task, ledger, store, partitions, generation)
        if purpose.drop_removed:
            listings = [msgspec.structs.replace(each, removed=Removed()) for each in listings]
        if why := _why_held_back(asset, listings, is_rebuild=bool(purpose.generation)):
            raise Refused(why)

    remarks = [] if purpose.is_redrive else remarks_on(asset, store, listings)
    return _grouped(asset, ledger, listings, slots, remarks)


def _why_held_back(asset: Asset, listings: Sequence[Listing], is_rebuild: bool) -> str:
    """Return why a run is held back whole; "" where partitions of it are left for reconcile.

    What leaves an asset with `unique` lets copies elsewhere count, so there it is all or nothing.
    """
    are_held_back = [exceeds_share(listing.removed) for listing in listings]
    if all(are_held_back) or is_rebuild or asset.unique:
        return held_back(asset, listings, is_rebuild)
    return ""


def _grouped(
    asset: Asset,
    ledger: Ledger,
    listings: list[Listing],
    slots: int,
    remarks: list[str],
) -> Listed:
    """Return listings with what is to be sliced of them, in groups."""
    batch_items = expected_batch_items(asset, ledger, slots)
    groups = groups_of(asset, listings, batch_items)
    return Listed(listings=listings, slicers=len(groups), groups=groups, remarks=remarks)


def slice_blocks(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    group: Group,
    dry_run: bool = False,
) -> Sliced:
    """Cut a group's gaps into ranges, from samples of their blocks.

    A dry run writes no segments of blocks that cannot be cut, and estimates them.
    """
    source = source_of(asset, ledger, store)
    columns = columns_of(task.item)
    return source.slice(group.gaps, columns, asset.sizes, group.batch_items, dry_run)


def queue_batches(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    run_id: str,
    listed: Listed,
    sliced: Sequence[Sliced],
    slots: int,
) -> Queued:
    """Pack ranges into batches, write the plans, and deal out the batches that have no result.

    Refused where fewer slicers answered than were asked.
    """
    if len(sliced) < listed.slicers:
        raise Refused(
            f"only {len(sliced)} of {listed.slicers} slicers have sliced their blocks, as "
            "happens when a run is executed again from its failure; start a new run instead"
        )

    work = make_plans(asset, task, ledger, store, run_id, listed.listings, sliced, slots)
    new = work.new
    if asset.unique:
        leaving = {each.partition: each.leaving for each in listed.listings}
        new = record_stays(asset, ledger, leaving, new)
    parts = {task.version: task.versions.parts_of_batches}
    ledger.code_parts.record(parts | {task.shown_version: task.versions.parts_of_profiles})
    ledger.save(work.plans, new, work.again)
    queued = _shared(asset, ledger, listed, sliced, work, slots)
    ledger.shares.deal(run_id, queued.shares)
    if any(listing.blocks for listing in listed.listings):
        met = [field for part in sliced for field in part.unknown]
        ledger.unknown_fields.add(asset.name, run_id, met)
    return queued


def _shared(
    asset: Asset,
    ledger: Ledger,
    listed: Listed,
    sliced: Sequence[Sliced],
    work: Work,
    slots: int,
) -> Queued:
    """Return work with the batches that each worker is to run.

    Where memory holds fewer workers than there are slots, there are no more of them in all.
    """
    peak = max((cost.peak_bytes for cost in ledger.history(asset.name)), default=0)
    held = within_memory(Slots(slots, ""), peak)
    most = asset.sizes.max_workers if held.number == slots else held.number
    shares = share(work.to_run, held.number, min(most, asset.sizes.max_workers))

    summary = describe_work(work, listed.slicers, len(shares))
    summary |= {"slots": held.number, "slots_decided_by": held.why}
    summary |= describe_listings(listed.listings, listed.remarks)
    summary["formats"] = describe_formats(sliced)
    return Queued(work=work, shares=shares, summary=summary)


def plan(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    partitions: Sequence[str],
    slots: int,
) -> Queued:
    """Return what the first three steps would do for partitions; nothing is written."""
    current = ledger.claims.generation(asset.name)
    listings = list_partitions(asset, task, ledger, store, partitions, current)
    reasons = why_not_there(asset, ledger), held_back(asset, listings)
    remarks = [why for why in reasons if why]
    remarks += remarks_on(asset, store, listings)
    listed = _grouped(asset, ledger, listings, slots, remarks)

    sliced = [
        slice_blocks(asset, task, ledger, store, group, dry_run=True) for group in listed.groups
    ]
    work = make_plans(asset, task, ledger, store, "preview", listings, sliced, slots)
    queued = _shared(asset, ledger, listed, sliced, work, slots)
    known = {field.name for field in ledger.unknown_fields.of(asset.name)}
    queued.summary["remarks"] += describe_unknown(sliced, known)
    queued.summary["code"] = code_change(asset, task, ledger, work).to_json()
    return queued


def run_batch(
    asset: Asset,
    task: Task,
    ledger: Ledger,
    store: BlockStore,
    reference: ShareReference,
    batch_ids: Sequence[str],
    log: logging.Logger = log,
) -> list[Answer]:
    """Run a worker's share of batches, then help slower ones; each is one line of the answer.

    Where this is not the last attempt, an error that another one may mend is raised. In the last
    one it is an answer, so that reconcile decides. Once a partition has more bad items than
    tolerated, what is left of it is not started.
    """
    return ShareRunner(asset, task, ledger, store, reference, log).run(batch_ids)


def reconcile(
    asset: Asset,
    task: Task,  # noqa: ARG001
    ledger: Ledger,
    store: BlockStore,
    plan_ids: Sequence[str],
) -> Reconciled:
    """Hold plans against the ledger's outcomes, then claim them in shards of profiles to fold.

    Those that are not whole are left out; Refused where that leaves none.
    """
    try:
        return reconcile_plans(asset, ledger, plan_ids)
    except Refused:
        write_manifests(ledger, store, plan_ids)
        raise


def fold_shard(
    asset: Asset, task: Task, ledger: Ledger, store: BlockStore, shard: Shard
) -> FoldedShard:
    """Merge a shard's contributions into its profiles."""
    return fold_profiles(asset, task, ledger, store, shard)


def publish(
    asset: Asset,
    task: Task,  # noqa: ARG001
    ledger: Ledger,
    store: BlockStore,
    reconciled: Reconciled,
    folded: Sequence[FoldedShard],
) -> Published:
    """Record that the partitions are folded; return the counts of the run, and what is refused."""
    published = record_folded(asset, ledger, reconciled, folded)
    refused = [plan_id for refusal in reconciled.refused for plan_id in refusal.plans]
    write_manifests(ledger, store, [*(counts.plan for counts in reconciled.counts), *refused])
    return published
