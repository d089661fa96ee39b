"""A worker in a process of its own on this machine, and in an environment of its own if one is set.

It outlives an op that is killed: it finishes, and the op's next attempt finds its results.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

from dagster._utils.interrupts import capture_interrupts

from pipelines.launchers.launch import Launch, WorkerLog, checked, describe_end
from resources.s3 import location_settings
from workers.errors import Refused
from workers.settings import to_environ

PYTHON = "FANFOLD_WORKER_PYTHON"
STOP_SECONDS = 10  # between asking a worker to end and killing it


def launch_process(launch: Launch) -> int:
    """Run a share by `python -m workers`, with the settings of this process."""
    worker = subprocess.Popen(
        [worker_python(), "-m", "workers", *launch.reference.arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | to_environ(location_settings()),
        start_new_session=True,  # a Ctrl-C is for the op, which passes it on
    )
    said = WorkerLog(launch.log)
    with worker:
        try:
            for line in worker.stdout or ():
                said.add(line)
            worker.wait()
        finally:
            _stop(worker)

    if why := describe_end(worker.returncode):
        launch.log.warning(why)
    return checked(worker.returncode, said.last)


def worker_python() -> str:
    """Return the Python of workers; Refused where the one that is set is none."""
    python = os.environ.get(PYTHON)
    if not python:
        return sys.executable
    if not shutil.which(python):
        raise Refused(f"{PYTHON} is {python!r}, which cannot be run; `make worker-env` makes one")
    return python


def _stop(worker: "subprocess.Popen[str]") -> None:
    """Stop a worker, and what it started; a Ctrl-C reaches an op twice, and this only once."""
    if worker.poll() is not None:
        return
    with capture_interrupts():
        worker.terminate()
        with suppress(subprocess.TimeoutExpired):
            worker.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
