"""Commands for items that could not be used: look at them, discard them, run them again."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from pipelines.cli.console import (
    asset_argument,
    check_partition,
    err,
    json_option,
    out,
    partition_option,
    print_table,
    servers,
    show,
)
from pipelines.cli.display import open_display
from pipelines.jobs import redrive_job_name
from pipelines.runs import materialise_all
from pipelines.summaries import failures
from workers.declare.asset import Asset, span
from workers.errors import Refused
from workers.ledger.dead_letters import DeadLetter, DeadLetterState
from workers.ledger.losses import failed_batches
from workers.ledger.records import Batch
from workers.planning.redrive import partitions_to_redrive

LETTER_COLUMNS = ("id", "partition", "state", "attempts", "block", "place", "reason")
FAILED_COLUMNS = ("batch", "partition", "items", "attempts", "blocks", "error")


@click.command("dead-letters")
@asset_argument
@partition_option
@click.option("--id", "letter_id", metavar="ID", help="One letter, shown whole.")
@click.option("--reason", metavar="TEXT", help="Letters whose reason holds this text.")
@click.option("--state", type=click.Choice([state.value for state in DeadLetterState]))
@click.option("--unread", "is_unread", is_flag=True, help="Parts of blocks that were not read.")
@click.option("--discard", "why", metavar="WHY", help="Discard the open ones of these, saying why.")
@json_option
def dead_letters_command(
    asset: Asset,
    partition: str | None,
    letter_id: str | None,
    reason: str | None,
    state: str | None,
    is_unread: bool,
    why: str | None,
    as_json: bool,
) -> None:
    """List the items of ASSET that could not be used, with the reason; then its failed batches.

    A discarded letter stays on record, and no longer counts against the tolerance. To discard the
    letter of a part that was not read is to give up an unknown number of items.
    """
    check_partition(asset, partition)
    if why is not None and not why.strip():
        raise Refused("--discard needs a reason, for whoever looks at it later")

    discarded = 0
    with servers() as (ledger, _):
        chosen = (asset.name, partition, letter_id, reason)
        letters = ledger.dead_letters.find(*chosen, state, is_unread)
        if letter_id and not letters:
            raise Refused(f"{asset.name} has no such dead letter {letter_id!r}")
        if why:
            ids = {letter.id for letter in letters}
            discarded = ledger.dead_letters.discard(ids, why)
            # Their state may be no longer the one that they were chosen by.
            letters = ledger.dead_letters.find(*chosen)
            letters = [letter for letter in letters if letter.id in ids]

        is_narrowed = letter_id or reason or state or is_unread or why
        batches = [] if is_narrowed else failed_batches(ledger, asset.name, partition)

    rows = [_letter_row(letter) for letter in letters]
    failed = [_failed_row(batch) for batch in batches]
    document = {"dead_letters": rows, "failed_batches": failed}
    document |= {"discarded": discarded} if why else {}
    show(as_json, document, lambda: _print_all(rows, failed, is_whole=bool(letter_id)))
    if why:
        err.print(f"{discarded} discarded")


def _letter_row(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter as people read it: places and attempts are text."""
    found_by = [f"{attempt.batch}-{attempt.number}" for attempt in letter.found_by]
    as_text = {"place": str(letter.place), "found_by": found_by}
    as_text |= {"is_estimate": letter.place.is_rest}
    return {"id": letter.id} | letter.to_json() | as_text


def _failed_row(batch: Batch) -> dict[str, Any]:
    """Return a batch that failed for good; what it reads is unused, in a number not known."""
    return {
        "id": batch.id,
        "partition": batch.partition,
        "items": batch.items,
        "is_estimate": True,
        "attempts": batch.attempts,
        "blocks": sorted({range_.key for range_ in batch.ranges}),
        "error": batch.error,
    }


def _print_all(
    rows: Sequence[dict[str, Any]], failed: Sequence[dict[str, Any]], is_whole: bool
) -> None:
    if is_whole:
        _print_whole(rows[0])
        return

    _print_letters(rows)
    if failed:
        out.print("\nfailed batches:")
        print_table(FAILED_COLUMNS, [_failed_cells(row) for row in failed])


def _failed_cells(row: dict[str, Any]) -> list[str]:
    first, *more = row["blocks"]
    blocks = f"{first} and {len(more):,} more" if more else first
    cells = [row["id"], row["partition"], f"about {row['items']:,}", str(row["attempts"])]
    return [*cells, blocks, row["error"]]


def _letter_cells(row: dict[str, Any]) -> list[Any]:
    """Return the cells of a letter; of a rest its place says how much that may be."""
    estimate = f", about {row['items']:,} items" if row["is_estimate"] else ""
    cells = row | {"place": row["place"] + estimate}
    return [cells[name] for name in LETTER_COLUMNS]


def _print_letters(rows: Sequence[dict[str, Any]]) -> None:
    print_table(LETTER_COLUMNS, [_letter_cells(row) for row in rows])
    if len(rows) > 1:
        causes = Counter(row["cause"] for row in rows)
        out.print()
        print_table(
            ("letters", "reason"), [(count, cause) for cause, count in causes.most_common()]
        )


def _print_whole(row: dict[str, Any]) -> None:
    """Print one letter, a field a line; the lines of a list stand below each other."""
    indent = "\n" + " " * 12
    for name, value in row.items():
        lines = value if isinstance(value, list) else [value]
        out.print(f"{name:<12}" + indent.join(str(line) for line in lines), markup=False)


@click.command("redrive")
@asset_argument
@partition_option
@json_option
def redrive_command(asset: Asset, partition: str | None, as_json: bool) -> int:
    """Run the open dead letters and the failed batches of ASSET again, and fold what works now.

    Without --partition, of every partition that has any. Blocks that landed since are left to
    `fanfold run`.
    """
    check_partition(asset, partition)
    with servers() as (ledger, _):
        waiting = partitions_to_redrive(asset, ledger)
    if partition:
        waiting = {key: items for key, items in waiting.items() if key == partition}

    with open_display(as_json) as display:
        job = redrive_job_name(asset)
        summaries = list(materialise_all(asset, list(waiting), display, job))

    with servers() as (ledger, _):
        still_waiting = partitions_to_redrive(asset, ledger)
    document = {
        "asset": asset.name,
        "success": all(summary["success"] for summary in summaries),
        "partitions": list(waiting),
        "items_tried": sum(waiting.values()),
        "items_left": sum(still_waiting.get(key, 0) for key in waiting),
        "runs": summaries,
    }
    show(as_json, document, lambda: _print_redrive(document))
    return 0 if document["success"] else 1


def _print_redrive(document: dict[str, Any]) -> None:
    if not document["partitions"]:
        out.print("there is nothing to redrive: no open dead letter, no failed batch")
        return

    for summary in document["runs"]:
        for error in failures(summary):
            out.print(f"{span(summary['partitions'])} failed: {error}", markup=False)

    tried = document["items_tried"]
    unused = document["items_left"]
    out.print(f"{tried:,} items run again: {tried - unused:,} used now, {unused:,} still not")
