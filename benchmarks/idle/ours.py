"""The job of the same graph by our executor, its preloads, and our way to hand on values."""

from functools import cache

import dagster as dg

from benchmarks.idle.plain import idle_graph
from pipelines.executors import executor
from resources.blocks import BlocksResource
from resources.io_manager import JsonIOManager
from resources.s3 import S3


@cache
def job(executor_name: str) -> dg.JobDefinition:
    """Return the job by one of our executors."""
    return idle_graph.to_job(
        executor_def=executor(executor_name),
        resource_defs={"io_manager": JsonIOManager(store=BlocksResource(s3=S3))},
    )
