"""Materialise an asset the way the UI does: Dagster runs, on the UI's instance."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from itertools import groupby
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg

from pipelines.cli.progress import Display, followed
from pipelines.definitions import definitions
from pipelines.errors import STOPPED_TEXT, run_error, step_errors, was_stopped
from pipelines.jobs import job_name
from pipelines.lost_runs import PROCESS, this_process
from resources.embedded import running_settings
from resources.io_manager import summary_key
from workers.declare.asset import Asset, span
from workers.errors import Refused, Unavailable
from workers.ledger.mongo import mongodb_errors, open_database
from workers.retry import retry
from workers.settings import Settings
from workers.store import open_store

REACH_SECONDS = 2  # how long a command tries to reach S3
COMMAND = "fanfold/command"  # tag by which a command finds the run that it started


def split_partitions(asset: Asset, partitions: Sequence[str]) -> list[list[str]]:
    """Group partitions into runs, oldest first: each a range without gaps, and not too long."""
    first, step = asset.partitions.time(asset.partitions.start), asset.partitions.step
    ordered = sorted(partitions, key=asset.partitions.time)
    places = [(asset.partitions.time(one) - first) // step - n for n, one in enumerate(ordered)]
    most, found = asset.sizes.partitions_per_run, []
    for _, pairs in groupby(zip(places, ordered, strict=True), key=lambda pair: pair[0]):
        group = [one for _, one in pairs]
        found += [group[start : start + most] for start in range(0, len(group), most)]
    return found


def materialise_all(
    asset: Asset,
    partitions: Sequence[str],
    shown: Display | None = None,
    job: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Run an asset over partitions in as many runs as they take; yield the summary of each.

    Data that fail one run do not keep the later ones from being run. A person who stops one does,
    and so does a server that is away. Whoever wants no more stops asking.
    """
    found = split_partitions(asset, partitions)
    for number, part in enumerate(found):
        label = f"{number + 1}/{len(found)} " if len(found) > 1 else ""
        try:
            summary = materialise(asset, part, job, tags, shown, label)
        except Unavailable as error:
            if not number:
                raise
            yield _not_run(asset, found[number:], str(error))
            return
        yield summary
        if STOPPED_TEXT in summary.get("errors", []) and found[number + 1 :]:
            yield _not_run(asset, found[number + 1 :], "the one before was stopped")
            return


def _not_run(asset: Asset, rest: Sequence[Sequence[str]], why: str) -> dict[str, Any]:
    """Return the summary of runs that were not started."""
    return {
        "run_id": None,
        "asset": asset.name,
        "success": False,
        "partitions": [key for part in rest for key in part],
        "errors": [f"not run: {why}"],
        "seconds": 0.0,
    }


def joined(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the summaries of runs, of which there is one at least, as one.

    Numbers are sums over the runs that succeeded: a profile that two of them folded counts twice.
    """
    ids = [one["run_id"] for one in summaries if one["run_id"]]
    if len(summaries) == 1:
        return {**summaries[0], "runs": ids}
    failed = [one for one in summaries if not one["success"]]
    document = {
        "run_id": ids[-1],
        "asset": summaries[0]["asset"],
        "success": not failed,
        "partitions": [key for one in summaries for key in one["partitions"]],
        "partitions_failed": [key for one in failed for key in one["partitions"]],
    }
    numbers = {name: 0 for one in summaries for name, value in one.items() if is_number(value)}
    document |= {name: sum(one.get(name, 0) for one in summaries) for name in numbers}
    if failed:
        texts = [(span(one["partitions"]), error) for one in failed for error in one["errors"]]
        document["errors"] = [f"{of}: {error}" for of, error in texts]
    return document | {"seconds": round(document["seconds"], 3), "runs": ids}


def is_number(value: Any) -> bool:
    """Tell whether a value of a summary is one to add up."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def materialise(
    asset: Asset,
    partitions: Sequence[str],
    job: str | None = None,
    tags: Mapping[str, str] | None = None,
    shown: Display | None = None,
    label: str = "",
) -> dict[str, Any]:
    """Run an asset over adjacent partitions in one run; by its plain job where none is named.

    Returns the run's summary, with `success`, `seconds` and, where it failed, `errors`. Meanwhile
    its progress is shown under the label.
    """
    settings = running_settings()
    store = open_store(settings)
    check_servers(settings, asset, partitions[0])
    started, command = time.monotonic(), uuid4().hex
    named = {**partition_tags(partitions), **(tags or {}), COMMAND: command}
    named[PROCESS] = this_process()
    with dagster_instance() as here, fork_server_stopped():
        title, find = f"{label}{asset.name} {span(partitions)}", partial(run_of, here, command)
        following = shown and followed(title, len(partitions), find, settings, shown)
        with following or nullcontext() as follower:
            result = _execute(here, job or job_name(asset), named)
            is_stopped = was_stopped(result.dagster_run)
            if follower and not is_stopped:
                follower.ending = "done" if result.success else "failed"
        summary = {"run_id": result.run_id, "asset": asset.name, "success": result.success}
        if result.success:
            summary |= store.get_json(summary_key(result.run_id, asset.name))
        else:
            said = [STOPPED_TEXT] if is_stopped else errors_of(result)
            summary |= {"partitions": list(partitions), "errors": said}
    return summary | {"seconds": round(time.monotonic() - started, 3)}


def _execute(here: dg.DagsterInstance, job: str, tags: Mapping[str, str]) -> dg.JobExecutionResult:
    return dg.execute_job(
        dg.build_reconstructable_job(
            "pipelines.runs", "resolve", reconstructable_kwargs={"name": job}
        ),
        instance=here,
        tags=tags,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


def run_of(here: dg.DagsterInstance, command: str) -> str | None:
    """Return the id of the run that a command started; None before it is there."""
    found = here.get_run_ids(dg.RunsFilter(tags={COMMAND: command}), limit=1)
    return found[0] if found else None


def check_servers(settings: Settings, asset: Asset, partition: str) -> None:
    """Make sure that both servers answer; a wrong address is told within seconds."""
    with mongodb_errors(), open_database(settings, patient=False).client as client:
        client.admin.command("ping")
    store = open_store(settings, patient=False)
    retry(lambda: next(store.of_partition(asset, partition), None), REACH_SECONDS)


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


def dagster_instance() -> dg.DagsterInstance:
    """Return the instance that the UI shows: DAGSTER_HOME's, else the project's own."""
    if "DAGSTER_HOME" not in os.environ:
        project = Path(__file__).parent.parent
        if not (project / "dagster.yaml").exists():
            raise Refused("DAGSTER_HOME is not set; set it to the folder of your dagster.yaml")
        os.environ["DAGSTER_HOME"] = str(project)
        os.chdir(project)  # dagster.yaml names its folders from here
    return dg.DagsterInstance.get()


def errors_of(result: dg.JobExecutionResult) -> list[str]:
    """Return what each failed step says, or else the run; a sentence where Fanfold raised it."""
    said = [f"{step}: {text}" for step, text in step_errors(result.all_events)]
    return said or [run_error(result.all_events)]
