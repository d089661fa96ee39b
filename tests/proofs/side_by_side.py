"""Two processes that materialise the same or different partitions at once, again and again.

    python -m tests.side_by_side [--rounds 50] [--seed 1] [--plain]

After each round the profiles must match the raw blocks. Each process runs Dagster's jobs, or with
--plain the same functions as plain calls. Uses the servers, bucket and database of the settings.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from pipelines.runs import dagster_instance, materialise
from resources.embedded import running_settings
from tests.support.pipeline import Pipeline, event
from workers.errors import FanfoldError
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.store import open_store
from workers.tasks import user_profiles

ASSET = user_profiles.asset

DAYS = ASSET.partitions.between("1998-04-01", "1998-04-06")


@contextmanager
def pipeline() -> Iterator[Pipeline]:
    """Give the servers of the settings."""
    settings = running_settings()
    database = open_database(settings)
    store = open_store(settings)
    store.ensure()
    with database.client:
        yield Pipeline(store, database, Ledger(database))


def serve(here: Pipeline, is_plain: bool) -> None:
    """Materialise the days of each line on stdin; answer what came of it, a line each."""
    for line in sys.stdin:
        days = json.loads(line)
        if is_plain:
            try:
                here.run(*days)
                answer = "folded"
            except FanfoldError as error:
                answer = str(error)
        else:
            summary = materialise(ASSET, days)
            answer = "folded" if summary["success"] else "; ".join(summary["errors"])
        print(json.dumps(answer), flush=True)


def start(is_plain: bool) -> subprocess.Popen[str]:
    """Start a process that serves."""
    command = [sys.executable, "-m", "tests.proofs.side_by_side", "--serve"]
    command += ["--plain"] if is_plain else []
    environ = os.environ | {"FANFOLD_EXECUTOR": "in_process"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, env=environ, text=True, **pipes)


def change(here: Pipeline, random: Random) -> None:
    """Add, replace and remove blocks of some days."""
    for day in random.sample(DAYS, random.randint(1, len(DAYS))):
        name = f"{random.randrange(4)}.jsonl"
        if random.random() < 0.2:
            here.remove(f"events/dt={day}/{name}")
            continue
        users = [f"user{random.randrange(60)}" for _ in range(random.randint(1, 200))]
        here.put([event(user, item=f"{random.random()}") for user in users], day, name)


def some_days(random: Random) -> list[str]:
    """Return a range of days."""
    first, last = sorted(random.choices(range(len(DAYS)), k=2))
    return DAYS[first : last + 1]


def play(here: Pipeline, rounds: int, seed: int, is_plain: bool) -> Counter[str]:
    """Play the rounds; return how often what happened."""
    random, seen = Random(seed), Counter[str]()
    if not is_plain:
        dagster_instance().dispose()  # Dagster cannot make its tables in two processes at once
    both = [start(is_plain), start(is_plain)]
    try:
        for number in range(rounds):
            change(here, random)
            mine = some_days(random)
            theirs = mine if random.random() < 0.5 else some_days(random)
            for process, days in zip(both, (mine, theirs), strict=True):
                process.stdin.write(json.dumps(days) + "\n")
                process.stdin.flush()
            answers = [json.loads(process.stdout.readline()) for process in both]
            is_shared = bool(set(mine) & set(theirs))
            seen["rounds over the same days" if is_shared else "rounds over different days"] += 1
            for answer in answers:
                was = "overtaken" if "another run took over" in answer else answer
                seen[was] += 1
            ran = sorted({*mine, *theirs})
            verdict = here.verify(*ran)
            seen["matches" if verdict.match else f"round {number} differs: {verdict}"] += 1
        here.run(*DAYS)
        seen["matches at the end"] += here.verify().match
    finally:
        for process in both:
            process.stdin.close()
            process.wait(60)
            process.stdout.close()
    return seen


def main() -> int:
    """Play, and print how often what happened; 1 where profiles did not match."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    with pipeline() as here:
        if asked.serve:
            serve(here, asked.plain)
            return 0
        seen = play(here, asked.rounds, asked.seed, asked.plain)
    for what, times in sorted(seen.items()):
        print(f"{times:5}  {what}")
    return 0 if seen["matches"] == asked.rounds and seen["matches at the end"] else 1


if __name__ == "__main__":
    sys.exit(main())
