"""Commands for what went wrong: look at dead letters, run them again, make profiles anew."""

import re
from collections.abc import Sequence
from typing import Any

import click

from pipelines import progress, runs
from pipelines.console import (
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
from pipelines.fanout import GENERATION
from pipelines.jobs import redrive_job_name
from workers import rebuild, redrive, task
from workers.errors import Refused
from workers.model import Asset, span


@click.command("dead-letters")
@asset_argument
@partition_option
@click.option("--id", "letter", metavar="ID", help="One letter, shown whole.")
@click.option("--reason", metavar="TEXT", help="Letters whose reason holds this text.")
@click.option("--state", type=click.Choice(["open", "redriven", "discarded"]))
@click.option("--discard", "why", metavar="WHY", help="Discard the open ones of these, saying why.")
@json_option
def dead_letters(
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
    with servers() as (_, book):
        chosen = [one["_id"] for one in book.letters.collection.find(query, {"_id": 1})]
        if letter and not chosen:
            raise Refused(f"{asset.name} has no such dead letter {letter!r}")
        discarded = book.letters.discard({"_id": {"$in": chosen}}, why) if why else 0
        order = [("partition", 1), ("block", 1), ("place", 1)]
        found = list(book.letters.collection.find({"_id": {"$in": chosen}}).sort(order))
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
def redrive_(asset: Asset, partition: str | None, as_json: bool) -> int:
    """Run the open dead letters and the failed batches of ASSET again, and fold what works now.

    Without --partition, of every partition that has any. Blocks that landed since are left to
    `fanfold run`.
    """
    if partition:
        asset.partitions.time(partition)
    with servers() as (_, book):
        waiting = redrive.partitions_to_redrive(book, asset)
    chosen = {p: n for p, n in waiting.items() if partition in (None, p)}
    with progress.display(as_json) as shown:
        job = redrive_job_name(asset)
        summaries = list(runs.materialise_all(asset, list(chosen), shown, job))
    with servers() as (_, book):
        left = redrive.partitions_to_redrive(book, asset)
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


@click.command("rebuild")
@asset_argument
@click.option("--drop-removed", is_flag=True, help="Leave out partitions whose blocks are gone.")
@json_option
def rebuild_(asset: Asset, drop_removed: bool, as_json: bool) -> int:
    """Make all profiles of ASSET anew beside the old ones, and swap them in at the end.

    From the results of finished batches, and from the raw blocks where blocks or code changed.
    Closed partitions are taken up as they are now. Until the swap readers see the old profiles.
    """
    with servers() as (store, book):
        database = book.database
        rebuild.finish_swap(database, book, asset)
        seen = rebuild.folded_plans(book, asset)
        todo = rebuild.partitions_to_rebuild(
            book, store, asset, task.load(asset.task), drop_removed
        )
        generation = rebuild.begin(database, book, asset)
    summaries, tags = [], {GENERATION: str(generation)}
    with progress.display(as_json) as shown:
        while todo:
            for one in runs.materialise_all(asset, todo, shown, tags=tags):
                summaries.append(one)
                if not one["success"]:
                    return _tell_rebuild(asset, generation, summaries, 0, as_json)
            with servers() as (_, book):
                now = rebuild.folded_plans(book, asset)
            # What other runs folded into the old profiles meanwhile is taken up once more.
            todo = [key for key, plan in now.items() if seen.get(key) != plan]
            seen = now
    with servers() as (_, book):
        database = book.database
        rebuild.swap(database, book, asset, generation)
        rebuild.leftovers(database, book, asset)
        count = database[asset.name].count_documents({})
    return _tell_rebuild(asset, generation, summaries, count, as_json)


def _tell_rebuild(
    asset: Asset, generation: int, summaries: list[dict[str, Any]], profiles: int, as_json: bool
) -> int:
    success = all(one["success"] for one in summaries)
    errors = [error for one in summaries for error in one.get("errors", [])]
    document = {
        "asset": asset.name,
        "success": success,
        "generation": generation,
        "profiles": profiles,
        "batches": sum(one.get("batches", 0) for one in summaries),
        "batches_reused": sum(one.get("batches_reused", 0) for one in summaries),
        "errors": errors,
        "runs": [one["run_id"] for one in summaries if one["run_id"]],
    }
    text = f"{profiles:,} profiles rebuilt from {document['batches']:,} batches "
    text += f"({document['batches_reused']:,} reused) and swapped in"
    if not success:
        text = "the old profiles stay as they are: " + "; ".join(errors)
    show(as_json, document, lambda: out.print(text, markup=False))
    return 0 if success else 1
