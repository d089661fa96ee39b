"""The job by Dask: a cluster of processes on this machine, and two maps."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from distributed import Client, LocalCluster

from benchmarks.peers.work import fold_one, run_one, warm_up, whole_job
from benchmarks.process import Answer
from benchmarks.surroundings import CORES


def run() -> Answer:
    """Run the job in a cluster that is up; return its seconds, and those of the start."""
    started = time.monotonic()
    shape: dict[str, Any] = {"n_workers": CORES, "threads_per_worker": 1, "host": "127.0.0.1"}
    cluster = LocalCluster(**shape, processes=True, dashboard_address=None)
    with cluster, Client(cluster) as client:
        client.run(warm_up)
        warm_up()
        ready = time.monotonic()
        whole_job(partial(_map, client, run_one), partial(_map, client, fold_one))
        return {"seconds": time.monotonic() - ready, "start_seconds": ready - started}


def _map(client: Client, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
    return client.gather(client.map(function, arguments, pure=False))
