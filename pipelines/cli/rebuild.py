"""What the command does that makes profiles anew."""

from collections.abc import Sequence
from typing import Any

from pipelines.cli.console import out, servers, show
from pipelines.cli.display import Display, open_display
from pipelines.purposes import DROP_REMOVED_TAG, GENERATION_TAG
from pipelines.runs import materialise_all
from pipelines.summaries import Summary, failures, is_folded
from workers.declare.asset import Asset
from workers.declare.task import load_task
from workers.ledger.profiles import OURS
from workers.planning.rebuild import (
    begin_rebuild,
    drop_leftovers,
    finish_swap,
    folded_plan_ids,
    partitions_to_rebuild,
    swap,
)


def rebuild(asset: Asset, drop_removed: bool, as_json: bool) -> int:
    """Make all profiles of an asset anew; return the exit code."""
    task = load_task(asset.task)
    with servers() as (ledger, store):
        finish_swap(asset, task, ledger)
        plan_ids = folded_plan_ids(asset, ledger)
        partitions = partitions_to_rebuild(asset, task, ledger, store, drop_removed)
        generation = begin_rebuild(asset, ledger)

    with open_display(as_json) as display:
        tags = {GENERATION_TAG: str(generation)}
        tags |= {DROP_REMOVED_TAG: "yes"} if drop_removed else {}
        summaries = _materialise_generation(asset, tags, plan_ids, partitions, display)

    profiles = 0
    if all(is_folded(summary) for summary in summaries):
        with servers() as (ledger, _):
            swap(asset, task, ledger, generation)
            drop_leftovers(asset, ledger)
            profiles = ledger.profiles(asset.name).documents.count_documents(OURS)

    document = _document(asset, generation, summaries, profiles)
    show(as_json, document, lambda: _print_rebuild(document))
    return 0 if document["success"] else 1


def _materialise_generation(
    asset: Asset,
    tags: dict[str, str],
    plan_ids: dict[str, str],
    partitions: Sequence[str],
    display: Display | None,
) -> list[Summary]:
    """Fold partitions in runs with these tags; return their summaries, of which the last may fail.

    What other runs folded into the old profiles meanwhile, other plans than these, is taken up
    once more.
    """
    summaries: list[Summary] = []
    while partitions:
        for summary in materialise_all(asset, partitions, display, tags=tags):
            summaries.append(summary)
            if not is_folded(summary):
                return summaries

        with servers() as (ledger, _):
            newest_ids = folded_plan_ids(asset, ledger)
        partitions = [key for key, plan_id in newest_ids.items() if plan_ids.get(key) != plan_id]
        plan_ids = newest_ids
    return summaries


def _document(
    asset: Asset, generation: int, summaries: Sequence[Summary], profiles: int
) -> dict[str, Any]:
    """Return what came of a rebuild, as `--json` prints it."""
    return {
        "asset": asset.name,
        "success": all(summary["success"] for summary in summaries),
        "swapped": all(is_folded(summary) for summary in summaries),
        "generation": generation,
        "profiles": profiles,
        "batches": _total(summaries, "batches"),
        "batches_reused": _total(summaries, "batches_reused"),
        "errors": [error for summary in summaries for error in failures(summary)],
        "runs": [summary["run_id"] for summary in summaries if summary["run_id"]],
    }


def _total(summaries: Sequence[Summary], name: str) -> int:
    return sum(summary.get(name, 0) for summary in summaries)


def _print_rebuild(document: dict[str, Any]) -> None:
    if document["swapped"]:
        text = f"{document['profiles']:,} profiles rebuilt from {document['batches']:,} batches "
        text += f"({document['batches_reused']:,} reused) and swapped in"
        text += "".join(f"\n{error}" for error in document["errors"])
    else:
        text = "the old profiles stay as they are: " + "; ".join(document["errors"])
    out.print(text, markup=False)
