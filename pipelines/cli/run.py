"""What the commands do for what people schedule: run it, list its batches, verify it."""

from collections.abc import Sequence

import msgspec

from pipelines.cli.batches import batch_document, print_batches
from pipelines.cli.console import (
    check_partition,
    needed_partitions,
    out,
    selected_partitions,
    servers,
    show,
)
from pipelines.cli.display import open_display
from pipelines.cli.outcome import print_summary, slowest_batch
from pipelines.cli.verdict import print_verdict
from pipelines.cli.worker import warn_without_workers
from pipelines.purposes import DROP_REMOVED_TAG
from pipelines.requested import partitions_at_work
from pipelines.runs import dagster_instance, materialise_all
from pipelines.summaries import Summary, adoption_text, join_summaries
from workers.declare.asset import Asset
from workers.declare.task import load_task
from workers.errors import Refused
from workers.ledger.records import Batch
from workers.planning.not_folded import partitions_not_folded
from workers.planning.remarks import nothing_found
from workers.verify import verify_profiles


def run_partitions(
    asset: Asset,
    partition: str | None,
    partitions: str | None,
    is_failed: bool,
    drop_removed: bool,
    as_json: bool,
) -> int:
    """Run what the options name; return the exit code."""
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
    slowest = None if as_json else _slowest(summary)
    show(as_json, summary, lambda: print_summary(summary, asset, slowest))
    return 0 if summary["success"] else 1


def _slowest(summary: Summary) -> Batch | None:
    """Return the batch that took longest of those that a run ran, where it folded any."""
    if "items" not in summary:
        return None
    with servers() as (ledger, _):
        return slowest_batch(ledger, summary)


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


def list_batches(asset: Asset, partition: str | None, as_json: bool) -> None:
    """Print the batches of an asset that the ledger knows."""
    check_partition(asset, partition)
    with servers() as (ledger, _):
        batches = ledger.batches_of_asset(asset.name, partition)

    documents = [batch_document(batch) for batch in batches]
    show(as_json, {"batches": documents}, lambda: print_batches(batches))


def verify(asset: Asset, partition: str | None, partitions: str | None, as_json: bool) -> int:
    """Print whether profiles are what their blocks say; return the exit code."""
    keys = selected_partitions(asset, partition, partitions)
    task = load_task(asset.task)
    with servers() as (ledger, store):
        verdict = verify_profiles(asset, task, ledger, store, keys)

    document = {"asset": asset.name} | msgspec.structs.asdict(verdict)
    show(as_json, document, lambda: print_verdict(asset, verdict))
    return 0 if verdict.match and not verdict.unread_blocks else 1
