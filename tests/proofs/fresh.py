"""How soon a block for today shows while a backfill runs, and what it costs the backfill.

    python -m tests.proofs.fresh [--days 400] [--events 2000] [--by command]

Everything is its own: servers, and Dagster's webserver, daemon and code server, as in `make dev`.
Two ranges of as many days, with the same work, are backfilled, as the catalogue does it or by
`fanfold run`: one alone, and one during which a block for today is put. The exit code is 1 where
today's profile shows after more than a minute, or the backfill takes more than a tenth longer.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import Request, urlopen

from resources.embedded import start_servers, stop_servers
from resources.servers import HOST, free_ports
from tests.proofs.chaos_processes import ASSET, own_environment
from tests.support.command import FANFOLD
from tests.support.declared import PROJECT
from tests.support.pipeline import event, lines
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.settings import read_settings
from workers.store import open_store

WAIT_SECONDS = 1_800
MAX_SECONDS, MAX_RATIO = 60, 1.1
LOOK_SECONDS = 0.5
LAUNCH = """mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}"""
STATUS = """query($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } }
}"""


class Dagster:
    """The webserver of `make dev`, asked as the UI asks it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        """Return what a GraphQL query answers."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(self.url, body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def backfill(self, days: list[str]) -> str:
        """Start a backfill of days as the catalogue does; return its id."""
        key = {"path": [ASSET.name]}
        params = {"assetSelection": [key], "partitionNames": days, "fromFailure": False}
        answer = self.ask(LAUNCH, params=params)["launchPartitionBackfill"]
        if "backfillId" not in answer:
            raise SystemExit(f"no backfill was started: {answer}")
        backfill: str = answer["backfillId"]
        return backfill


class Backfill:
    """A backfill from the catalogue."""

    def __init__(self, dagster: Dagster, days: list[str]) -> None:
        self.dagster = dagster
        self.id = dagster.backfill(days)

    def is_over(self) -> bool:
        """Tell whether it has ended well; one that has failed ends the program."""
        status = self.dagster.ask(STATUS, id=self.id)["partitionBackfillOrError"]["status"]
        if "FAIL" in status or "CANCEL" in status:
            raise SystemExit(f"the backfill is {status}")
        return "SUCCESS" in status or status == "COMPLETED"


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


@contextmanager
def dagster_dev(environ: dict[str, str]) -> Iterator[Dagster]:
    """Run what `make dev` runs."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "dagster", "dev", "--host", HOST, "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--log-level", "warning"],
        cwd=PROJECT,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    dagster = Dagster(port)
    try:
        until(lambda: answers(dagster))
        yield dagster
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def answers(dagster: Dagster) -> bool:
    """Tell whether the webserver answers, and has loaded the code."""
    try:
        return bool(dagster.ask("{ repositoriesOrError { __typename } }"))
    except OSError:
        return False


def until(is_so: Any) -> float:
    """Wait until something is so; return the seconds that it took."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > WAIT_SECONDS:
            raise SystemExit("it takes too long")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began


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
