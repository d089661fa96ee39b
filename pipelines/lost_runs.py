"""Runs whose process is gone, such as those of a command or a `make dev` that was killed.

Run monitoring (dagster.yaml) asks the launcher, and the one for this machine cannot say.
"""

import os
import re
import socket

import dagster as dg
import psutil

from pipelines.errors import START_AGAIN

PROCESS = "fanfold/process"  # tag of a run that a command executes: host, pid, when it was born
EVENTS = 20  # first events of a run's engine, of which one does; a long run has thousands
BEGAN = re.compile(r"\(pid: (\d+)\)")  # how Dagster's events name the process of a run


def this_process() -> str:
    """Return what tells this process from any other."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.0f}"


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Mark runs as failed whose process on this machine is gone.",
)
def lost_runs_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Mark runs as failed whose process is gone; with that they free their slots and are told."""
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    lost = [run for run in context.instance.get_runs(filters) if is_lost(context.instance, run)]
    for run in lost:
        context.instance.report_run_failed(
            run,
            f"The process of this run is gone: it was killed, or its machine was. {START_AGAIN}",
        )
    return dg.SkipReason(f"{len(lost)} runs marked as failed")


def is_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Tell whether a started run ran in a process of this machine that is no more."""
    if PROCESS in run.tags:
        host, pid, born = run.tags[PROCESS].split()
        return host == socket.gethostname() and not _lives(int(pid), float(born) + 1)
    if not _is_launched_here(instance, run):
        return False
    first = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, limit=EVENTS
    )
    for entry in (record.event_log_entry for record in first.records):
        if found := BEGAN.search(entry.user_message):
            return not _lives(int(found[1]), entry.timestamp)
    return False  # it has not said yet which process it runs in


def _is_launched_here(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Tell whether a code server of this machine started the run's process."""
    is_local = isinstance(instance.run_launcher, dg.DefaultRunLauncher)
    return is_local and '"host": "localhost"' in run.tags.get(".dagster/grpc_info", "")


def _lives(pid: int, latest: float) -> bool:
    """Tell whether a process runs that was born no later, so no other one with its number."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= latest and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
