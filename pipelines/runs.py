"""Materialise an asset the way the UI does: Dagster runs, on the UI's instance."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import dagster as dg
from dagster._core.execution.api import execute_run
from dagster._core.storage.tags import MAX_RETRIES_TAG
from dagster._core.utils import make_new_run_id

from pipelines.cli.display import Display
from pipelines.cli.progress import follow_run
from pipelines.definitions import definitions
from pipelines.errors import (
    STOPPED_TEXT,
    failed_checks,
    run_error,
    step_errors,
    unusual_sentences,
    was_stopped,
)
from pipelines.jobs import job_name
from pipelines.location import job_origin
from pipelines.lost_runs import PROCESS, free_lost_slots, process_of_run
from pipelines.partial import is_partial
from pipelines.processes import enter_home, start_fork_server, stop_fork_server
from pipelines.purposes import GENERATION_TAG
from pipelines.summaries import Summary, refusal_texts, summary_of_none
from resources.io_manager import RUNS_PREFIX, summary_key
from resources.run_queue import (
    FIRST_PARTITION_TAG,
    LAST_PARTITION_TAG,
    PARTITION_TAG,
    STARTED_BY,
    partitions_tag,
)
from resources.s3 import location_settings
from workers.declare.asset import Asset, span
from workers.errors import Unavailable
from workers.ledger.mongo import mongodb_errors, open_database
from workers.retry import retry
from workers.settings import Settings
from workers.store import open_store

REACH_SECONDS = 2  # seconds for which a command tries to reach S3
# The command that executes a run sees to it; nobody starts it once more beside that.
NO_RETRY = {MAX_RETRIES_TAG: "0"}


def split_partitions(asset: Asset, partitions: Sequence[str]) -> list[list[str]]:
    """Group partitions into runs, oldest first: each a range without gaps, and not too long."""
    most = asset.sizes.partitions_per_run
    return [
        range_[start : start + most]
        for range_ in asset.partitions.ranges(partitions)
        for start in range(0, len(range_), most)
    ]


def materialise_all(
    asset: Asset,
    partitions: Sequence[str],
    display: Display | None = None,
    job: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Summary]:
    """Run an asset over partitions in as many runs as they take; yield the summary of each.

    Data that fail one run do not keep the later ones from being run. A person who stops one does,
    and so does a server that is away. Whoever wants no more stops asking.
    """
    ranges = split_partitions(asset, partitions)
    for number, keys in enumerate(ranges):
        label = f"{number + 1}/{len(ranges)} " if len(ranges) > 1 else ""
        try:
            summary = materialise(asset, keys, job, tags, display, label)
        except Unavailable as error:
            if not number:
                raise
            yield summary_of_none(asset, ranges[number:], str(error))
            return

        yield summary
        later = ranges[number + 1 :]
        if later and STOPPED_TEXT in summary.get("errors", []):
            yield summary_of_none(asset, later, "the one before was stopped")
            return


def materialise(
    asset: Asset,
    partitions: Sequence[str],
    job: str | None = None,
    tags: Mapping[str, str] | None = None,
    display: Display | None = None,
    label: str = "",
) -> Summary:
    """Run an asset over adjacent partitions in one run; by its plain job where none is named.

    Returns the run's summary. Meanwhile its progress is shown under the label.
    """
    settings = location_settings()
    check_servers(asset, settings, partitions[0])

    started = time.monotonic()
    run_id = make_new_run_id()
    of_partitions = partition_tags(partitions)
    all_tags = {**of_partitions, **partitions_tag(of_partitions), **(tags or {}), **NO_RETRY}
    all_tags |= {STARTED_BY: command_of_tags(tags or {}, job), PROCESS: process_of_run(run_id)}

    with dagster_instance() as instance, fork_server():
        free_lost_slots(instance)
        title = f"{label}{asset.name} {span(partitions)}"
        following = display and follow_run(
            title, len(partitions), lambda: run_id, settings, display
        )
        with following or nullcontext() as follower:
            result = _execute(instance, run_id, job or job_name(asset), all_tags)
            if follower and not was_stopped(result.dagster_run):
                follower.ending = "done" if result.success else "failed"
        summary = _summarise(asset, settings, partitions, result)

    return summary | {"seconds": round(time.monotonic() - started, 3)}


def _execute(
    instance: dg.DagsterInstance, run_id: str, name: str, tags: Mapping[str, str]
) -> dg.JobExecutionResult:
    """Execute a job as `dg.execute_job` does, in a run that the UI finds at its code location."""
    job = reconstructable(name)
    definition = job.get_definition()
    loaded = job.repository.get_definition().repository_load_data
    run = instance.create_run_for_job(
        definition,
        run_id=run_id,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags={**definition.run_tags, **tags},
        remote_job_origin=job_origin(name),
        job_code_origin=job.get_python_origin(),
        repository_load_data=loaded,
    )
    return execute_run(job.with_repository_load_data(loaded), run, instance)


def _summarise(
    asset: Asset, settings: Settings, partitions: Sequence[str], result: dg.JobExecutionResult
) -> Summary:
    """Return what a run published and which checks did not pass, or what went wrong."""
    summary: Summary = {"run_id": result.run_id, "asset": asset.name, "success": result.success}
    is_partly_folded = is_partial(result.all_events)
    if result.success or is_partly_folded:
        published: Summary = open_store(settings).get_json(summary_key(result.run_id, asset.name))
        evaluations = result.get_asset_check_evaluations()
        failed = failed_checks(evaluations, asset.name)
        checks = [check._asdict() for check in failed]
        summary |= published | {"success": not (failed or is_partly_folded)}
        summary["checks_failed"] = checks
        summary["warnings"] += unusual_sentences(evaluations, asset.name)
        if is_partly_folded:
            summary["errors"] = refusal_texts(asset, published)
        return summary

    errors = [STOPPED_TEXT] if was_stopped(result.dagster_run) else errors_of(result)
    return summary | {"partitions": list(partitions), "errors": errors}


def check_servers(asset: Asset, settings: Settings, partition: str) -> None:
    """Make sure that both servers answer; a wrong address is told within seconds."""
    with mongodb_errors(), open_database(settings, patient=False).client as client:
        client.admin.command("ping")

    store = open_store(settings, patient=False)
    prefix = RUNS_PREFIX if asset.source else asset.prefixes(partition)[0]
    retry(lambda: next(store.list(prefix), None), REACH_SECONDS)


@contextmanager
def fork_server() -> Iterator[None]:
    """Let the local executor's fork server import while the run is made; stop it at the end."""
    start_fork_server()
    try:
        yield
    finally:
        stop_fork_server()


def reconstructable(name: str) -> Any:
    """Return a job of the code location in the form that other processes can build it from."""
    return dg.build_reconstructable_job(
        "pipelines.runs", "resolve", reconstructable_kwargs={"name": name}
    )


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
        return {PARTITION_TAG: partitions[0]}
    return {
        FIRST_PARTITION_TAG: partitions[0],
        LAST_PARTITION_TAG: partitions[-1],
    }


def command_of_tags(tags: Mapping[str, str], job: str | None) -> str:
    """Return the command that a run is of, for people."""
    if GENERATION_TAG in tags:
        return "fanfold rebuild"
    return "fanfold redrive" if job else "fanfold run"


def dagster_instance() -> dg.DagsterInstance:
    """Return the instance that the UI shows: DAGSTER_HOME's, else the project's own."""
    enter_home()
    return dg.DagsterInstance.get()


def errors_of(result: dg.JobExecutionResult) -> list[str]:
    """Return what each failed step says, or else the run; a sentence where Fanfold raised it."""
    errors = [f"{step}: {text}" for step, text in step_errors(result.all_events)]
    return errors or [run_error(result.all_events)]
