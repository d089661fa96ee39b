"""Who takes steps: `fanfold worker`, a process of Celery's that forks one for each of its slots.

The processes that execute steps are forked from one that has imported and opened all they need, and
take step after step.
"""

import logging
import os
import signal
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Any

import dagster as dg
import psutil
from celery import signals
from celery.worker.request import Request
from dagster._cli.api import _execute_step_command_body
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import deserialize_value
from dagster._utils.interrupts import capture_interrupts

from pipelines.celery.broker import TASK, celery_app, queue_name
from pipelines.celery.handler import STEP
from resources.embedded import broker_url
from resources.s3 import location_settings
from workers.errors import Unavailable
from workers.ledger.heartbeat import heartbeat
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors, open_database
from workers.memory import forget_peak
from workers.planning.slots import SERVES
from workers.retry import retry

ENTER_SECONDS = 90  # for which a step waits for the ledger before it begins

log = logging.getLogger(__name__)


class StepRequest(Request):
    """A message at its worker; where its broker is away at its end, the worker connects anew.

    Celery logs that and goes on. The message counts as held for ever then, and a worker that holds
    as many as it has slots takes no more, without noticing that its connection is gone.
    """

    def acknowledge(self) -> None:
        """Tell the broker that the message is done with."""
        if not self.acknowledged:
            no_errors_to_swallow = ()
            self.on_ack(log, no_errors_to_swallow)
            self.acknowledged = True


def serve(slots: int) -> int:
    """Take steps from the broker until a signal says to stop; return the exit code."""
    import pipelines.preload  # noqa: F401, PLC0415  what children inherit; it takes seconds

    settings = location_settings()
    app = celery_app(broker_url(), queue_name(settings))
    app.task(run_step, name=TASK, Request=StepRequest)

    with ExitStack() as until_the_end:
        ready = _on(signals.worker_ready, lambda **_: until_the_end.enter_context(_served(slots)))
        stop = _on(signals.worker_shutting_down, lambda **_: _hurry_at_next_signal())
        child = _on(signals.worker_process_init, lambda **_: _leave_terminal())
        with ready, stop, child:
            worker = app.Worker(
                hostname=f"{uuid.uuid4().hex[:8]}@{socket.gethostname()}",
                concurrency=slots,
                pool="prefork",
                loglevel="INFO",
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
                quiet=True,
            )
            worker.start()
    return int(worker.exitcode or 0)


@contextmanager
def _on(event: Any, receiver: Any) -> Iterator[None]:
    event.connect(receiver, weak=False)
    try:
        yield
    finally:
        event.disconnect(receiver)


@contextmanager
def _served(slots: int) -> Iterator[None]:
    """Let the ledger know that somebody takes steps; without it, nobody counts these slots."""
    ledger = Ledger(open_database(location_settings()))
    worker_id = uuid.uuid4().hex
    with ledger.database.client:
        try:
            with mongodb_errors():
                ledger.workers.enter(worker_id, step=SERVES, slots=slots)
        except Unavailable as error:
            log.warning("nobody knows of this worker: %s", error)
        with heartbeat(ledger, worker_id):
            yield


def _hurry_at_next_signal() -> None:
    """Finish what was begun, but at another signal end at once: its steps are tried elsewhere."""

    def end(*_: Any) -> None:
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                child.kill()
        os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, end)


def _leave_terminal() -> None:
    """Let a Ctrl-C reach the worker and no step of it."""
    os.setpgrp()


# In a child


def run_step(step_id: str, message: str) -> None:
    """Execute an attempt at a step, unless it was begun before, or its run does not want it."""
    ledger = _ledger()
    with _interruptible():
        if not _enter(ledger, step_id, message):
            log.info("%s: begun before or not wanted any more, so it is left alone", step_id)
            return

        with heartbeat(ledger, step_id) as heart:
            heart.at = step_id
            try:
                _execute(message)
            except (KeyboardInterrupt, DagsterExecutionInterruptedError):
                log.info("%s: it was asked to stop", step_id)


def _enter(ledger: Ledger, step_id: str, message: str) -> bool:
    """Enter an attempt in the ledger, which knows of each only once."""
    args = deserialize_value(message, ExecuteStepArgs)

    def enter() -> bool:
        with mongodb_errors():
            return ledger.workers.enter(step_id, args.run_id, STEP)

    return retry(enter, ENTER_SECONDS)


def _execute(message: str) -> None:
    args = deserialize_value(message, ExecuteStepArgs)
    instance = _instance()
    run = instance.get_run_by_id(args.run_id)
    if run is None:
        log.warning("%s: this instance knows no such run; is DAGSTER_HOME right?", args.run_id)
        return

    forget_peak()
    for _ in _execute_step_command_body(args, instance, run):
        pass  # each event is in the run's log by now


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let signals interrupt a step, where it can be, and leave Celery's own as they were."""
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        with capture_interrupts():
            yield
    finally:
        signal.signal(signal.SIGTERM, terminated)


@cache
def _instance() -> dg.DagsterInstance:
    """Return the instance of this process, opened once for all of its steps."""
    return dg.DagsterInstance.get()


@cache
def _ledger() -> Ledger:
    return Ledger(open_database(location_settings()))
