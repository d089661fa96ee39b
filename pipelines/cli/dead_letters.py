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
from workers.declare.asset import Asset, span
from workers.errors import Refused
from workers.ledger.dead_letters import DeadLetter, DeadLetterState
from workers.planning.redrive import partitions_to_redrive

LETTER_COLUMNS = ("id", "partition", "state", "attempts", "block", "place", "reason")


@click.command("dead-letters")
@asset_argument
@partition_option
@click.option("--id", "letter_id", metavar="ID", help="One letter, shown whole.")
@click.option("--reason", metavar="TEXT", help="Letters whose reason holds this text.")
@click.option("--state", type=click.Choice([state.value for state in DeadLetterState]))
@click.option("--discard", "why", metavar="WHY", help="Discard the open ones of these, saying why.")
@json_option
def dead_letters_command(
    asset: Asset,
    partition: str | None,
    letter_id: str | None,
    reason: str | None,
    state: str | None,
    why: str | None,
    as_json: bool,
) -> None:
    """List the items of ASSET that could not be used, with the reason.

    A discarded letter stays on record, and no longer counts against the tolerance.
    """
    check_partition(asset, partition)
    if why is not None and not why.strip():
        raise Refused("--discard needs a reason, for whoever looks at it later")

    discarded = 0
    with servers() as (ledger, _):
        letters = ledger.dead_letters.find(asset.name, partition, letter_id, reason, state)
        if letter_id and not letters:
            raise Refused(f"{asset.name} has no such dead letter {letter_id!r}")
        if why:
            ids = {letter.id for letter in letters}
            discarded = ledger.dead_letters.discard(ids, why)
            # Their state may be no longer the one that they were chosen by.
            letters = ledger.dead_letters.find(asset.name, partition, letter_id, reason)
            letters = [letter for letter in letters if letter.id in ids]

    rows = [_letter_row(letter) for letter in letters]
    document = {"dead_letters": rows} | ({"discarded": discarded} if why else {})
    show(as_json, document, lambda: _print_letters(rows, is_whole=bool(letter_id)))
    if why:
        err.print(f"{discarded} discarded")


def _letter_row(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter as people read it: places and attempts are text."""
    found_by = [f"{attempt.batch}-{attempt.number}" for attempt in letter.found_by]
    as_text = {"place": str(letter.place), "found_by": found_by}
    return {"id": letter.id} | letter.to_json() | as_text


def _print_letters(rows: Sequence[dict[str, Any]], is_whole: bool) -> None:
    if is_whole:
        _print_whole(rows[0])
        return

    print_table(LETTER_COLUMNS, [[row[name] for name in LETTER_COLUMNS] for row in rows])
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
        for error in summary.get("errors", []):
            out.print(f"{span(summary['partitions'])} failed: {error}", markup=False)

    tried = document["items_tried"]
    unused = document["items_left"]
    out.print(f"{tried:,} items run again: {tried - unused:,} used now, {unused:,} still not")
