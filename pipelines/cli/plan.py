"""What a run would do, before anything runs."""

from collections.abc import Sequence
from typing import Any

from pipelines.cli.console import needed_partitions, out, print_table, servers, show, wrapped
from pipelines.cli.outcome import print_remarks
from pipelines.fanout import slots_of_run
from pipelines.runs import check_servers
from resources.s3 import location_settings
from workers import steps
from workers.declare.asset import Asset
from workers.declare.task import load_task
from workers.ledger.records import Plan
from workers.planning.slots import Slots


def show_plan(asset: Asset, partition: str | None, partitions: str | None, as_json: bool) -> None:
    """Print what a run would do; nothing is run or written."""
    keys = needed_partitions(asset, partition, partitions)
    check_servers(asset, location_settings(), keys[0])
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
    workers = f"{summary['slicers']} slicers, {summary['workers']} workers; batches of up to "
    workers += f"{summary['batch_items']:,} items, decided by {summary['decided_by']}"
    work = f"{summary['work_seconds']} s of work ({cost}) and {summary['overhead_seconds']} s of "
    work += "overhead"
    out.print()
    for text in (str(Slots(summary["slots"], summary["slots_decided_by"])), workers, work):
        out.print(wrapped(text), markup=False)
    for looked in summary["formats"]:
        blocks = f"{looked['blocks']:,} block{'s' if looked['blocks'] > 1 else ''}"
        reason = f": {looked['reason']}" if looked["reason"] else ""
        text = f"{looked['format']}: {blocks}, such as {looked['example']}{reason}"
        out.print(wrapped(text), markup=False)
    code = summary["code"]["text"]
    print_remarks([*([code] if code else []), *summary["remarks"]])
