"""The 213 days of MovieLens by each executor: the same profiles, and how long it takes.

    python -m tests.proofs.engines [in_process local celery-2 celery-4]

Each has a database of its own on servers of their own; `celery-4` has one `fanfold worker` with
four slots. A run with nothing to do is what its steps cost. Returns 1 where the profiles do not
match the raw blocks, or differ from those of another executor.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from pipelines.cli.samples import load, movielens
from resources.embedded import start_servers, stop_servers
from tests.proofs.chaos_processes import ASSET, FANFOLD, PROJECT, own_environment
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.planning.slots import SERVES
from workers.settings import home, read_settings
from workers.store import open_store

ENGINES = ("in_process", "local", "celery-2", "celery-4")
START_SECONDS = 90  # that a worker has to start

console = Console(highlight=False, soft_wrap=True)


class Result(NamedTuple):
    """What an executor made of the days, and in how many seconds of the command."""

    engine: str
    seconds: float
    # With nothing to do.
    seconds_again: float
    batches: int
    profiles: int
    digest: str
    is_right: bool


def run_engine(engine: str, environ: Mapping[str, str], days: list[str]) -> Result:
    """Materialise the days by an executor, twice, and verify them."""
    name, _, slots = engine.partition("-")
    own = {**environ, "FANFOLD_EXECUTOR": name, "FANFOLD_DATABASE": engine}
    partitions = f"{days[0]}...{days[-1]}"
    start_servers(own)

    with worker(own, int(slots)) if slots else no_worker():
        began = time.monotonic()
        first = command(own, "run", ASSET.name, "--partitions", partitions)
        between = time.monotonic()
        command(own, "run", ASSET.name, "--partitions", partitions)
        ended = time.monotonic()

    verdict = command(own, "verify", ASSET.name)
    return Result(
        engine=engine,
        seconds=between - began,
        seconds_again=ended - between,
        batches=first.get("batches", 0),
        profiles=verdict["profiles"],
        digest=verdict["digest"],
        is_right=first["success"] and verdict["match"],
    )


def command(environ: Mapping[str, str], *arguments: str) -> dict[str, Any]:
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
def no_worker() -> Iterator[None]:
    """Need none."""
    yield


@contextmanager
def worker(environ: Mapping[str, str], slots: int) -> Iterator[None]:
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


def wait_for_worker(environ: Mapping[str, str]) -> None:
    """Wait until a worker takes steps."""
    database = open_database(read_settings(environ))
    deadline = time.monotonic() + START_SECONDS
    with database.client:
        while not Ledger(database).workers.alive_at(SERVES):
            if time.monotonic() > deadline:
                raise TimeoutError("no worker has started")
            time.sleep(0.1)


def compare(engines: list[str], folder: Path) -> list[Result]:
    """Load the days once, and run each executor over them."""
    environ = own_environment(folder, "local")
    try:
        start_servers(environ)
        store = open_store(read_settings(environ))
        blocks = movielens(home() / "samples")
        load(store, blocks, lambda _: None)
        days = sorted(str(ASSET.partition_of(key)) for key, _ in blocks)

        results = []
        for engine in engines:
            results.append(run_engine(engine, environ, days))
            console.print(f"{engine}: {results[-1].seconds:.1f} s")
        return results
    finally:
        stop_servers({**environ, "FANFOLD_EXECUTOR": "celery"})


def main() -> int:
    """Run each executor, print what they made side by side; return 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="*", default=list(ENGINES))
    engines = parser.parse_args().engines

    folder = Path(tempfile.mkdtemp(prefix="fanfold-engines-"))
    try:
        results = compare(engines, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    table = Table(box=None, pad_edge=False)
    for column in ("executor", "seconds", "nothing to do", "batches", "profiles", "digest"):
        table.add_column(column, justify="left" if column in ("executor", "digest") else "right")
    for result in results:
        seconds = (f"{result.seconds:.1f}", f"{result.seconds_again:.1f}")
        counts = (f"{result.batches:,}", f"{result.profiles:,}")
        table.add_row(result.engine, *seconds, *counts, result.digest[:16])
    console.print(table)

    is_same = len({result.digest for result in results}) == 1
    return 0 if is_same and all(result.is_right for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
