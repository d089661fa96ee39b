"""Make all profiles anew, or forget all of them."""

from collections.abc import Callable
from typing import Any

from tests.support.pipeline import Pipeline
from workers.planning.rebuild import begin_rebuild, partitions_to_rebuild, swap


def rebuild(pipeline: Pipeline, before_the_swap: Callable[[], Any] = bool) -> dict[str, Any]:
    """Make all profiles anew, and put them in their place; return the summary of the run."""
    days = partitions_to_rebuild(*pipeline.four, drop_removed=True)
    generation = begin_rebuild(pipeline.asset, pipeline.ledger)
    summary = pipeline.run(*days, generation=generation, drop_removed=True)
    before_the_swap()
    swap(pipeline.asset, pipeline.task, pipeline.ledger, generation)
    return summary


def forget(pipeline: Pipeline) -> None:
    """Remove all that is in the bucket and the database."""
    for block in pipeline.store.list(""):
        pipeline.store.delete(block.key)
    names = pipeline.database.list_collection_names()
    for name in names:
        if name.startswith("system."):  # MongoDB's own, such as what its profiler has seen
            continue
        pipeline.database[name].delete_many({})
