"""A run some of whose partitions are not folded: the others are materialised, and then it fails."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventBatchMetadata, generate_event_batch_id

from pipelines.errors import failure
from pipelines.pages.tables import MAX_NAMED_ROWS, Metadata, Row, table
from workers.declare.asset import Asset
from workers.folding.publish import Published

NOT_FOLDED = "partitions_not_folded"  # metadata by which a failed step says that others are


def materialised(
    context: dg.AssetExecutionContext, asset: Asset, metadata: Mapping[str, Mapping[str, Any]]
) -> Iterator[DagsterEvent]:
    """Log that partitions are materialised, with the metadata of each, in one transaction.

    Dagster does so by itself where a step succeeds, and then for all partitions of the run. What
    this step logged before it was killed is not logged again.
    """
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    logged = set()
    for entry in context.instance.all_logs(context.run.run_id, of_type=kind):
        event = entry.dagster_event
        if event and event.asset_key == dg.AssetKey(asset.name):
            logged.add(event.partition)

    partitions = [partition for partition in metadata if partition not in logged]
    batch_id = generate_event_batch_id()
    for partition in partitions:
        event = dg.AssetMaterialization(
            asset_key=asset.name, partition=partition, metadata=metadata[partition]
        )
        batch = DagsterEventBatchMetadata(batch_id, partition == partitions[-1])
        yield DagsterEvent.asset_materialization(context.get_step_execution_context(), event, batch)


def failure_of(
    log: logging.Logger, asset: Asset, published: Published, tables: Metadata
) -> dg.Failure:
    """Return what the run fails with: which partitions are folded, which are not, and why."""
    folded, failed = published.partitions_folded, published.partitions_failed
    listed = asset.partitions.ranges_text(folded)
    whys = "; ".join(
        f"{asset.partitions.ranges_text(refusal.partitions)}: {refusal.why}"
        for refusal in published.refused
    )
    text = (
        f"{asset.name}: {len(folded):,} of {len(published.partitions):,} partitions are folded "
        f"({listed}), and {len(failed):,} {'is' if len(failed) == 1 else 'are'} not. {whys}"
    )
    numbers: Metadata = {
        "partitions_folded": dg.MetadataValue.int(len(folded)),
        NOT_FOLDED: dg.MetadataValue.int(len(failed)),
    }
    short = f"{len(failed):,} of {len(published.partitions):,} partitions not folded"
    return failure(log, text, tables | _refusals(asset, published) | numbers, short)


def _refusals(asset: Asset, published: Published) -> Metadata:
    """Return the partitions that are not folded, each reason once."""
    rows: list[Row] = [
        {"not_folded": asset.partitions.ranges_text(refusal.partitions), "why": refusal.why}
        for refusal in published.refused[:MAX_NAMED_ROWS]
    ]
    return {"partitions": table(rows)} if rows else {}


def is_partial(events: Sequence[DagsterEvent]) -> bool:
    """Tell whether a run failed for some of its partitions alone, and folded the others."""
    failures = [event.step_failure_data for event in events if event.is_step_failure]
    known = [failure.user_failure_data for failure in failures if failure.user_failure_data]
    return any(NOT_FOLDED in failure.metadata for failure in known)
