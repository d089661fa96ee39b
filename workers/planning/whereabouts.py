"""Where the profiles of an asset are, and whether they can be there."""

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.ledger.claims import CollectionKey
from workers.ledger.ledger import Ledger
from workers.ledger.profiles import ProfileCollection, why_unfit


def declared_key(asset: Asset) -> CollectionKey:
    """Return where the declaration of an asset says that its profiles are."""
    return CollectionKey(collection=asset.collection, key=asset.key)


def settle_profiles(asset: Asset, ledger: Ledger, is_rebuild: bool) -> None:
    """Make sure that profiles can be where the declaration says, before anything is written.

    Refused where they cannot; and where they are elsewhere, but for a rebuild, which makes them
    anew.
    """
    declared, settled = declared_key(asset), ledger.claims.collection_key(asset.name)
    generation = ledger.claims.generation(asset.name)
    is_new = ledger.folded.newest_folded(asset.name, generation) is None

    collection = ProfileCollection(ledger.database[declared.collection], declared.key)
    if why := why_unfit(collection, is_new or declared != settled):
        raise Refused(f"{asset.name}: {why}")

    if declared == settled or is_rebuild:
        return
    if not is_new:
        raise Refused(
            f"{asset.name}: its profiles are in the collection {settled.collection}, found by "
            f"{settled.key}, and the declaration says {declared.collection} and {declared.key}; "
            f"`fanfold rebuild {asset.name}` makes them there"
        )
    ledger.claims.settle(asset.name, declared)
