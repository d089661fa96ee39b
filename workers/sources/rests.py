"""About how many items the rest of a block holds, which nobody can read."""

from typing import NamedTuple

from workers.values import BrokenRange, Place, Range

TYPICAL_ITEM_BYTES = 200  # of an item, where none of a batch could be read


class Density(NamedTuple):
    """So many items were met in so many bytes of blocks."""

    items: int
    bytes: int


def items_of_rest(range_: Range, place: Place, items_read: int, before: Density) -> int:
    """Return an estimate of the items from a place to the end of a range, 1 at least.

    `items_read` are those of the range that could be read, and `before` is what its batch met in
    other ranges. The largest of what bytes and samples say counts: where an upload was cut short,
    its bytes are gone, and both say too little.
    """
    by_samples = range_.items - items_read
    return max(1, by_samples, round(_by_bytes(range_, place, items_read, before)))


def _by_bytes(range_: Range, place: Place, items_read: int, before: Density) -> float:
    """Return the items that the bytes of a rest would hold if they are like those before."""
    if isinstance(range_, BrokenRange):
        rest_bytes = range_.bytes
    else:
        # Of a compressed block the place counts more bytes than there are: samples know better.
        rest_bytes = max(range_.end - max(int(place.position), range_.start), 0)

    read_bytes = range_.bytes - rest_bytes
    if items_read and read_bytes:
        return rest_bytes * items_read / read_bytes
    if before.items and before.bytes:
        return rest_bytes * before.items / before.bytes
    return rest_bytes / TYPICAL_ITEM_BYTES
