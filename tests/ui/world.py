"""A world to look at: real servers, what `make dev` runs, and days of blocks, good and bad."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pymongo.database import Database

from resources.embedded import start_servers, stop_servers
from tests.proofs.chaos_processes import own_environment
from tests.support.command import FANFOLD
from tests.support.dagster_dev import Dagster, dagster_dev, until
from tests.support.declared import PROJECT
from tests.support.pipeline import event, lines
from workers.ledger.mongo import open_database
from workers.settings import read_settings
from workers.store import open_store
from workers.tasks import user_profiles
from workers.values import Document

ASSET = user_profiles.asset.name
SENSOR = f"{ASSET}_sensor"
ITEMS, USERS = 300, 40  # of a day
WAIT_SECONDS = 90  # for what a run does on a busy machine


@dataclass
class World:
    """What a browser is pointed at, and what it is compared with."""

    environ: dict[str, str]
    dagster: Dagster

    def put(self, day: str, items: list[Document], name: str = "a") -> None:
        """Put a block of events into a day."""
        store = open_store(read_settings(self.environ))
        store.ensure()
        store.put(f"events/dt={day}/{name}.jsonl", lines(items))

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a `fanfold` command as a person does."""
        return subprocess.Popen(
            [*FANFOLD, *command],
            cwd=PROJECT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def has_plan(self, partition: str) -> bool:
        """Tell whether a run has planned a day, and so is at its batches."""
        with self.database() as database:
            return bool(database.plans.count_documents({"partition": partition}))

    @contextmanager
    def database(self) -> Iterator[Database[Document]]:
        """Open the database that the profiles are in."""
        database = open_database(read_settings(self.environ))
        with database.client:
            yield database


@contextmanager
def world(folder: Path, *declared: str) -> Iterator[World]:
    """Start all of it in a folder; nothing runs by itself until a person turns a sensor on."""
    environ = own_environment(folder, "in_process", declared)
    config = folder / "dagster.yaml"
    often = config.read_text().replace("poll_interval_seconds: 30", "poll_interval_seconds: 2")
    config.write_text(often)

    start_servers(environ)
    try:
        with dagster_dev(environ) as dagster:
            dagster.stop_sensor(SENSOR)
            yield World(environ, dagster)
    finally:
        stop_servers(environ)


def day(back: int) -> str:
    """Return the day so many days ago."""
    return (datetime.now(UTC) - timedelta(days=back)).date().isoformat()


def events(of: str, number: int = ITEMS) -> list[Document]:
    """Return the events of a day, all of them good."""
    times = [f"{of}T{hour:02}:15:00Z" for hour in range(24)]
    return [
        event(f"user{n % USERS}", item=f"film {n % 7}", ts=times[n % 24]) for n in range(number)
    ]


def bad_days(world: World) -> dict[str, str]:
    """Have `fanfold run` meet what goes wrong, a day each; return the days by what it is."""
    days = {
        "a batch raised": day(11),
        "an item was dead": day(12),
        "too many were dead": day(13),
        "a run was killed": day(14),
    }
    raised, dead, beyond, killed = days.values()
    world.put(raised, [{**each, "item": "boom"} for each in events(raised)], "bad")
    world.put(dead, [*events(dead), {"user": "ann", "action": "like"}])
    world.put(beyond, [*events(beyond), *[{"user": "ann", "action": "like"}] * 60])
    world.put(killed, events(killed))

    killing = world.start("run", ASSET, "--partition", killed)
    until(lambda: world.has_plan(killed), WAIT_SECONDS)
    killing.kill()
    killing.communicate()
    for each in (raised, dead, beyond):
        world.start("run", ASSET, "--partition", each).communicate()
    return days
