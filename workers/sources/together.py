"""The blocks of many small partitions, listed together: a request brings a thousand keys.

A listing is as old as the request that brought the first of it, so each partition has a time of its
own. Where partitions are not small, or other objects lie between them, listing one by one is as
quick.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from workers.declare.asset import Asset
from workers.sources.objects import LeftOut, blocks_and_left_out, is_data, parted
from workers.store import BlockStore
from workers.values import Block

FEWEST_PARTITIONS = 8  # that are listed together, and that a request has to bring


class View(NamedTuple):
    """A partition as it lies in S3."""

    # A time before it was looked at.
    listed: float
    blocks: list[Block]
    left_out: LeftOut


def view_partition(
    asset: Asset, store: BlockStore, partition: str, now: Callable[[], float]
) -> View:
    """List one partition."""
    listed = now()
    return View(listed, *blocks_and_left_out(asset, store, partition))


def view_together(
    asset: Asset, store: BlockStore, partitions: Sequence[str], now: Callable[[], float]
) -> dict[str, View]:
    """List partitions by their common prefix; {} where one by one is as quick."""
    if len(partitions) < FEWEST_PARTITIONS:
        return {}

    places = sorted((prefix, name) for name in partitions for prefix in asset.prefixes(name))
    pages = store.pages(_common_start(places[0][0], places[-1][0]))
    listed: dict[str, float] = {}
    found: dict[str, list[Block]] = {name: [] for name in partitions}
    passed = 0

    is_end = False
    while not is_end:
        asked = now()
        page, is_end = next(pages)
        mine = 0
        for block in page:
            owner = asset.owner_of(block.key)
            if owner in found:
                found[owner].append(block)
                mine += 1

        before = passed
        while passed < len(places) and (is_end or (page and places[passed][0] <= page[-1].key)):
            listed.setdefault(places[passed][1], asked)
            passed += 1

        is_slow = passed - before < FEWEST_PARTITIONS or 2 * mine < len(page)
        if is_slow and passed < len(places):
            return {}
        is_end = is_end or bool(page and _is_past(page[-1].key, places[-1][0]))
    return {
        name: View(listed[name], *parted((block, is_data(asset, block)) for block in found[name]))
        for name in partitions
    }


def _common_start(first: str, last: str) -> str:
    pairs = enumerate(zip(first, last, strict=False))
    end = next((number for number, (one, other) in pairs if one != other), len(first))
    return first[:end]


def _is_past(key: str, prefix: str) -> bool:
    """Tell whether nothing with a prefix comes behind a key."""
    return key > prefix and not key.startswith(prefix)
