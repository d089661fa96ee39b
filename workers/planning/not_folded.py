"""Which partitions are not up to date: profiles do not hold what their newest run planned."""

from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger


def partitions_not_folded(asset: Asset, ledger: Ledger) -> list[str]:
    """Return the partitions that their newest run did not fold, or that have to count anew.

    What landed since is for whoever watches, and a run that failed before it planned left nothing
    in the ledger to tell it by.
    """
    generation = ledger.claims.generation(asset.name)
    partitions = {plan.partition for plan in ledger.folded.unfolded(asset.name, generation)}
    if asset.unique:
        partitions.update(ledger.outdated_partitions(asset.name, generation))
    return sorted(partitions)
