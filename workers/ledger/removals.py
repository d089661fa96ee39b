"""What went from a partition since it was folded: too much of it takes no profile along silently.

A lifecycle rule of S3 deletes blocks bit by bit, so what went is summed up from fold to fold,
until a person says that it is meant.
"""

from collections.abc import Iterable, Sequence

from workers.declare.asset import Asset, span
from workers.ledger.ledger import Ledger
from workers.ledger.losses import MAX_NAMED
from workers.ledger.records import Plan, Removed
from workers.values import Block, blocks_digest

# A partition that lost more than this part of its blocks, or of their bytes, is held back.
MAX_REMOVED_SHARE = 0.5
# What came makes up for what went from this part of its bytes on: many blocks packed into one have
# fewer bytes than before.
REPLACED_SHARE = 0.5
MAX_EXAMPLES = 3  # keys of blocks that went, which a message names


def removed_since(ledger: Ledger, folded: Plan | None, blocks: Sequence[Block]) -> Removed:
    """Return what went of a partition since a person last said that it is meant.

    `folded` is the plan that its profiles were made from, where they were. A block that is
    replaced under its key did not go.
    """
    if folded is None or not (folded.counts and folded.counts.used):
        return Removed()
    if folded.blocks_digest == blocks_digest(blocks):
        return folded.removed

    sizes = {
        range_.key: range_.size
        for batch in ledger.batches_of(folded)
        for range_ in batch.ranges
        if not batch.is_redrive
    }
    before = folded.removed
    gone = sorted(sizes.keys() - {block.key for block in blocks})
    removed = Removed(
        blocks=before.blocks + len(gone),
        bytes=before.bytes + sum(sizes[key] for key in gone),
        of_blocks=before.blocks + len(sizes),
        of_bytes=before.bytes + sum(sizes.values()),
        examples=[*gone, *before.examples][:MAX_EXAMPLES],
    )

    new_bytes = sum(block.size for block in blocks if block.key not in sizes)
    is_replaced = new_bytes >= REPLACED_SHARE * removed.bytes
    return Removed() if is_replaced else removed


def exceeds_share(removed: Removed) -> bool:
    """Tell whether so much of a partition went that a person has to say that it is meant."""
    return (
        removed.blocks > MAX_REMOVED_SHARE * removed.of_blocks
        or removed.bytes > MAX_REMOVED_SHARE * removed.of_bytes
    )


def explain_removals(
    asset: Asset, removals: Iterable[tuple[str, Removed]], is_rebuild: bool = False
) -> str:
    """Return why partitions are held back, and what to do; "" where none of them is."""
    held_back = [(partition, removed) for partition, removed in removals if exceeds_share(removed)]
    if not held_back:
        return ""

    first = held_back[0][1]
    example = f", {first.bytes:,} of {first.of_bytes:,} bytes, such as {first.examples[0]}"
    named = ", ".join(
        f"{name} ({removed.blocks:,} of {removed.of_blocks:,} blocks"
        f"{example if removed is first else ''})"
        for name, removed in held_back[:MAX_NAMED]
    )
    if len(held_back) > MAX_NAMED:
        named += f" and {len(held_back) - MAX_NAMED} more"
    return (
        f"{asset.name}: held back, since more than half of the blocks that profiles were made of "
        f"are gone: {named}. Nothing was changed. Put the blocks back, or say that it is meant: "
        f"`{_command(asset, held_back, is_rebuild)}`"
    )


def _command(asset: Asset, held_back: Sequence[tuple[str, Removed]], is_rebuild: bool) -> str:
    """Return what a person types where a removal is meant."""
    if is_rebuild:
        return f"fanfold rebuild {asset.name} --drop-removed"
    partitions = sorted(partition for partition, _ in held_back)
    option = "--partition" if len(partitions) == 1 else "--partitions"
    return f"fanfold run {asset.name} {option} {span(partitions)} --drop-removed"
