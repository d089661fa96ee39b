"""The command that makes profiles anew."""

from typing import Any

import click

from pipelines.cli.console import asset_argument, json_option, out, servers, show
from pipelines.cli.progress import display
from pipelines.fanout import GENERATION_TAG
from pipelines.runs import materialise_all
from workers.declare.asset import Asset
from workers.declare.task import load_task
from workers.planning.rebuild import (
    begin_rebuild,
    drop_leftovers,
    finish_swap,
    folded_plans,
    partitions_to_rebuild,
    swap,
)


@click.command("rebuild")
@asset_argument
@click.option("--drop-removed", is_flag=True, help="Leave out partitions whose blocks are gone.")
@json_option
def rebuild_command(asset: Asset, drop_removed: bool, as_json: bool) -> int:
    """Make all profiles of ASSET anew beside the old ones, and swap them in at the end.

    From the results of finished batches, and from the raw blocks where blocks or code changed.
    Closed partitions are taken up as they are now. Until the swap readers see the old profiles.
    """
    with servers() as (store, ledger):
        database = ledger.database
        finish_swap(database, ledger, asset)
        seen = folded_plans(ledger, asset)
        todo = partitions_to_rebuild(ledger, store, asset, load_task(asset.task), drop_removed)
        generation = begin_rebuild(database, ledger, asset)
    summaries, tags = [], {GENERATION_TAG: str(generation)}
    with display(as_json) as shown:
        while todo:
            for one in materialise_all(asset, todo, shown, tags=tags):
                summaries.append(one)
                if not one["success"]:
                    return _tell_rebuild(asset, generation, summaries, 0, as_json)
            with servers() as (_, ledger):
                now = folded_plans(ledger, asset)
            # What other runs folded into the old profiles meanwhile is taken up once more.
            todo = [key for key, plan in now.items() if seen.get(key) != plan]
            seen = now
    with servers() as (_, ledger):
        database = ledger.database
        swap(database, ledger, asset, generation)
        drop_leftovers(database, ledger, asset)
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
