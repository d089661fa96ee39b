"""Make all profiles of an asset anew beside the old ones, then put them in their place.

A rebuild is a new *generation* of the asset: its plans have epochs of their own and fold into a
collection of their own. Entering the generation ends every claim of the old one; then the new
collection takes the asset's name. A kill in between is mended by whoever comes next.
"""

from collections.abc import Sequence

from pymongo.database import Database
from pymongo.errors import OperationFailure

from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import rebuild_collection
from workers.planning.listing import Listing
from workers.store import BlockStore
from workers.values import NO_ROUND, Document

MAX_NAMED = 5  # partitions that an error names


def keeps_what_was_seen(asset: Asset, task: Task) -> bool:
    """Tell whether a rebuild folds stored results again: of pages that were seen, say.

    A task that looks at profiles instead makes everything anew from them.
    """
    return task.observe is not None and not asset.source


def list_seen(
    ledger: Ledger, asset: Asset, version: str, partition: str, generation: int
) -> Listing:
    """Return the finished batches of all that was folded of a partition, as one plan."""
    now = ledger.claims.generation(asset.name)
    plans = ledger.claims.folded_plans(asset.name, now, partition)
    batches = {one["_id"]: one for plan in plans for one in ledger.batches_of(plan)}
    newest = max(plans, key=lambda plan: plan["listed"])
    return Listing(
        partition=partition,
        version=version,
        generation=generation,
        round=NO_ROUND,
        listed=ledger.now(),
        news=newest["news"],
        blocks=newest["blocks"],
        bytes=newest["bytes"],
        kept=sorted(one for one, batch in batches.items() if batch["state"] == "done"),
        made=[],
        gaps=[],
    )


def partitions_to_rebuild(
    ledger: Ledger, store: BlockStore, asset: Asset, task: Task, drop_removed: bool
) -> list[str]:
    """Return the partitions that have blocks, in order.

    Refused where one that is folded has none any more, unless they are to be dropped: its blocks
    may have expired, and its profiles are then all that is left of them. Where items are no
    blocks, the partitions are those that were folded, or the newest of them.
    """
    if task.observe:
        folded = sorted(folded_plans(ledger, asset))
        return folded[-1:] if asset.source else folded
    listed = {asset.partition_of(block.key) for block in store.list(asset.layout.root)}
    present = {partition for partition in listed if partition}
    current = ledger.claims.generation(asset.name)
    held = ledger.claims.newest_folds(asset.name, current)
    gone = sorted(p for p, plan in held.items() if plan["counts"]["used"] and p not in present)
    if gone and not drop_removed:
        more = f" and {len(gone) - MAX_NAMED} more" if len(gone) > MAX_NAMED else ""
        raise Refused(
            f"{asset.name}: the profiles hold partitions that have no blocks in S3 any more "
            f"({', '.join(gone[:MAX_NAMED])}{more}). A rebuild leaves them out: put the blocks back, "
            "or say that it is meant with --drop-removed"
        )
    return sorted(present)


def begin_rebuild(database: Database[Document], ledger: Ledger, asset: Asset) -> int:
    """Return a fresh generation, with its empty collection and the indexes of the old one."""
    ledger.ensure_indexes()
    generation = ledger.claims.new_generation(asset.name)
    made = database.create_collection(rebuild_collection(asset.name, generation))
    for index in database[asset.name].list_indexes():
        options = {k: v for k, v in index.items() if k not in ("v", "key", "ns")}
        if options["name"] != "_id_":
            made.create_index(list(index["key"].items()), **options)
    return generation


def folded_plans(ledger: Ledger, asset: Asset) -> dict[str, str]:
    """Return the plan that each partition of the current profiles was last folded from."""
    found = ledger.claims.newest_folds(asset.name, ledger.claims.generation(asset.name))
    return {partition: plan["_id"] for partition, plan in found.items()}


def swap(database: Database[Document], ledger: Ledger, asset: Asset, generation: int) -> None:
    """Put the rebuilt profiles in the place of the old ones."""
    if not ledger.claims.enter(asset.name, generation):
        raise Refused(
            f"{asset.name}: another rebuild was finished while this one ran; its profiles stay"
        )
    finish_swap(database, ledger, asset)


def finish_swap(database: Database[Document], ledger: Ledger, asset: Asset) -> None:
    """Give the current generation's collection the asset's name, where it does not have it yet."""
    generation = ledger.claims.generation(asset.name)
    name = rebuild_collection(asset.name, generation)
    if not generation or name not in database.list_collection_names(filter={"name": name}):
        return
    try:
        database[name].rename(asset.name, dropTarget=True)
    except OperationFailure as error:
        if error.code != 26:  # NamespaceNotFound: somebody else was faster
            raise
    # A write of the old generation that was under way may have come after the renaming.
    database[asset.name].delete_many({"_fold.generation": {"$ne": generation}})


def drop_leftovers(database: Database[Document], ledger: Ledger, asset: Asset) -> Sequence[str]:
    """Drop the collections of rebuilds that were given up; return their names."""
    current = ledger.claims.generation(asset.name)
    prefix = rebuild_collection(asset.name, 0)[:-1]
    found = [
        name
        for name in database.list_collection_names()
        if name.startswith(prefix) and int(name.removeprefix(prefix)) < current
    ]
    for name in found:
        database.drop_collection(name)
    return found
