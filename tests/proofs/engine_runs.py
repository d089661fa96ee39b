"""How `fanfold run` is carried out by an engine: what has to stand beside it, and what it is told.

An engine is an executor with its slots, and a launcher: `celery-4` is one `fanfold worker` with
four slots, `k8s-2` two pods at once in the stand-in for a cluster, `local/ecs` the local executor
whose workers are tasks of ECS. Kubernetes, Lambda and ECS are stand-ins on loopback that run what
they are asked to as processes.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.proofs.chaos_processes import PROJECT
from tests.support.aws import aws_on_loopback
from tests.support.cluster import open_cluster
from tests.support.cluster_runs import secret_of, started_run
from tests.support.command import FANFOLD
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.planning.slots import SERVES
from workers.settings import read_settings, to_environ

START_SECONDS = 90  # that a worker has to start
AWS_LAUNCHERS = ("lambda", "ecs")

Environ = Mapping[str, str]
RunPartitions = Callable[[str, str], dict[str, Any]]  # of an asset; returns the run's summary


class Engine(NamedTuple):
    """An executor, how many slots it has where that is said, and a launcher."""

    executor: str
    slots: int
    launcher: str

    @classmethod
    def named(cls, name: str) -> "Engine":
        """Return the engine of a name: EXECUTOR[-SLOTS][/LAUNCHER]."""
        workers, _, launcher = name.partition("/")
        executor, _, slots = workers.partition("-")
        return cls(executor, int(slots or 0), launcher or "inline")

    def settings(self) -> dict[str, str]:
        """Return what every program is told of it."""
        return {"FANFOLD_EXECUTOR": self.executor, "FANFOLD_LAUNCHER": self.launcher}


@contextmanager
def engine_at_work(engine: Engine, environ: Environ, folder: Path) -> Iterator[RunPartitions]:
    """Have all at hand that an engine needs; yield what materialises partitions by it."""
    if engine.executor == "k8s":
        with pods(engine, environ, folder) as run:
            yield run
    elif engine.launcher in AWS_LAUNCHERS:
        s3 = to_environ(read_settings(environ))
        with aws_on_loopback({**environ, **s3}) as aws:
            yield run_command({**environ, **s3, **aws.settings()})
    elif engine.executor == "celery":
        with worker(environ, engine.slots):
            yield run_command(environ)
    else:
        yield run_command(environ)


def run_command(environ: Environ) -> RunPartitions:
    """Return what runs `fanfold run`."""
    return lambda asset, partitions: command(environ, "run", asset, "--partitions", partitions)


def command(environ: Environ, *arguments: str) -> dict[str, Any]:
    """Return what a command of `fanfold` prints."""
    done = subprocess.run(
        [*FANFOLD, *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=PROJECT,
        env=dict(environ),
        check=False,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@contextmanager
def worker(environ: Environ, slots: int) -> Iterator[None]:
    """Have a worker take steps meanwhile."""
    process = subprocess.Popen(
        [*FANFOLD, "worker", "--slots", str(slots)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=PROJECT,
        env=dict(environ),
    )
    try:
        wait_for_worker(environ)
        yield
    finally:
        process.terminate()
        process.wait()


def wait_for_worker(environ: Environ) -> None:
    """Wait until a worker takes steps."""
    database = open_database(read_settings(environ))
    deadline = time.monotonic() + START_SECONDS
    with database.client:
        while not Ledger(database).workers.alive_at(SERVES):
            if time.monotonic() > deadline:
                raise TimeoutError("no worker has started")
            time.sleep(0.1)


@contextmanager
def pods(engine: Engine, environ: Environ, folder: Path) -> Iterator[RunPartitions]:
    """Have a stand-in for a cluster, whose pods have their settings by a secret."""
    folder.mkdir()
    slots = engine.slots or os.cpu_count() or 1
    secret = secret_of(read_settings(environ), FANFOLD_SLOTS=str(slots))
    secret["FANFOLD_LAUNCHER"] = engine.launcher
    with open_cluster(folder, secrets={"fanfold": secret}) as cluster:

        def run(asset: str, partitions: str) -> dict[str, Any]:
            with started_run(cluster, asset, partitions) as process:
                out, _ = process.communicate()
            summary: dict[str, Any] = json.loads(out)
            assert not cluster.refused, cluster.refused
            return summary

        yield run
