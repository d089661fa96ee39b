"""The graph, and its job as a plain project has it: Dagster's default executor and storage."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

COUNT_TAG = "benchmark/steps"  # how many mapped steps a run has


@dg.op(out=dg.DynamicOut())
def deal(context: dg.OpExecutionContext) -> Iterator[Any]:
    """Yield as many numbers as the run's tag says."""
    for number in range(int(context.run.tags[COUNT_TAG])):
        yield dg.DynamicOutput(number, str(number))


@dg.op
def idle(number: int) -> int:
    """Do nothing."""
    return number


@dg.op
def gather(numbers: list[int]) -> int:
    """Return how many mapped steps there were."""
    return len(numbers)


@dg.graph
def idle_graph() -> None:
    """Map nothing over numbers."""
    gather(deal().map(idle).collect())


def job() -> dg.JobDefinition:
    """Return the job by Dagster's defaults."""
    return idle_graph.to_job()
