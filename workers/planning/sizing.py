"""How much work goes into a batch: learned from history, within the asset's bounds."""

import math
from collections.abc import Sequence

from workers.declare.asset import Sizes
from workers.values import BatchCost, Value

BATCH_SECONDS = 0.05  # what a batch costs beside its items: a few calls to S3 and the ledger
RANGE_SECONDS = 0.01  # what a range costs beside its items: a request to S3
WORKER_SECONDS = 5.0  # work that is worth starting a worker for
HALF_LIFE_BATCHES = 20  # batches after which an older one weighs half


class Sizing(Value, frozen=True, kw_only=True):
    """The size of batches that was chosen, and why."""

    batch_items: int
    seconds_per_item: float
    # Batches that the cost of an item was learned from; 0 where it is the asset's estimate.
    learned_from: int
    # What decided: target_seconds, slots, min_items, max_items or max_batch_bytes.
    decided_by: str


def learn(sizes: Sizes, history: Sequence[BatchCost]) -> tuple[float, int]:
    """Return seconds per item, and from how many batches that is known.

    `history` has the latest batch first; later ones weigh more.
    """
    items = seconds = 0.0
    batches = 0
    for age, cost in enumerate(history):
        if cost.items:
            weight = 0.5 ** (age / HALF_LIFE_BATCHES)
            items += weight * cost.items
            seconds += weight * _items_seconds(cost)
            batches += 1

    if not batches:
        return sizes.seconds_per_item, 0
    return max(seconds / items, 1e-9), batches


def _items_seconds(cost: BatchCost) -> float:
    """Return what a batch's items took; of a small batch most is set-up, but a tenth is theirs."""
    beside = BATCH_SECONDS + cost.ranges * RANGE_SECONDS
    return max(cost.seconds - beside, cost.seconds / 10)


def range_cost_items(seconds_per_item: float) -> int:
    """Return how many items cost as much as one range does beside its items."""
    return round(RANGE_SECONDS / seconds_per_item)


def decide_sizing(
    sizes: Sizes,
    history: Sequence[BatchCost],
    items: int,
    plain_bytes: int,
    slots: int,
    ranges: int = 0,
) -> Sizing:
    """Choose the size of batches for so many items, in so many ranges, that make so many bytes.

    The target gives way to busy slots, those to the items' bounds, all to the bytes' bound.
    """
    cost, learned_from = learn(sizes, history)
    wanted = sizes.target_seconds / cost
    decided_by = "target_seconds"

    slot_items = (items + ranges * range_cost_items(cost)) / slots
    each = max(slot_items, WORKER_SECONDS / cost)
    if items and each < wanted:
        wanted, decided_by = math.ceil(each), "slots"

    if wanted < sizes.min_items:
        wanted, decided_by = sizes.min_items, "min_items"
    if wanted > sizes.max_items:
        wanted, decided_by = sizes.max_items, "max_items"

    if items and wanted * plain_bytes / items > sizes.max_batch_bytes:
        wanted, decided_by = sizes.max_batch_bytes * items / plain_bytes, "max_batch_bytes"

    return Sizing(
        batch_items=max(1, int(wanted)),
        seconds_per_item=cost,
        learned_from=learned_from,
        decided_by=decided_by,
    )


def batch_seconds(seconds_per_item: float, items: int, ranges: int) -> float:
    """Return how long a batch of so many items, in so many ranges, is expected to take."""
    return BATCH_SECONDS + ranges * RANGE_SECONDS + items * seconds_per_item
