"""What the command does that runs items again which could not be used."""

from typing import Any

from pipelines.cli.console import check_partition, out, servers, show
from pipelines.cli.display import open_display
from pipelines.cli.outcome import print_sentences
from pipelines.jobs import redrive_job_name
from pipelines.runs import materialise_all
from pipelines.summaries import failures
from workers.declare.asset import Asset, span
from workers.planning.redrive import partitions_to_redrive


def redrive(asset: Asset, partition: str | None, as_json: bool) -> int:
    """Run what was not used again, and fold what works now; return the exit code."""
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
        if errors := failures(summary):
            out.print(f"{span(summary['partitions'])} failed:", markup=False)
            print_sentences(errors)

    tried = document["items_tried"]
    unused = document["items_left"]
    out.print(f"{tried:,} items run again: {tried - unused:,} used now, {unused:,} still not")
