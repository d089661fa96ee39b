"""Commands for what went wrong: look at dead letters, run them again, make profiles anew."""

import re
from collections.abc import Sequence
from typing import Any

import click

from pipelines.cli.console import (
    asset_argument,
    err,
    json_option,
    out,
    partition_option,
    servers,
    show,
    table,
    where,
)
from pipelines.cli.progress import display
from pipelines.jobs import redrive_job_name
from pipelines.runs import materialise_all
from workers.declare.asset import Asset, span
from workers.errors import Refused
from workers.planning.redrive import partitions_to_redrive


@click.command("dead-letters")
@asset_argument
@partition_option
@click.option("--id", "letter", metavar="ID", help="One letter, shown whole.")
@click.option("--reason", metavar="TEXT", help="Letters whose reason holds this text.")
@click.option("--state", type=click.Choice(["open", "redriven", "discarded"]))
@click.option("--discard", "why", metavar="WHY", help="Discard the open ones of these, saying why.")
@json_option
def dead_letters_command(
    asset: Asset,
    partition: str | None,
    letter: str | None,
    reason: str | None,
    state: str | None,
    why: str | None,
    as_json: bool,
) -> None:
    """List the items of ASSET that could not be used, with the reason.

    A discarded letter stays on record, and no longer counts against the tolerance.
    """
    query = where(asset, partition)
    query |= {"_id": letter} if letter else {}
    query |= {"state": state} if state else {}
    if reason:
        query["reason"] = {"$regex": re.escape(reason), "$options": "i"}
    if why is not None and not why.strip():
        raise Refused("--discard needs a reason, for whoever looks at it later")
    with servers() as (_, ledger):
        chosen = [one["_id"] for one in ledger.dead_letters.collection.find(query, {"_id": 1})]
        if letter and not chosen:
            raise Refused(f"{asset.name} has no such dead letter {letter!r}")
        discarded = ledger.dead_letters.discard({"_id": {"$in": chosen}}, why) if why else 0
        order = [("partition", 1), ("block", 1), ("place", 1)]
        found = list(ledger.dead_letters.collection.find({"_id": {"$in": chosen}}).sort(order))
    listed = [{"id": one.pop("_id")} | one for one in found]
    document = {"dead_letters": listed} | ({"discarded": discarded} if why else {})
    show(as_json, document, lambda: _print_letters(listed, is_one=bool(letter)))
    if why:
        err.print(f"{discarded} discarded")


def _print_letters(listed: Sequence[dict[str, Any]], is_one: bool) -> None:
    if is_one:
        for name, value in listed[0].items():
            lines = value if isinstance(value, list) else [value]
            out.print(f"{name:<12}" + f"\n{'':<12}".join(str(line) for line in lines), markup=False)
        return
    names = ("id", "partition", "state", "attempts", "block", "place", "reason")
    table(names, [[one[name] for name in names] for one in listed])
    counted: dict[str, int] = {}
    for one in listed:
        counted[one["cause"]] = counted.get(one["cause"], 0) + 1
    if len(listed) > 1:
        ranked = sorted(counted.items(), key=lambda pair: -pair[1])
        out.print()
        table(("letters", "reason"), [(number, text) for text, number in ranked])


@click.command("redrive")
@asset_argument
@partition_option
@json_option
def redrive_command(asset: Asset, partition: str | None, as_json: bool) -> int:
    """Run the open dead letters and the failed batches of ASSET again, and fold what works now.

    Without --partition, of every partition that has any. Blocks that landed since are left to
    `fanfold run`.
    """
    if partition:
        asset.partitions.time(partition)
    with servers() as (_, ledger):
        waiting = partitions_to_redrive(ledger, asset)
    chosen = {p: n for p, n in waiting.items() if partition in (None, p)}
    with display(as_json) as shown:
        job = redrive_job_name(asset)
        summaries = list(materialise_all(asset, list(chosen), shown, job))
    with servers() as (_, ledger):
        left = partitions_to_redrive(ledger, asset)
    document = {
        "asset": asset.name,
        "success": all(one["success"] for one in summaries),
        "partitions": list(chosen),
        "items_tried": sum(chosen.values()),
        "items_left": sum(left.get(one, 0) for one in chosen),
        "runs": summaries,
    }
    show(as_json, document, lambda: _print_redrive(document))
    return 0 if document["success"] else 1


def _print_redrive(document: dict[str, Any]) -> None:
    if not document["partitions"]:
        out.print("there is nothing to redrive: no open dead letter, no failed batch")
        return
    for one in document["runs"]:
        for error in one.get("errors", []):
            out.print(f"{span(one['partitions'])} failed: {error}", markup=False)
    tried, left = document["items_tried"], document["items_left"]
    out.print(f"{tried:,} items run again: {tried - left:,} used now, {left:,} still not")
