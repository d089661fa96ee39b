"""The same job as a run of Fanfold, by the way in which `fanfold run` starts it."""

import os
import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing import get_context

import dagster as dg

from benchmarks.process import Answer
from benchmarks.surroundings import ASSET, DAY
from pipelines.processes import start_fork_server
from pipelines.runs import location, materialise
from pipelines.summaries import Summary, failures


def run(day: str = DAY) -> Answer:
    """Materialise a day; return the seconds of the whole command, and of each kind of op."""
    summary = checked(materialise(ASSET, [day]))
    return {"seconds": summary["seconds"], "op_seconds": op_seconds(summary["run_id"])}


def run_warm(day: str = DAY) -> Answer:
    """Materialise a day once all is imported, here and in the fork server; return both seconds."""
    started = time.monotonic()
    start_fork_server()
    location()
    dg.DagsterInstance.get().dispose()
    first = get_context("forkserver").Process(target=os.getpid)
    first.start()
    first.join()  # the server forks it when all is imported

    ready = time.monotonic()
    summary = checked(materialise(ASSET, [day]))
    seconds = time.monotonic() - ready
    return {
        "seconds": seconds,
        "start_seconds": ready - started,
        "op_seconds": op_seconds(summary["run_id"]),
    }


def checked(summary: Summary) -> Summary:
    """Return the summary of a run that went well; SystemExit for any other."""
    if not summary["success"]:
        raise SystemExit("\n".join(failures(summary)))
    return summary


def op_seconds(run_id: str) -> Mapping[str, float]:
    """Return the seconds that each kind of op took, added up over its workers."""
    seconds: Counter[str] = Counter()
    with dg.DagsterInstance.get() as instance:
        for step in instance.get_run_step_stats(run_id):
            name = step.step_key.split(".")[-1].split("[")[0]
            seconds[name] += (step.end_time or 0) - (step.start_time or 0)
    return {name: round(took, 2) for name, took in seconds.items()}
