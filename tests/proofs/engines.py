"""The same data by each engine: the same profiles, and how long it takes.

    python -m tests.proofs.engines [--data movielens] [--data events] [--data weather] [ENGINE ...]

Data are the 213 days of MovieLens, `--events` made up events of one day (five million), and a year
of weather. An engine is EXECUTOR[-SLOTS][/LAUNCHER]; see tests/proofs/engine_runs.py. Each has a
database of its own on servers of their own. A run with nothing to do is what its steps cost.
Returns 1 where profiles do not match the raw blocks, or differ from those of another engine.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from benchmarks.events import event_blocks
from pipelines.cli.samples import movielens, weather
from resources.embedded import start_servers, stop_servers
from tests.proofs.chaos_processes import own_environment
from tests.proofs.engine_runs import Engine, command, engine_at_work
from workers.declare.asset import Asset
from workers.settings import home, read_settings
from workers.store import BlockStore, open_store
from workers.tasks import device_profiles, user_profiles

ENGINES = (
    "in_process",
    "local",
    "celery-2",
    "celery-4",
    "local/subprocess",
    "local/lambda",
    "local/ecs",
    "k8s-2",
)
DATA = ("movielens", "events", "weather")
EVENTS = 5_000_000
EVENTS_DAY = "1998-06-01"
EVENT_BLOCKS = 10
SEED = 1

console = Console(highlight=False, soft_wrap=True)


class Result(NamedTuple):
    """What an engine made of data, and in how many seconds of the command."""

    data: str
    engine: str
    seconds: float
    # With nothing to do.
    seconds_again: float
    batches: int
    items: int
    profiles: int
    digest: str
    is_right: bool


def put_blocks(data: str, events: int, store: BlockStore) -> tuple[Asset, str]:
    """Put data into S3; return the asset that they are of, and their partitions."""
    asset, blocks = blocks_of(data, events)
    partitions = set()
    for key, body in blocks:
        store.put(key, body)
        partitions.add(str(asset.partition_of(key)))
    return asset, f"{min(partitions)}...{max(partitions)}"


def blocks_of(data: str, events: int) -> tuple[Asset, Iterable[tuple[str, bytes]]]:
    """Return an asset, and the blocks that are put into S3 for it."""
    if data == "movielens":
        return user_profiles.asset, movielens(home() / "samples")
    if data == "weather":
        return device_profiles.asset, weather(home() / "samples")

    folder = user_profiles.asset.prefixes(EVENTS_DAY)[0]
    blocks = event_blocks(events, EVENT_BLOCKS, SEED, EVENTS_DAY)
    return user_profiles.asset, ((f"{folder}{name}", body) for name, body in blocks)


def run_engine(
    name: str, data: str, asset: Asset, partitions: str, environ: Mapping[str, str], folder: Path
) -> Result:
    """Materialise the partitions by an engine, twice, and verify them."""
    engine = Engine.named(name)
    own_name = f"{data}-{name.replace('/', '-')}"
    own = {**environ, **engine.settings(), "FANFOLD_DATABASE": own_name}
    start_servers(own)

    with engine_at_work(engine, own, folder / own_name) as run:
        began = time.monotonic()
        first = run(asset.name, partitions)
        between = time.monotonic()
        again = run(asset.name, partitions)
        ended = time.monotonic()

    verdict = command(own, "verify", asset.name)
    return Result(
        data=data,
        engine=name,
        seconds=between - began,
        seconds_again=ended - between,
        batches=first.get("batches", 0),
        items=first.get("items_used", 0),
        profiles=verdict["profiles"],
        digest=verdict["digest"],
        is_right=first["success"] and again["success"] and verdict["match"],
    )


def compare(data: str, engines: list[str], events: int, folder: Path) -> list[Result]:
    """Load data once, and run each engine over them."""
    environ = own_environment(folder, "local")
    environ["FANFOLD_BUCKET"] = data
    start_servers(environ)
    store = open_store(read_settings(environ))
    store.ensure()
    asset, partitions = put_blocks(data, events, store)

    results = []
    for engine in engines:
        results.append(run_engine(engine, data, asset, partitions, environ, folder))
        show(results[-1])
        for block in store.list("_fanfold/"):
            store.delete(block.key)
    return results


def show(result: Result) -> None:
    """Print what an engine made, in a line."""
    console.print(
        f"{result.data:<10} {result.engine:<17}"
        f"{result.seconds:6.1f} s, {result.seconds_again:5.1f} s with nothing to do,"
        f"{result.batches:6,} batches,{result.items:10,} items,{result.profiles:8,} profiles, "
        f"digest {result.digest[:16]}{'' if result.is_right else ', WRONG'}"
    )


def main() -> int:
    """Run each engine over each data, print what came of it; return 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="*", default=list(ENGINES))
    parser.add_argument("--data", action="append", choices=DATA, help="all, if none is named")
    parser.add_argument("--events", type=int, default=EVENTS)
    given = parser.parse_args()

    folder = Path(tempfile.mkdtemp(prefix="fanfold-engines-"))
    results = []
    try:
        for data in given.data or DATA:
            results += compare(data, given.engines, given.events, folder)
    finally:
        stop_servers(own_environment(folder, "celery"))
        shutil.rmtree(folder, ignore_errors=True)

    digests = {(result.data, result.digest) for result in results}
    is_same = len(digests) == len({result.data for result in results})
    return 0 if is_same and all(result.is_right for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
