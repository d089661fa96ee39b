"""Run dead letters again: their items alone, as batches of their own beside a plan's others.

The code may be newer than the plan's: that is what mends an item. The plan's other batches stay
as they are, so a change that concerns more than the items at fault needs a plain run instead.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.ledger.counts import counted_attempts, redriven_letters
from workers.ledger.dead_letters import SUPERSEDED
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch, Redrive, as_batch
from workers.planning.listing import Listing
from workers.sources.formats.format import format_of
from workers.values import Document, Range, Round

MAX_LETTERS = 10_000  # letters in a batch, which is one document in the ledger
MAX_SINGLE_READS = 16  # letters that are worth a request each; for more, the range is read whole


def list_redrive(
    ledger: Ledger, asset: Asset, version: str, partition: str, generation: int
) -> Listing:
    """Return a partition's newest plan with its open letters, and what failed, to be run again.

    Blocks that landed since are left to a plain run.
    """
    plan = ledger.last_plan(asset.name, partition, generation=generation)
    if plan is None:
        raise Refused(
            f"{asset.name}: partition {partition} was never run, so there is nothing to redrive; "
            f"`fanfold run {asset.name} --partition {partition}` runs it"
        )
    documents = ledger.batches_of(plan)
    batches = {one["_id"]: one for one in documents if not one["redrives"]}
    redrives = [one for one in documents if one["redrives"] and one["state"] == "done"]
    is_kept = {i: one["state"] == "done" or one["version"] == version for i, one in batches.items()}
    stale = [as_batch(batches[one]) for one, kept in is_kept.items() if not kept]
    made = [Batch.cut(asset, version, partition, one.ranges, number=one.round) for one in stale]
    letters = waiting(ledger, batches.values(), redrives)
    made += [
        _redrive(asset, version, partition, batches, letters[start : start + MAX_LETTERS])
        for start in range(0, len(letters), MAX_LETTERS)
    ]
    return Listing(
        partition=partition,
        version=plan["version"],
        generation=generation,
        round=Round(generation, plan["round"]),
        listed=plan["listed"],  # its view of the blocks is that old
        news=plan["news"],
        blocks=plan["blocks"],
        bytes=plan["bytes"],
        kept=[one for one, kept in is_kept.items() if kept] + [one["_id"] for one in redrives],
        made=made,
        gaps=[],
    )


def waiting(
    ledger: Ledger, batches: Iterable[Document], redrives: Iterable[Document]
) -> list[Document]:
    """Return the letters of a plan that nobody discarded and no redrive has used, by place."""
    used = redriven_letters(ledger, redrives)
    found = ledger.dead_letters.found_by(
        counted_attempts(batches), **{"$or": [{"state": {"$ne": "discarded"}}, {"why": SUPERSEDED}]}
    )
    left = [letter for letter in found if letter["_id"] not in used]
    return sorted(left, key=lambda letter: (letter["block"], letter["place"]))


def _redrive(
    asset: Asset,
    version: str,
    partition: str,
    batches: Mapping[str, Document],
    letters: Sequence[Document],
) -> Batch:
    """Return the batch that runs letters again, out of the ranges that hold them."""
    places: dict[tuple[str, str], list[str]] = {}
    for letter in letters:
        (parent,) = {one.rpartition("-")[0] for one in letter["found_by"]} & batches.keys()
        places.setdefault((parent, letter["block"]), []).append(letter["place"])
    ranges = []
    for (parent, block), here in places.items():
        of_block = [one for one in as_batch(batches[parent]).ranges if one.key == block]
        ranges += _narrowed(asset, of_block, here)
    again = Redrive(
        attempts={letter["_id"]: letter["attempts"] for letter in letters},
        parents={parent for parent, _ in places},
    )
    number = as_batch(next(iter(batches.values()))).round
    return Batch.cut(asset, version, partition, ranges, again, number)


def _narrowed(asset: Asset, ranges: Sequence[Range], places: list[str]) -> list[Range]:
    """Return ranges of one block cut down to places in it, as far as that saves reading."""
    each = max(1, len(places) // len(ranges))
    if asset.source:
        return [msgspec.structs.replace(one, items=each, places=places) for one in ranges]
    form = format_of(ranges[0].key, asset.format)
    if any(one.piece or one.broken for one in ranges):
        return _in_pieces(ranges, places)
    if form.kind in ("json", "text") and form.is_splittable and len(places) <= MAX_SINGLE_READS:
        starts = [int(place.split()[1]) for place in places]
        return [
            msgspec.structs.replace(ranges[0], start=at, end=at + 1, items=1, places=[place])
            for at, place in zip(starts, places, strict=True)
        ]
    return [msgspec.structs.replace(one, items=each, places=places) for one in ranges]


def _in_pieces(ranges: Sequence[Range], places: list[str]) -> list[Range]:
    """Return the pieces that may hold places in their block.

    The offset of a piece of CSV is short by the header that it repeats, so the piece before the
    one that a place seems to be in may be the right one.
    """
    ordered = sorted(ranges, key=lambda one: one.offset)
    offsets = [one.offset for one in ordered]
    held: list[list[str]] = [[] for _ in ordered]
    for place in places:
        at = max(bisect_right(offsets, int(place.split()[1])) - 1, 0)
        for number in {at, max(at - 1, 0)}:
            held[number].append(place)
    return [
        msgspec.structs.replace(one, items=len(here), places=here)
        for one, here in zip(ordered, held, strict=True)
        if here
    ]


def partitions_to_redrive(ledger: Ledger, asset: Asset) -> dict[str, int]:
    """Return the partitions whose newest plan left items out, with how many a redrive would try."""
    generation, found = ledger.claims.generation(asset.name), {}
    candidates = {
        *ledger.dead_letters.partitions(asset.name, state={"$ne": "redriven"}),
        *ledger.batches.distinct("partition", {"asset": asset.name, "state": "failed"}),
    }
    for partition in sorted(candidates):
        plan = ledger.last_plan(asset.name, partition, generation=generation)
        if plan is None:
            continue
        batches = ledger.batches_of(plan)
        base = [one for one in batches if not one["redrives"]]
        failed = sum(one["items"] for one in base if one["state"] == "failed")
        if number := failed + len(waiting(ledger, base, batches)):
            found[partition] = number
    return found
