"""What a person should know of partitions before anything runs: where nothing lies, and why.

These are sentences; nothing depends on them.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from workers.declare.asset import Asset
from workers.errors import FanfoldError
from workers.ledger.losses import MAX_NAMED
from workers.ledger.unknown import unknown_text
from workers.planning.listing import Listing
from workers.sources.formats.look import without_beginning
from workers.sources.slicing import Looked, Sliced
from workers.store import OWN_PREFIX, BlockStore

MAX_FORMATS = 20  # of blocks that a plan names
MAX_STRAYS = 3  # keys that fit no partition, of those that a message names


def remarks_on(asset: Asset, store: BlockStore, listings: Sequence[Listing]) -> list[str]:
    """Return what is odd about partitions as they lie in S3 now."""
    remarks = []
    empty = [listing.partition for listing in listings if not listing.blocks]
    if empty and len(empty) == len(listings):
        remarks.append(nothing_found(asset, store, empty))
    elif empty:
        named = ", ".join(empty[:MAX_NAMED]) + (", ..." if len(empty) > MAX_NAMED else "")
        remarks.append(f"{len(empty)} of {len(listings)} partitions have no block: {named}")

    left_out = [listing.left_out for listing in listings if listing.left_out.objects]
    if left_out:
        count = sum(each.objects for each in left_out)
        remarks.append(
            f"{count:,} {'object' if count == 1 else 'objects'} beside data left out, such as "
            f"{left_out[0].example} (empty, or hidden by a name with _ or . in front; "
            "`reads_hidden=True` in the asset's declaration reads them)"
        )
    return remarks


def nothing_found(asset: Asset, store: BlockStore, partitions: Sequence[str]) -> str:
    """Return where blocks of partitions were looked for, none of which has any, and what is there.

    The keys that are named fit no partition, as one with another padding or another folder does.
    """
    if asset.source:
        return f"no profile of {asset.source}"

    prefixes = [prefix for partition in partitions for prefix in asset.prefixes(partition)]
    text = f"no block under {_address(store, prefixes[0])}"
    if len(prefixes) > 1:
        text += f", nor under {len(prefixes) - 1} other prefixes up to {prefixes[-1]}"

    folder = asset.layout.root.rpartition("/")[0]
    folder += "/" if folder else ""
    try:
        keys = _keys_near(asset, store, folder, prefixes[0])
    except FanfoldError:
        return text  # some credentials may list no more than the partition
    strays = [key for key in keys if not asset.owner_of(key)]
    if strays:
        return (
            f"{text}; there are objects that fit no partition of the template "
            f"{asset.template!r}, such as {', '.join(strays[:MAX_STRAYS])}"
        )
    if keys:
        return f"{text}; other partitions have some, such as {keys[0]}"
    return f"{text}; nothing at all lies under {_address(store, folder)}"


def _keys_near(asset: Asset, store: BlockStore, folder: str, prefix: str) -> list[str]:
    """Return keys in the folder that all partitions share: some behind a prefix, and the first."""
    keys = [*store.some_keys(folder, after=prefix), *store.some_keys(folder)]
    return [
        key
        for key in dict.fromkeys(keys)
        if not key.startswith(OWN_PREFIX) and not asset.is_beside_data(key)
    ]


def _address(store: BlockStore, prefix: str) -> str:
    return f"s3://{store.bucket}/{prefix}"


def describe_listings(listings: Sequence[Listing], remarks: Sequence[str]) -> dict[str, Any]:
    """Return the remarks, with the numbers in them, for programs."""
    left_out = [listing.left_out for listing in listings if listing.left_out.objects]
    return {
        "left_out": sum(each.objects for each in left_out),
        "left_out_example": left_out[0].example if left_out else "",
        "remarks": list(remarks),
    }


def describe_formats(sliced: Iterable[Sliced]) -> list[dict[str, Any]]:
    """Return what the blocks that were cut seem to be, the most frequent first.

    Of small blocks only some were looked at, and the others are taken to be like them. Reasons that
    differ in what their blocks begin with are one, so that the example's stands for all.
    """
    merged: dict[tuple[str, str], Looked] = {}
    for part in sliced:
        for looked in part.looked:
            name = (looked.format, without_beginning(looked.reason))
            first = merged.get(name)
            blocks = looked.blocks + (first.blocks if first else 0)
            merged[name] = msgspec.structs.replace(first or looked, blocks=blocks)

    ranked = sorted(merged.values(), key=lambda looked: -looked.blocks)
    return [looked.to_json() for looked in ranked[:MAX_FORMATS]]


def describe_unknown(sliced: Iterable[Sliced], known: Collection[str]) -> list[str]:
    """Return which fields the items' type does not know, but for those that were told before."""
    fields = {field.name: field for part in sliced for field in part.unknown}
    new = [fields[name] for name in fields if name not in known]
    return [unknown_text(new)] if new else []
