"""Commands for what people schedule: run it, see its plan and batches, verify it."""

from typing import Any

import click

from pipelines.cli.console import (
    asset_argument,
    json_option,
    out,
    partition_option,
    partitions_option,
    selected,
    servers,
    show,
    table,
    where,
)
from pipelines.cli.progress import display
from pipelines.fanout import SLOTS
from pipelines.runs import is_number, joined, materialise_all
from workers.declare.asset import Asset
from workers.declare.task import load_task
from workers.errors import Refused
from workers.planning.plans import describe_work, preview
from workers.verify import verify_profiles


@click.command()
@asset_argument
@partition_option
@partitions_option
@json_option
def run_command(asset: Asset, partition: str | None, partitions: str | None, as_json: bool) -> int:
    """Materialise partitions of ASSET in a Dagster run, which the UI shows too.

    A range that is too large for one becomes several runs, the oldest partitions first. Where one
    fails, the later ones are run all the same, and the exit code is 1.
    """
    keys = selected(asset, partition, partitions)
    if keys is None:
        raise Refused("say which: --partition P, or --partitions A...B")
    with display(as_json) as shown:
        summary = joined(list(materialise_all(asset, keys, shown)))
    show(as_json, summary, lambda: _print_summary(summary))
    return 0 if summary["success"] else 1


def _print_summary(summary: dict[str, Any]) -> None:
    if not summary["success"]:
        failed, asked = summary.get("partitions_failed", []), summary["partitions"]
        some = f"{len(failed):,} of {len(asked):,} partitions are not folded"
        out.print(f"{some}:" if failed else f"run {summary['run_id']} failed:")
        for error in summary["errors"]:
            out.print(f"  {error}", markup=False)
        if "items" not in summary:
            return
    shown = {k: v for k, v in summary.items() if is_number(v)}
    # A profile that two runs folded is counted by both.
    of_several = {"profiles": "profiles, run by run"} if len(summary["runs"]) > 1 else {}
    rows = [(of_several.get(k, k.replace("_", " ")), v) for k, v in shown.items()]
    table(("", summary["asset"]), rows)


@click.command("plan")
@asset_argument
@partition_option
@partitions_option
@json_option
def plan_command(
    asset: Asset, partition: str | None, partitions: str | None, as_json: bool
) -> None:
    """Show what a run of ASSET would do; nothing is run or written."""
    keys = selected(asset, partition, partitions)
    if keys is None:
        raise Refused("say which: --partition P, or --partitions A...B")
    of_asset, slots = load_task(asset.task), SLOTS
    with servers() as (store, ledger):
        work, slicers = preview(store, ledger, asset, of_asset, keys, slots)
    rows = [
        {
            "partition": made.partition,
            "blocks": made.blocks,
            "bytes": made.bytes,
            "items_estimated": made.items,
            "batches": len(made.batches),
            "batches_reused": len(made.reused),
        }
        for made in work.plans
    ]
    told = describe_work(work, asset, slicers, slots)
    document = {"asset": asset.name, "partitions": rows, **told}
    show(as_json, document, lambda: _print_plan(rows, told))


def _print_plan(rows: list[dict[str, Any]], told: dict[str, Any]) -> None:
    lines = [tuple(row.values()) for row in rows if row["blocks"] or len(rows) == 1]
    lines.append(("in all", *(told[name] for name in list(rows[0])[1:])))
    table([name.replace("_", " ") for name in rows[0]], lines)
    learned = told["learned_from_batches"]
    cost = f"{told['seconds_per_item']:.2g} s an item, "
    cost += f"learned from {learned} batches" if learned else "the asset's estimate"
    out.print(
        f"\n{told['masters']} masters, {told['workers']} workers; batches of up to "
        f"{told['batch_items']:,} items, decided by {told['decided_by']}\n"
        f"{told['work_seconds']} s of work ({cost}) and {told['overhead_seconds']} s of overhead"
    )


@click.command("batches")
@asset_argument
@partition_option
@json_option
def batches_command(asset: Asset, partition: str | None, as_json: bool) -> None:
    """List the batches of ASSET that the ledger knows."""
    with servers() as (_, ledger):
        found = list(ledger.batches.find(where(asset, partition)).sort([("partition", 1)]))
    listed = []
    for document in found:
        outcome = document.pop("outcome", None) or {}
        one = {"id": document.pop("_id")} | document
        one |= {"items": outcome.get("items", document["items"])}
        one |= {"is_estimate": not outcome, "seconds": outcome.get("seconds")}
        one |= {name: outcome.get(name) for name in ("used", "dead", "profiles", "result")}
        listed.append(one)
    names = ("id", "partition", "state", "items", "seconds", "attempts", "error")
    rows = [[one.get(name) or ("" if name == "error" else 0) for name in names] for one in listed]
    show(as_json, {"batches": listed}, lambda: table(names, rows))


@click.command("verify")
@asset_argument
@partition_option
@partitions_option
@json_option
def verify_command(
    asset: Asset, partition: str | None, partitions: str | None, as_json: bool
) -> int:
    """Recompute the profiles of ASSET from what they were made of, and compare with MongoDB.

    From the raw blocks; what workers saw of the world, from their results; scores, from profiles.
    """
    keys = selected(asset, partition, partitions)
    with servers() as (store, ledger):
        verdict = verify_profiles(asset, load_task(asset.task), store, ledger, keys)
    document = {"asset": asset.name} | {k: getattr(verdict, k) for k in verdict.__struct_fields__}
    word = "match" if verdict.match else "do NOT match"
    text = f"{verdict.profiles:,} profiles {word} {verdict.items:,} items in {verdict.against}"
    if verdict.differing:
        text += f" ({verdict.expected_profiles:,} expected); differing: "
        text += ", ".join(verdict.differing)
        text += "\nWhat no run has taken up yet counts too; --partitions narrows the view."
    show(as_json, document, lambda: out.print(text, markup=False))
    return 0 if verdict.match else 1
