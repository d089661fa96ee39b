"""Materialise an asset the way the UI does: one Dagster run, on the UI's instance."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import dagster as dg

from pipelines.definitions import definitions
from pipelines.jobs import job_name
from resources import embedded
from resources.references import run_folder
from workers import blocks, ledger
from workers.errors import FanfoldError, Refused, mongodb_errors, patiently
from workers.model import Asset
from workers.settings import Settings

REACH_SECONDS = 2  # how long a command tries to reach S3
OURS = {error.__name__ for error in FanfoldError.__subclasses__()}


def materialise(
    asset: Asset,
    partitions: Sequence[str],
    job: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run an asset over adjacent partitions in one run; by its plain job where none is named.

    Returns the run's summary, with `success`, `seconds` and, where it failed, `errors`.
    """
    settings = embedded.settings()
    store = blocks.connect(settings)
    reach(settings, asset, partitions[0])
    started = time.monotonic()
    with instance() as here, fork_server_stopped():
        result = dg.execute_job(
            dg.build_reconstructable_job(
                "pipelines.runs", "resolve", reconstructable_kwargs={"name": job or job_name(asset)}
            ),
            instance=here,
            tags={**partition_tags(partitions), **(tags or {})},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        summary = {"run_id": result.run_id, "asset": asset.name, "success": result.success}
        if result.success:
            summary |= store.get_json(f"{run_folder(result.run_id)}summary.json")
        else:
            summary |= {"partitions": list(partitions), "errors": errors(result)}
    return summary | {"seconds": round(time.monotonic() - started, 3)}


def reach(settings: Settings, asset: Asset, partition: str) -> None:
    """Make sure that both servers answer; a wrong address is told within seconds."""
    with mongodb_errors(), ledger.connect(settings, patient=False).client as client:
        client.admin.command("ping")
    store = blocks.connect(settings, patient=False)
    patiently(lambda: next(store.of_partition(asset, partition), None), REACH_SECONDS)


@contextmanager
def fork_server_stopped() -> Iterator[None]:
    """Stop the local executor's fork server at the end; else it outlives us for a moment."""
    try:
        yield
    finally:
        forkserver._forkserver._stop()  # noqa: SLF001  Python has no public name for it


@cache
def resolve(name: str) -> dg.JobDefinition:
    """Return a job of the code location; each op's process calls this, and inherits the answer."""
    return location().resolve_job_def(name)


@cache
def location() -> dg.Definitions:
    """Return the code location, built once for all of its jobs."""
    return definitions()


def partition_tags(partitions: Sequence[str]) -> dict[str, str]:
    """Return the tags that tell Dagster which partitions a run is for."""
    if len(partitions) == 1:
        return {"dagster/partition": partitions[0]}
    return {
        "dagster/asset_partition_range_start": partitions[0],
        "dagster/asset_partition_range_end": partitions[-1],
    }


def instance() -> dg.DagsterInstance:
    """Return the instance that the UI shows: DAGSTER_HOME's, else the project's own."""
    if "DAGSTER_HOME" not in os.environ:
        project = Path(__file__).parent.parent
        if not (project / "dagster.yaml").exists():
            raise Refused("DAGSTER_HOME is not set; set it to the folder of your dagster.yaml")
        os.environ["DAGSTER_HOME"] = str(project)
        os.chdir(project)  # dagster.yaml names its folders from here
    return dg.DagsterInstance.get()


def errors(result: dg.JobExecutionResult) -> list[str]:
    """Return what each failed step says, in one sentence where Fanfold raised it."""
    said = []
    for event in result.filter_events(lambda e: e.is_step_failure):
        data = event.step_failure_data
        failure = data.user_failure_data
        text = failure.description if failure else data.error and sentence(data.error)
        said.append(f"{event.step_key}: {(text or 'failed').strip()}")
    return said


def sentence(error: Any) -> str:
    """Return what the outermost error of ours says, else the deepest: Dagster wraps them."""
    while error.cause and error.cls_name not in OURS:
        error = error.cause
    if error.cls_name == "ChildProcessCrashException":
        return (
            "its process was killed or crashed. Start a new run of the same partitions: it reuses "
            "every finished batch; do not execute this one again from its failure"
        )
    message: str = error.message
    return message.removeprefix(f"{FanfoldError.__module__}.{error.cls_name}: ")
