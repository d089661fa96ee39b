"""Where the profiles of an asset are, and whether they can be there."""

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.ledger.claims import CollectionKey
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import rebuild_collection
from workers.ledger.profiles import ProfileCollection, why_unfit
from workers.ledger.rights import OF_LEDGER, OF_PROFILES, OF_REBUILD, why_forbidden


def declared_key(asset: Asset) -> CollectionKey:
    """Return where the declaration of an asset says that its profiles are."""
    return CollectionKey(collection=asset.collection, key=asset.key)


def why_not_there(asset: Asset, ledger: Ledger, is_rebuild: bool = False) -> str:
    """Return why profiles cannot be where the declaration says, and the way out; "" where they can.

    A rebuild makes them in a collection of its own first. Nothing is written.
    """
    declared = declared_key(asset)
    rights = OF_PROFILES if declared.key == "_id" else (*OF_PROFILES, "listIndexes")
    needed: dict[str, tuple[str, ...]] = {declared.collection: rights}
    if asset.unique:
        needed[ledger.copies(asset.name).collection.name] = OF_LEDGER
    if is_rebuild:
        generation = ledger.claims.latest_generation(asset.name) + 1
        needed[rebuild_collection(asset.name, generation)] = OF_REBUILD
    if why := why_forbidden(ledger.database, needed):
        return f"{asset.name}: {why}"

    is_new = _is_new(asset, ledger) or declared != ledger.claims.collection_key(asset.name)
    collection = ProfileCollection(ledger.database[declared.collection], declared.key)
    why = why_unfit(collection, is_new)
    return f"{asset.name}: {why}" if why else ""


def settle_profiles(asset: Asset, ledger: Ledger, is_rebuild: bool) -> None:
    """Record where profiles are from here on.

    Refused where they are elsewhere, but for a rebuild, which makes them anew.
    """
    declared, settled = declared_key(asset), ledger.claims.collection_key(asset.name)
    if declared == settled or is_rebuild:
        return
    if not _is_new(asset, ledger):
        raise Refused(
            f"{asset.name}: its profiles are in the collection {settled.collection}, found by "
            f"{settled.key}, and the declaration says {declared.collection} and {declared.key}; "
            f"`fanfold rebuild {asset.name}` makes them there"
        )
    ledger.claims.settle(asset.name, declared)


def _is_new(asset: Asset, ledger: Ledger) -> bool:
    """Tell whether no partition of an asset was ever folded."""
    generation = ledger.claims.generation(asset.name)
    return ledger.folded.newest_folded(asset.name, generation) is None
