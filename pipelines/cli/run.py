"""Commands for what people schedule: run it, see its plan and batches, verify it."""

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from pipelines.cli.batches import batch_document, print_batches
from pipelines.cli.console import (
    asset_argument,
    check_partition,
    json_option,
    needed_partitions,
    out,
    partition_option,
    partitions_option,
    print_table,
    selected_partitions,
    servers,
    show,
)
from pipelines.cli.display import open_display
from pipelines.cli.outcome import print_remarks, print_summary
from pipelines.cli.verdict import print_verdict
from pipelines.cli.worker import warn_without_workers
from pipelines.fanout import DROP_REMOVED_TAG, slots_of_run
from pipelines.requested import partitions_at_work
from pipelines.runs import dagster_instance, materialise_all
from pipelines.summaries import Summary, adoption_text, join_summaries
from workers import steps
from workers.declare.asset import Asset
from workers.declare.task import load_task
from workers.errors import Refused
from workers.ledger.records import Plan
from workers.planning.not_folded import partitions_not_folded
from workers.planning.remarks import nothing_found
from workers.planning.slots import Slots
from workers.verify import verify_profiles


@click.command()
@asset_argument
@partition_option
@partitions_option
@click.option("--failed", "is_failed", is_flag=True, help="What its newest run did not fold.")
@click.option("--drop-removed", is_flag=True, help="Let what is gone take profiles along.")
@json_option
def run_command(
    asset: Asset,
    partition: str | None,
    partitions: str | None,
    is_failed: bool,
    drop_removed: bool,
    as_json: bool,
) -> int:
    """Materialise partitions of ASSET in a Dagster run, which the UI shows too.

    Partitions with more bad items than are tolerated, or without a whole result, are named; the
    others are folded all the same, and the exit code is 1. --failed runs those that their newest
    run did not fold, and no other run is at.

    A range that is too large for one becomes several runs, the oldest partitions first. Where one
    fails, the later ones are run all the same, and the exit code is 1. So it is where a check that
    is no warning does not pass. A run is refused where more than half of the blocks that profiles
    were made of are gone; see --drop-removed.
    """
    if is_failed:
        keys = _failed_partitions(asset, partition or partitions)
        if not keys:
            return _show_up_to_date(asset, as_json)
    else:
        keys = needed_partitions(asset, partition, partitions)
    tags = {DROP_REMOVED_TAG: "yes"} if drop_removed else {}
    warn_without_workers()
    with open_display(as_json) as display:
        summaries = list(materialise_all(asset, keys, display, tags=tags))

    summary = join_summaries(summaries)
    summary["remarks"] = _remarks(asset, keys, summary)
    show(as_json, summary, lambda: print_summary(summary, asset))
    return 0 if summary["success"] else 1


def _failed_partitions(asset: Asset, others: str | None) -> list[str]:
    """Return the partitions that are not up to date, but for those that runs are at."""
    if others:
        raise Refused("--failed excludes --partition and --partitions")
    with servers() as (ledger, _):
        not_folded = partitions_not_folded(asset, ledger)
    if not not_folded:
        return []
    with dagster_instance() as instance:
        at_work = partitions_at_work(instance, asset)
    return [partition for partition in not_folded if partition not in at_work]


def _show_up_to_date(asset: Asset, as_json: bool) -> int:
    document = {"run_id": None, "asset": asset.name, "success": True, "partitions": [], "runs": []}
    text = f"{asset.name} is up to date: each partition is folded as planned, or a run is at it"
    show(as_json, document, lambda: out.print(text))
    return 0


def _remarks(asset: Asset, partitions: Sequence[str], summary: Summary) -> list[str]:
    """Return what a person should know of a run: documents that it adopted, or found nothing."""
    if summary.get("blocks") != 0:
        return [text for text in [adoption_text(summary)] if text]
    with servers() as (_, store):
        return [nothing_found(asset, store, partitions)]


@click.command("plan")
@asset_argument
@partition_option
@partitions_option
@json_option
def plan_command(
    asset: Asset, partition: str | None, partitions: str | None, as_json: bool
) -> None:
    """Show what a run of ASSET would do; nothing is run or written."""
    keys = needed_partitions(asset, partition, partitions)
    task = load_task(asset.task)
    with servers() as (ledger, store):
        slots = slots_of_run(ledger)
        queued = steps.plan(asset, task, ledger, store, keys, slots.number)
    queued.summary["slots_decided_by"] = queued.summary["slots_decided_by"] or slots.why

    rows = [_plan_row(plan) for plan in queued.work.plans]
    document = {"asset": asset.name, "partitions": rows, **queued.summary}
    show(as_json, document, lambda: _print_plan(rows, queued.summary))


def _plan_row(plan: Plan) -> dict[str, Any]:
    return {
        "partition": plan.partition,
        "blocks": plan.blocks,
        "bytes": plan.bytes,
        "items_estimated": plan.items,
        "batches": len(plan.batches),
        "batches_reused": len(plan.reused),
    }


def _print_plan(rows: Sequence[dict[str, Any]], summary: dict[str, Any]) -> None:
    names = list(rows[0])
    lines = [list(row.values()) for row in rows if row["blocks"] or len(rows) == 1]
    lines.append(["in all", *(summary[name] for name in names[1:])])
    print_table([name.replace("_", " ") for name in names], lines)

    batches = summary["learned_from_batches"]
    cost = f"{summary['seconds_per_item']:.2g} s an item, "
    cost += f"learned from {batches} batches" if batches else "the asset's estimate"
    out.print(
        f"\n{Slots(summary['slots'], summary['slots_decided_by'])}\n"
        f"{summary['slicers']} slicers, {summary['workers']} workers; batches of up to "
        f"{summary['batch_items']:,} items, decided by {summary['decided_by']}\n"
        f"{summary['work_seconds']} s of work ({cost}) and {summary['overhead_seconds']} s of "
        "overhead"
    )
    for looked in summary["formats"]:
        blocks = f"{looked['blocks']:,} block{'s' if looked['blocks'] > 1 else ''}"
        reason = f": {looked['reason']}" if looked["reason"] else ""
        out.print(
            f"{looked['format']}: {blocks}, such as {looked['example']}{reason}", markup=False
        )
    code = summary["code"]["text"]
    print_remarks([*([code] if code else []), *summary["remarks"]])


@click.command("batches")
@asset_argument
@partition_option
@json_option
def batches_command(asset: Asset, partition: str | None, as_json: bool) -> None:
    """List the batches of ASSET that the ledger knows."""
    check_partition(asset, partition)
    with servers() as (ledger, _):
        batches = ledger.batches_of_asset(asset.name, partition)

    documents = [batch_document(batch) for batch in batches]
    show(as_json, {"batches": documents}, lambda: print_batches(batches))


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
    The exit code is 1 where they differ, and where a block cannot be read whole and nobody has
    discarded its rest.
    """
    keys = selected_partitions(asset, partition, partitions)
    task = load_task(asset.task)
    with servers() as (ledger, store):
        verdict = verify_profiles(asset, task, ledger, store, keys)

    document = {"asset": asset.name} | msgspec.structs.asdict(verdict)
    show(as_json, document, lambda: print_verdict(asset, verdict))
    return 0 if verdict.match and not verdict.unread_blocks else 1
