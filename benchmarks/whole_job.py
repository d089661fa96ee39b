"""Part `whole_job`: from blocks in S3 to profiles in MongoDB, beside scripts and other engines."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.documents import Agreement, digest, digests
from benchmarks.process import Answer, measure
from benchmarks.scale import Scale, say, take_turns
from benchmarks.scripts import SCRIPTS
from benchmarks.surroundings import (
    ASSET,
    database,
    empty,
    forget,
    put_events,
    server_cpu_seconds,
)

# What each needs of the extra `bench`, and where its `run` is.
OPTIONAL = {
    "native": ("polars", "benchmarks.native"),
    "celery_chord": ("celery", "benchmarks.peers.celery_chord"),
    "dask_map": ("distributed", "benchmarks.peers.dask_map"),
    "prefect_map": ("prefect", "benchmarks.peers.prefect_map"),
}


def measure_part(scale: Scale) -> Answer:
    """Let all that are installed do the job at each size; SystemExit where documents differ."""
    left_out = [name for name, (package, _) in OPTIONAL.items() if not find_spec(package)]
    if left_out:
        say(f"not installed, so left out: {', '.join(left_out)}")

    runs: dict[str, Any] = {}
    sizes: dict[str, Answer] = {}
    for events in scale.events:
        empty()
        size = put_events(events)
        say(f"whole job: {events:,} events, {size / 1e6:,.0f} MB")

        agreement = Agreement()
        runs[str(events)] = take_turns(competitors(agreement), scale)
        left = agreement.digests
        sizes[str(events)] = {"bytes": size, "profiles": len(left), "digest": digest(left)}
    return {"sizes": sizes, "runs": runs, "left_out": left_out}


def competitors(agreement: Agreement) -> Mapping[str, Callable[[], Answer]]:
    """Return a turn for each that is installed; what it leaves is compared after it."""
    turns = {
        "fanfold": partial(measure, "benchmarks.fanfold:run"),
        "fanfold_warm": partial(measure, "benchmarks.fanfold:run_warm"),
    }
    for script in SCRIPTS:
        turns[script] = partial(measure, "benchmarks.scripts:run", script=script)
    for name, (package, module) in OPTIONAL.items():
        if find_spec(package):
            turns[name] = partial(measure, f"{module}:run")

    def compared(name: str) -> Answer:
        forget()
        before = server_cpu_seconds()
        run = turns[name]().to_json()
        servers = {
            server: round(seconds - before[server], 2)
            for server, seconds in server_cpu_seconds().items()
        }

        with database() as opened:
            agreement.check(name, digests(opened[ASSET.name]))
        return run | {"server_cpu_seconds": servers}

    return {name: partial(compared, name) for name in turns}
