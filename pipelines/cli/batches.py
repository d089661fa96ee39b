"""The batches of an asset, as people and programs read them."""

from collections.abc import Sequence
from typing import Any

from pipelines.cli.console import print_table
from pipelines.cli.readable import cut, page_width, print_lines, wrapped
from pipelines.summaries import counted
from workers.ledger.records import Batch

# Of a batch's outcome, as --json prints it.
OUTCOME_NAMES = ("used", "dead", "duplicates", "profiles", "result")
COLUMNS = ("batch", "partition", "state", "items", "dead", "tries", "seconds")
MAX_FAILED = 20  # batches whose failure is told
MAX_BLOCKS = 3  # of each


def batch_document(batch: Batch) -> dict[str, Any]:
    """Return a batch with its outcome's numbers; without an outcome its items are an estimate."""
    document = batch.to_json()
    outcome = document.pop("outcome") or {}

    document["items"] = outcome.get("items", batch.items)
    document["is_estimate"] = batch.outcome is None
    document["seconds"] = outcome.get("seconds")
    return document | {name: outcome.get(name) for name in OUTCOME_NAMES}


def print_batches(batches: Sequence[Batch]) -> None:
    """Print a row for each batch, and below them why some failed, with their blocks."""
    print_table(COLUMNS, [_row(batch) for batch in batches])
    failed = [batch for batch in batches if batch.error and not batch.is_done]
    if not failed:
        return

    lines = ["", f"{counted(len(failed), 'batch')} failed:"]
    for batch in failed[:MAX_FAILED]:
        lines += _failure(batch)
    if more := len(failed) - MAX_FAILED:
        lines += [f"  and {more:,} more; --json has all"] if more > 0 else []
    print_lines(lines)


def _row(batch: Batch) -> list[Any]:
    """Return the cells of a batch; until it is done its items are an estimate."""
    outcome = batch.outcome
    items = outcome.items if outcome else batch.items
    dead = outcome.dead if outcome else 0
    seconds = round(outcome.seconds, 1) if outcome else 0.0
    return [batch.id, batch.partition, batch.state.value, items, dead, batch.attempts, seconds]


def _failure(batch: Batch) -> list[str]:
    """Return which batch failed, on which blocks, and why."""
    blocks = sorted({range_.key for range_ in batch.ranges})
    shown = [f"    {cut(block, page_width() - 4)}" for block in blocks[:MAX_BLOCKS]]
    if (more := len(blocks) - MAX_BLOCKS) > 0:
        shown.append(f"    and {counted(more, 'more block')}")
    tries = "1 try" if batch.attempts == 1 else f"{batch.attempts:,} tries"
    head = f"  {batch.partition}  {batch.id}  about {counted(batch.items, 'item')}, {tries}"
    return [head, *shown, *wrapped(batch.error, "      ", "      ")]
