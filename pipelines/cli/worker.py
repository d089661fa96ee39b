"""What takes steps of runs: `fanfold worker`, on as many machines as there are."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.cli.console import err, servers
from pipelines.executors import import_extra
from pipelines.processes import enter_home, executor_name
from workers.errors import Refused, Unavailable
from workers.planning.slots import SERVES, decide_slots
from workers.settings import home

START_SECONDS = 90  # that workers of our own have to start
STOP_SECONDS = 15  # that they have to finish what they have begun


def take_steps(slots: int | None) -> int:
    """Take steps of runs until somebody stops it; return the exit code."""
    os.environ["FANFOLD_EXECUTOR"] = "celery"  # whatever this machine does otherwise
    enter_home()
    serve = import_extra("pipelines.celery.worker", "celery").serve

    number = slots or decide_slots().number
    err.print(f"taking steps of runs, {number} at once", markup=False)
    code: int = serve(number)
    return code


def warn_without_workers() -> None:
    """Say what to type where runs hand their steps to workers and none is alive."""
    if executor_name() != "celery":
        return
    with servers() as (ledger, _):
        if not ledger.workers.alive_at(SERVES):
            text = "no worker is alive; in another terminal, or on another machine: fanfold worker"
            err.print(text, style="yellow", markup=False)


@contextmanager
def own_workers(count: int) -> Iterator[None]:
    """Have workers of our own take steps meanwhile; what they say is in the folder of state."""
    command = [sys.executable, "-m", "pipelines.cli.main", "worker", "--slots", "1"]
    workers = []
    try:
        for number in range(count):
            with (home() / f"worker-{number}.log").open("ab") as log:
                workers.append(subprocess.Popen(command, stdout=log, stderr=log))
        _wait_for(workers)
        yield
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            _end(worker)


def _wait_for(workers: list[subprocess.Popen[bytes]]) -> None:
    """Wait until workers take steps."""
    deadline = time.monotonic() + START_SECONDS
    pids = {worker.pid for worker in workers}
    with servers() as (ledger, _):
        while not pids <= {each.pid for each in ledger.workers.alive_at(SERVES)}:
            if any(worker.poll() is not None for worker in workers):
                raise Refused(f"a worker does not start; see {home()}/worker-*.log")
            if time.monotonic() > deadline:
                raise Unavailable(f"workers do not start; see {home()}/worker-*.log")
            time.sleep(0.1)


def _end(worker: subprocess.Popen[bytes]) -> None:
    try:
        worker.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
