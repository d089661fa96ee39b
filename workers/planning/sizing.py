"""How much work goes into a batch, and how many batches into a worker: from history, in bounds."""

import math
from collections.abc import Sequence

from workers.declare.asset import Sizes
from workers.values import Ran, Value

BATCH_SECONDS = 0.05  # what a batch costs beside its items: a few calls to S3 and the ledger
PART_SECONDS = 0.01  # what a range costs beside its items: a request to S3
WORKER_SECONDS = 5.0  # work that is worth starting a worker for
HALF_LIFE = 20  # batches after which an older one weighs half


class Sizing(Value, frozen=True, kw_only=True):
    """The size of batches that was chosen, and why."""

    batch_items: int
    seconds_per_item: float
    # Batches that the cost of an item was learned from; 0 where it is the asset's estimate.
    learned_from: int
    # What decided: target_seconds, slots, min_items, max_items or max_batch_bytes.
    decided_by: str


def learn(sizes: Sizes, history: Sequence[Ran]) -> tuple[float, int]:
    """Return seconds per item, and from how many batches that is known.

    `history` has the latest batch first; later ones weigh more.
    """
    weighed = [(0.5 ** (age / HALF_LIFE), ran) for age, ran in enumerate(history) if ran.items]
    if not weighed:
        return sizes.seconds_per_item, 0
    items = sum(weight * ran.items for weight, ran in weighed)
    work = sum(weight * _items_seconds(ran) for weight, ran in weighed)
    return max(work / items, 1e-9), len(weighed)


def _items_seconds(ran: Ran) -> float:
    """Return what a batch's items took; of a small batch most is set-up, but a tenth is theirs."""
    return max(ran.seconds - BATCH_SECONDS - ran.parts * PART_SECONDS, ran.seconds / 10)


def part_items(seconds_per_item: float) -> int:
    """Return how many items cost as much as one range does beside its items."""
    return round(PART_SECONDS / seconds_per_item)


def decide_sizing(
    sizes: Sizes,
    history: Sequence[Ran],
    items: int,
    plain_bytes: int,
    slots: int,
    parts: int = 0,
) -> Sizing:
    """Choose the size of batches for so many items, in so many parts, that make so many bytes.

    The target gives way to busy slots, those to the items' bounds, all to the bytes' bound.
    """
    cost, learned_from = learn(sizes, history)
    wanted, decided_by = sizes.target_seconds / cost, "target_seconds"
    each = max((items + parts * part_items(cost)) / slots, WORKER_SECONDS / cost)
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


def batch_seconds(seconds_per_item: float, items: int, parts: int) -> float:
    """Return how long a batch of so many items, in so many ranges, is expected to take."""
    return BATCH_SECONDS + parts * PART_SECONDS + items * seconds_per_item
