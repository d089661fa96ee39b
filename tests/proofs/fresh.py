"""How soon a block for today shows while a backfill runs, and what it costs the backfill.

    python -m tests.proofs.fresh [--days 400] [--events 2000] [--by command]

Everything is its own: servers, and Dagster's webserver, daemon and code server, as in `make dev`.
Two ranges of as many days, with the same work, are backfilled, as the catalogue does it or by
`fanfold run`: one alone, and one during which a block for today is put. The exit code is 1 where
today's profile shows after more than a minute, or the backfill takes more than a tenth longer.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

from resources.embedded import start_servers, stop_servers
from tests.proofs.chaos_processes import ASSET, own_environment
from tests.support.command import FANFOLD
from tests.support.dagster_dev import Dagster, dagster_dev, until
from tests.support.declared import PROJECT
from tests.support.pipeline import event, lines
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.settings import read_settings
from workers.store import open_store

MAX_SECONDS, MAX_RATIO = 60, 1.1


class Backfill:
    """A backfill from the catalogue."""

    def __init__(self, dagster: Dagster, days: list[str]) -> None:
        self.dagster = dagster
        self.id = dagster.backfill(ASSET.name, days)

    def is_over(self) -> bool:
        """Tell whether it has ended well; one that has failed ends the program."""
        return self.dagster.is_backfill_over(self.id)


class Command:
    """A backfill by `fanfold run`."""

    def __init__(self, environ: dict[str, str], days: list[str]) -> None:
        command = [*FANFOLD, "run", ASSET.name, "--partitions", f"{days[0]}...{days[-1]}"]
        self.process = subprocess.Popen(
            command, cwd=PROJECT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def is_over(self) -> bool:
        """Tell whether it has ended well; one that has failed ends the program."""
        code = self.process.poll()
        if code:
            raise SystemExit(f"the command ended with {code}")
        return code == 0


def put_days(environ: dict[str, str], days: list[str], events: int) -> None:
    """Put a block of events into each day: the same ones, with times of the day."""
    store = open_store(read_settings(environ))
    store.ensure()
    for day in days:
        random = Random(1)
        items = [event(f"u{random.randrange(5_000)}", ts=f"{day}T12:00:00Z") for _ in range(events)]
        store.put(f"events/dt={day}/a.jsonl", lines(items))


def is_shown(environ: dict[str, str], user: str) -> bool:
    """Tell whether a user has a profile."""
    database = open_database(read_settings(environ))
    with database.client:
        return Ledger(database).profiles(ASSET.name).documents.find_one({"_id": user}) is not None


def play(environ: dict[str, str], days: int, events: int, by: str) -> bool:
    """Run both backfills and print what was measured; return whether it is within bounds."""
    today = ASSET.partitions.key(datetime.now(UTC))
    shift = ASSET.partitions.shift
    ranges = [
        ASSET.partitions.between(shift(today, -back), shift(today, -back + days - 1))
        for back in (2 * days + 40, days + 30)
    ]
    for each in ranges:
        put_days(environ, each, events)

    with dagster_dev(environ) as dagster:
        start = partial(Command, environ) if by == "command" else partial(Backfill, dagster)
        backfill = start(ranges[0])
        alone = until(backfill.is_over)
        print(f"{alone:6.1f} s  a backfill of {days} days alone", flush=True)

        began = time.monotonic()
        backfill = start(ranges[1])
        time.sleep(alone / 3)
        store = open_store(read_settings(environ))
        store.put(f"events/dt={today}/a.jsonl", lines([event("fresh", ts=f"{today}T00:00:01Z")]))
        shown = until(lambda: is_shown(environ, "fresh"))
        is_after = backfill.is_over()
        print(f"{shown:6.1f} s  until today's profile shows", flush=True)
        until(backfill.is_over)
        ratio = (time.monotonic() - began) / alone
        print(f"{ratio * alone:6.1f} s  a backfill meanwhile, {ratio:.2f} times as long")

    if is_after:
        raise SystemExit("the backfill was over before today's profile showed")
    return shown <= MAX_SECONDS and ratio <= MAX_RATIO


def main() -> int:
    """Start what is needed, measure, and stop it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--events", type=int, default=2_000)
    parser.add_argument("--by", choices=("catalogue", "command"), default="catalogue")
    options = parser.parse_args()

    folder = Path(tempfile.mkdtemp(prefix="fanfold-fresh-"))
    environ = own_environment(folder, "local")
    try:
        start_servers(environ)
        is_good = play(environ, options.days, options.events, options.by)
    finally:
        stop_servers(environ)
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
