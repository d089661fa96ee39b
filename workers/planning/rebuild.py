"""Make all profiles of an asset anew beside the old ones, then put them in their place.

A rebuild is a new *generation* of the asset: its plans have epochs of their own and fold into a
collection of their own. Entering the generation ends every claim of the old one; then what the new
collection holds takes the place of Fanfold's fields in the documents. A kill in between is mended
by whoever comes next.
"""

from workers.contributions.readers import Readers
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.ledger.losses import MAX_NAMED
from workers.ledger.mongo import rebuild_collection, rebuild_collections
from workers.ledger.profile_writes import merge_rebuilt, remove_earlier
from workers.ledger.profiles import ProfileCollection
from workers.planning.beginnings import Beginnings
from workers.planning.listing import Listing
from workers.planning.turnover import end_stays_of_old
from workers.planning.whereabouts import declared_key, why_not_there
from workers.sources.objects import blocks_with_owners
from workers.store import BlockStore


def keeps_observations(asset: Asset, task: Task) -> bool:
    """Tell whether a rebuild folds stored results again: of pages that were visited, say.

    A task that observes profiles instead makes everything anew from them.
    """
    return task.observe is not None and not asset.source


def list_observed(
    asset: Asset, task: Task, ledger: Ledger, partition: str, generation: int
) -> Listing:
    """Return the finished batches of all that was folded of a partition, as one plan."""
    current = ledger.claims.generation(asset.name)
    plans = ledger.folded.folded_plans(asset.name, current, partition)
    newest = max(plans, key=lambda plan: plan.listed)

    batch_ids = {batch_id for plan in plans for batch_id in plan.batches}
    batches = ledger.batches_by_id(batch_ids)
    return Listing(
        partition=partition,
        version=task.version,
        generation=generation,
        round=0,
        listed=ledger.now(),
        blocks_digest=newest.blocks_digest,
        blocks=newest.blocks,
        bytes=newest.bytes,
        kept=sorted(batch.id for batch in batches.values() if batch.is_done),
        ready=[],
        gaps=[],
    )


def folded_plan_ids(asset: Asset, ledger: Ledger) -> dict[str, str]:
    """Return the plan that each partition of the current profiles was last folded from."""
    current = ledger.claims.generation(asset.name)
    newest = ledger.folded.newest_folds(asset.name, current)
    return {partition: plan.id for partition, plan in newest.items()}


def partitions_to_rebuild(
    asset: Asset, task: Task, ledger: Ledger, store: BlockStore, drop_removed: bool
) -> list[str]:
    """Return the partitions that have blocks, in order.

    Refused where one that is folded has none any more, unless they are to be dropped: its blocks
    may have expired, and its profiles are then all that is left of them. Where items are no
    blocks, the partitions are those that were folded, or the newest of them.
    """
    if task.observe:
        folded = sorted(folded_plan_ids(asset, ledger))
        return folded[-1:] if asset.source else folded

    present = {partition for partition, _ in blocks_with_owners(asset, store)}

    current = ledger.claims.generation(asset.name)
    gone = []
    for partition, plan in sorted(ledger.folded.newest_folds(asset.name, current).items()):
        if partition not in present and plan.counts and plan.counts.used:
            gone.append(partition)

    if gone and not drop_removed:
        more = f" and {len(gone) - MAX_NAMED} more" if len(gone) > MAX_NAMED else ""
        raise Refused(
            f"{asset.name}: the profiles hold partitions that have no blocks in S3 any more "
            f"({', '.join(gone[:MAX_NAMED])}{more}). A rebuild leaves them out: put the blocks "
            "back, or say that it is meant with --drop-removed"
        )
    return sorted(present)


def begin_rebuild(asset: Asset, ledger: Ledger) -> int:
    """Return a fresh generation, with its empty collection.

    Refused, before anything is written, where profiles cannot be where the declaration says.
    """
    if why := why_not_there(asset, ledger, is_rebuild=True):
        raise Refused(why)

    ledger.ensure_indexes()
    generation = ledger.claims.new_generation(asset.name)
    ledger.database.create_collection(rebuild_collection(asset.name, generation))
    return generation


def swap(asset: Asset, task: Task, ledger: Ledger, generation: int) -> None:
    """Put the rebuilt profiles in the place of the old ones.

    Refused, with the old ones as they were, where one of its partitions is not folded.
    """
    if unfolded := ledger.folded.unfolded(asset.name, generation):
        names = sorted(plan.partition for plan in unfolded)
        raise Refused(
            f"{asset.name}: the rebuild did not fold {', '.join(names[:MAX_NAMED])}, so the old "
            "profiles stay"
        )
    if not ledger.claims.enter(asset.name, generation, declared_key(asset)):
        raise Refused(
            f"{asset.name}: another rebuild was finished while this one ran; its profiles stay"
        )
    finish_swap(asset, task, ledger)


def finish_swap(asset: Asset, task: Task, ledger: Ledger) -> None:
    """Put what the current generation's rebuild made into the documents, where that is not done.

    The fields of others stay, also those that are set meanwhile.
    """
    generation = ledger.claims.generation(asset.name)
    rebuilt = rebuild_collection(asset.name, generation)
    if not generation or rebuilt not in rebuild_collections(ledger.database, asset.name).values():
        return

    readers = Readers(task.fields, task.derive)
    own = ledger.own_fields(asset.name, readers.names, readers.beginning)
    profiles = ledger.profiles(asset.name)
    new = ProfileCollection(ledger.database[rebuilt])
    merge_rebuilt(new.documents, profiles, generation, own)
    beginnings = Beginnings(asset.name, task, ledger, readers, profiles, generation, own)
    if readers.beginning:
        beginnings.take_up(new)
    remove_earlier(profiles, generation, own)
    beginnings.keep()
    if asset.unique:
        end_stays_of_old(asset, ledger, generation)
    ledger.database.drop_collection(rebuilt)


def drop_leftovers(asset: Asset, ledger: Ledger) -> list[str]:
    """Drop the collections of rebuilds that were given up; return their names."""
    current = ledger.claims.generation(asset.name)
    collections = rebuild_collections(ledger.database, asset.name)
    dropped = [name for generation, name in collections.items() if generation < current]
    for name in dropped:
        ledger.database.drop_collection(name)
    return dropped
