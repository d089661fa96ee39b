"""Runs whose process is gone, such as those of a command or a `make dev` that was killed.

Run monitoring (dagster.yaml) asks the launcher, and the one for this machine cannot say.
"""

import os
import re
import socket

import dagster as dg
import psutil
from dagster._core.events import EngineEventData

from pipelines.errors import START_AGAIN
from pipelines.pages.tables import unfinished
from resources.s3 import location_settings
from workers.assets import assets
from workers.errors import FanfoldError
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors, open_database

# Tag of a run that a command executes: the run, host, pid, when it was born. The UI hides it, and
# copies it to a run that executes this one again.
PROCESS = ".dagster/fanfold_process"
GRPC_TAG = ".dagster/grpc_info"  # Dagster's own, of a run that a code server started
FIRST_EVENTS = 20  # of a run's engine, of which one names its process; a long run has thousands
PROCESS_NAMED = re.compile(r"\(pid: (\d+)\)")  # how Dagster's events name the process of a run


def this_process() -> str:
    """Return what tells this process from any other."""
    born = psutil.Process().create_time()
    return f"{socket.gethostname()} {os.getpid()} {born:.0f}"


def process_of_run(run_id: str) -> str:
    """Return the tag of a run that this process executes."""
    return f"{run_id} {this_process()}"


def process_tag(run: dg.DagsterRun) -> str:
    """Return the process of the command that executes a run; "" where none does."""
    run_id, _, process = run.tags.get(PROCESS, "").partition(" ")
    return process if run_id == run.run_id else ""


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Mark runs as failed whose process on this machine is gone.",
)
def lost_runs_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Mark runs as failed whose process is gone; that frees their slots and makes their alerts."""
    instance = context.instance
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    lost = [run for run in instance.get_runs(filters) if is_lost(instance, run)]

    text = f"The process of this run is gone: it was killed, or its machine was. {START_AGAIN}"
    for run in lost:
        tell_unfinished(instance, run)
        instance.report_run_failed(run, text)
    return dg.SkipReason(f"{len(lost)} runs marked as failed")


def tell_unfinished(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Write into the log of a lost run which batches it was at, where the ledger can be asked."""
    try:
        database = open_database(location_settings(), patient=False)
        with mongodb_errors(), database.client:
            ledger = Ledger(database)
            plans = ledger.plans_of_run(run.run_id)
            asset = assets().get(plans[0].asset) if plans else None
            if asset is None:
                return
            metadata = unfinished(asset, ledger, plans)
    except FanfoldError:
        return  # that the run is lost can be said all the same
    text = "What the run was at when its process went; what is finished is reused"
    instance.report_engine_event(text, run, EngineEventData(metadata=metadata))


def free_lost_slots(instance: dg.DagsterInstance) -> None:
    """Free the slots of pools that runs hold which are over, or whose process is gone.

    Dagster's daemon does so a minute after a run's end. A command may run without one, and would
    wait for a slot of a run that was killed for ever.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return

    for pool in storage.get_concurrency_keys():
        for run_id in storage.get_concurrency_info(pool).active_run_ids:
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished or is_lost(instance, run):
                storage.free_concurrency_slots_for_run(run_id)


def is_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Tell whether a started run ran in a process of this machine that is no more."""
    if process := process_tag(run):
        host, pid, born = process.split()
        is_here = host == socket.gethostname()
        return is_here and not _is_alive(int(pid), float(born) + 1)
    if not _is_launched_here(instance, run):
        return False

    events = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, limit=FIRST_EVENTS
    )
    for record in events.records:
        entry = record.event_log_entry
        if match := PROCESS_NAMED.search(entry.user_message):
            return not _is_alive(int(match[1]), entry.timestamp)
    return False  # no event has named its process yet


def _is_launched_here(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Tell whether a code server of this machine started the run's process."""
    is_local = isinstance(instance.run_launcher, dg.DefaultRunLauncher)
    return is_local and '"host": "localhost"' in run.tags.get(GRPC_TAG, "")


def _is_alive(pid: int, latest_birth: float) -> bool:
    """Tell whether a process runs that was born no later, so no other one with its number."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= latest_birth and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
