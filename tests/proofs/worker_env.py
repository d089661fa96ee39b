"""Batches of every asset, by a worker in an environment that holds nothing else.

    python -m tests.proofs.worker_env

Builds the distribution of this checkout, installs its base into an empty environment, and shows
that neither Dagster nor the rooms above `workers` can be imported there. A partition of each asset
then runs twice, in a bucket and a database of its own: its batches are run here, and by that
environment with settings alone. Prints sizes and times; returns 1 where an outcome differs.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
import uuid
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from resources.embedded import running_settings
from tests.support.compressed import framed_snappy
from tests.support.containers import ARROW_BODIES, avro_body, avro_schema
from tests.support.pipeline import DAY, Pipeline, event, lines
from tests.support.scenarios import SCENARIOS, Scenario
from tests.support.web import Web, serving
from workers.assets import assets
from workers.batch import attempt_batch
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.ledger.records import Batch
from workers.settings import Settings, home, to_environ
from workers.store import open_store

PROJECT = Path(__file__).parent.parent.parent
OTHER_ROOMS = ("dagster", "resources", "pipelines")
# An asset that is made of another's profiles comes after it.
ORDER = sorted(SCENARIOS, key=lambda name: bool(assets()[name].source))
VISITS = {"FANFOLD_ALLOWED_NETWORKS": "127.0.0.1/32", "FANFOLD_HOST_DELAY_SECONDS": "0"}
PAGES = 30  # that the scenario of page_profiles names
REPEATS = 5  # the least of so many start-ups counts
# What differs from one attempt to the next: when, by whom, where.
OF_ATTEMPT = ("seconds", "result", "attempt", "peak_bytes")


@dataclass
class World:
    """A bucket and a database of their own."""

    settings: Settings
    pipeline: Pipeline

    def environ(self) -> dict[str, str]:
        """Return all that a worker gets to know."""
        of_boto3 = ("AWS_", "PATH")
        given = {name: value for name, value in os.environ.items() if name.startswith(of_boto3)}
        return given | to_environ(self.settings) | VISITS


# Runs batches of a world.
Run = Callable[[World, Sequence[str]], None]


@contextmanager
def open_world() -> Iterator[World]:
    """Give an empty world, and delete it at the end."""
    name = f"worker-env-{uuid.uuid4().hex[:12]}"
    settings = msgspec.structs.replace(running_settings(), database=name, bucket=name)
    database = open_database(settings)
    store = open_store(settings)
    store.ensure()

    with database.client:
        try:
            yield World(settings, Pipeline(store, database, Ledger(database)))
        finally:
            database.client.drop_database(name)
            for block in list(store.list("")):
                store.delete(block.key)
            store.client.delete_bucket(Bucket=name)


# What is run


def put_formats(pipeline: Pipeline) -> None:
    """Put a block of each format that needs a package of its own."""
    events = [event(f"user{n % 40}", item=f"item{n}") for n in range(300)]
    table = pa.Table.from_pylist(events)
    schema = avro_schema(user="string", action="string", ts="long", item="string")

    bodies = {kind: body_of(table) for kind, body_of in ARROW_BODIES.items()}
    bodies["avro"] = avro_body(schema, events, codec="snappy")
    bodies["jsonl.sz"] = framed_snappy(lines(events))
    for suffix, body in bodies.items():
        pipeline.store.put(f"events/dt={DAY}/formats.{suffix}", body)


def run_every_asset(world: World, web: Web, run: Run) -> dict[str, Any]:
    """Run a partition of each asset, its batches by `run`; return what came of them."""
    for number in range(PAGES):
        web.page(f"/page/{number}", f"<title>{number}</title>", content_type="text/html")
    put_formats(world.pipeline)
    return {name: _run_asset(world, name, SCENARIOS[name], web, run) for name in ORDER}


def _run_asset(world: World, name: str, scenario: Scenario, web: Web, run: Run) -> dict[str, Any]:
    pipeline = replace(world.pipeline, asset=assets()[name])
    scenario.put(pipeline, web.url(""))
    work = pipeline.plan(scenario.partition)
    run(world, list(work.to_run))

    batches = pipeline.ledger.batches_by_id(work.to_run)
    # Else a result holds when its pages were visited, or its profiles written.
    is_repeatable = scenario.repeats and not pipeline.asset.source
    reconciled = pipeline.reconcile(work)
    pipeline.publish(reconciled, pipeline.fold(reconciled))
    verdict = pipeline.verify()
    return {
        "batches": {batch.id: _said(batch, is_repeatable) for batch in batches.values()},
        "profiles": verdict.profiles,
        "match": verdict.match,
    }


def _said(batch: Batch, is_repeatable: bool) -> dict[str, Any]:
    """Return what a batch's outcome says of its items."""
    outcome = batch.finished_outcome.to_json()
    left_out = OF_ATTEMPT if is_repeatable else (*OF_ATTEMPT, "digest")
    return {name: value for name, value in outcome.items() if name not in left_out}


def run_here(world: World, batch_ids: Sequence[str]) -> None:
    """Run batches in this process."""
    pipeline = world.pipeline
    for batch_id in batch_ids:
        attempt_batch(pipeline.ledger, pipeline.store, batch_id)


def run_by(python: Path, more: Mapping[str, str], world: World, ids: Sequence[str]) -> None:
    """Run batches by another Python, with settings alone, and `more`."""
    subprocess.run(
        [str(python), "-m", "workers", "--batch", *ids],
        env=world.environ() | more,
        cwd="/",
        check=True,
        stdout=subprocess.DEVNULL,
    )


# The environment


def build(folder: Path) -> Path:
    """Install the base of this checkout into a new environment; return its Python."""
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder)
    python = folder / "bin" / "python"

    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(PROJECT)], check=True)
    (wheel,) = folder.glob("*.whl")
    pins = ["-c", str(PROJECT / "constraints.txt")]
    install = ["--python", str(python), "install", *pins, str(wheel)]
    subprocess.run([*pip, *install], check=True)
    return python


def describe(python: Path) -> Iterator[str]:
    """Yield what is in an environment, and what is not: a line each."""
    for name in OTHER_ROOMS:
        command = [str(python), "-c", f"import {name}"]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        yield f"import {name}: {done.stderr.splitlines()[-1] if done.returncode else 'WORKS'}"

    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    sizes = [file.stat().st_size for file in packages.rglob("*") if file.is_file()]
    yield f"{sum(sizes) / 1e6:.0f} MB in {len(list(packages.glob('*.dist-info')))} distributions"


def start_up(python: Path, world: World, batch_id: str) -> Iterator[str]:
    """Yield what it takes to start a worker, and one whose batch is done: a line each."""
    for arguments in (["--help"], ["--batch", batch_id]):
        command = [str(python), "-m", "workers", *arguments]
        costs = [_cost(command, world.environ()) for _ in range(REPEATS)]
        cpu, wall = map(min, zip(*costs, strict=True))
        shown = " ".join(["python -m workers", arguments[0], *["DONE"][: len(arguments) - 1]])
        yield f"{shown}: {cpu:.2f} s of CPU, {wall:.2f} s"


def _cost(command: Sequence[str], environ: Mapping[str, str]) -> tuple[float, float]:
    """Return the seconds of CPU, and of the clock, that a command takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, env=environ, cwd="/", check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu, wall


def main() -> int:
    """Build, describe and compare; return 1 where anything is not as it should be."""
    os.environ.update(VISITS)
    python = build(home() / "worker-env")
    described = list(describe(python))
    print(*described, sep="\n")

    with serving() as web, open_world() as one, open_world() as other:
        here = run_every_asset(one, web, run_here)
        alone = run_every_asset(other, web, partial(run_by, python, {}))
        batch_id = next(iter(alone[ORDER[0]]["batches"]))
        print(*start_up(python, other, batch_id), sep="\n")

    for name in ORDER:
        is_same = here[name] == alone[name] and here[name]["match"]
        items = sum(said["items"] for said in alone[name]["batches"].values())
        print(f"{name}: {items} items, {'as here' if is_same else 'DIFFERS'}")
    return 0 if here == alone and not any("WORKS" in line for line in described) else 1


if __name__ == "__main__":
    sys.exit(main())
