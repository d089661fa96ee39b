"""Runs that go through a cluster's pods, as a person types them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.cluster import Cluster
from tests.support.command import FANFOLD
from workers.settings import Settings, to_environ

HASTY = (sys.executable, "-m", "tests.support.hasty")


def secret_of(settings: Settings, **more: str) -> dict[str, str]:
    """Return the settings as the secret that pods have their environment from."""
    secret = to_environ(settings) | {"AWS_EC2_METADATA_DISABLED": "true"}
    return secret | {"FANFOLD_EXECUTOR": "k8s", "FANFOLD_SLOTS": "2"} | more


@contextmanager
def started_run(
    cluster: Cluster, asset: str, partitions: str, is_hasty: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Start a run in a process of its own, with the settings that pods have; it prints JSON.

    One that is hasty looks for what came of its pods in a tenth of the time, and whether they live
    each second.
    """
    program = HASTY if is_hasty else FANFOLD
    command = [*program, "run", asset, "--json"]
    environ = os.environ | cluster.secrets["fanfold"]
    environ["DAGSTER_HOME"] = str(cluster.dagster_home())
    with subprocess.Popen(
        [*command, "--partitions", partitions],
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as run:
        try:
            yield run
        finally:
            run.kill()  # where it has not ended, something is wrong


def wait_until(is_so: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until something is so; AssertionError where it is not in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not after {seconds} s: {what}"
        time.sleep(0.05)
