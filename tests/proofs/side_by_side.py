"""Two processes that materialise the same or different partitions at once, again and again.

    python -m tests.proofs.side_by_side [--rounds 50] [--seed 1] [--plain] [--unique]

After each round the profiles must match the raw blocks, and hold what an application has set on
them meanwhile. Each process runs Dagster's jobs, or with --plain the same functions as plain calls.
Uses the servers, bucket and database of the settings. With --unique copies of an
event count once, and profiles begin with what documents say before them.
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

from pipelines.purposes import DROP_REMOVED_TAG
from pipelines.runs import dagster_instance, materialise
from pipelines.summaries import failures
from resources.embedded import running_settings
from tests.support.declared import declaring
from tests.support.owner import PAUSE_SECONDS, missing_fields, start_owner
from tests.support.pipeline import Pipeline, event
from workers.errors import FanfoldError
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.store import open_store
from workers.tasks import user_profiles

ASSET = user_profiles.asset
DAYS = ASSET.partitions.between("1998-04-01", "1998-04-06")
STOP_SECONDS = 60
USERS = 60


@contextmanager
def open_pipeline() -> Iterator[Pipeline]:
    """Give a pipeline on the servers, bucket and database of the settings."""
    settings = running_settings()
    database = open_database(settings)
    store = open_store(settings)
    store.ensure()
    with database.client:
        yield Pipeline(store, database, Ledger(database))


# In each of the two processes


def serve(pipeline: Pipeline, is_plain: bool) -> None:
    """Materialise the days of each line on stdin; answer each with a line: "folded", or errors."""
    for line in sys.stdin:
        days = json.loads(line)
        answer = run_plainly(pipeline, days) if is_plain else run_by_dagster(days)
        print(json.dumps(answer), flush=True)


def run_plainly(pipeline: Pipeline, days: list[str]) -> str:
    """Run some days as plain calls; return "folded", or the errors."""
    try:
        summary = pipeline.run(*days, drop_removed=True)
    except FanfoldError as error:
        return str(error)
    return "; ".join(refusal["why"] for refusal in summary["refused"]) or "folded"


def run_by_dagster(days: list[str]) -> str:
    """Run some days as a job of Dagster's; return "folded", or the errors."""
    summary = materialise(ASSET, days, tags={DROP_REMOVED_TAG: "yes"})
    return "folded" if summary["success"] else "; ".join(failures(summary))


# In the process that starts them


def start(is_plain: bool) -> subprocess.Popen[str]:
    """Start a process that serves."""
    command = [sys.executable, "-m", "tests.proofs.side_by_side", "--serve"]
    command += ["--plain"] if is_plain else []
    environ = os.environ | {"FANFOLD_EXECUTOR": "in_process"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, env=environ, text=True, **pipes)


def stop(process: subprocess.Popen[str]) -> None:
    """End a process that serves."""
    process.stdin.close()
    process.wait(STOP_SECONDS)
    process.stdout.close()


def run_at_once(processes: list[subprocess.Popen[str]], days_of_each: list[list[str]]) -> list[str]:
    """Let each process run its days, all at the same time; return their answers."""
    for process, days in zip(processes, days_of_each, strict=True):
        process.stdin.write(json.dumps(days) + "\n")
        process.stdin.flush()
    return [json.loads(process.stdout.readline()) for process in processes]


def change_blocks(pipeline: Pipeline, random: Random) -> None:
    """Add, replace and remove blocks of some days."""
    for day in random.sample(DAYS, random.randint(1, len(DAYS))):
        name = f"{random.randrange(4)}.jsonl"
        if random.random() < 0.2:
            pipeline.remove(f"events/dt={day}/{name}")
            continue

        users = [f"user{random.randrange(USERS)}" for _ in range(random.randint(1, 200))]
        events = [event(user, item=f"{random.random()}") for user in users]
        pipeline.put(events, day, name)


def draw_days(random: Random) -> list[str]:
    """Return a random range of days."""
    first, last = sorted(random.choices(range(len(DAYS)), k=2))
    return DAYS[first : last + 1]


def play(
    pipeline: Pipeline, rounds: int, seed: int, is_plain: bool, pause: float = PAUSE_SECONDS
) -> Counter[str]:
    """Play the rounds; return how often what happened."""
    random = Random(seed)
    counts: Counter[str] = Counter()
    if not is_plain:
        dagster_instance().dispose()  # Dagster cannot make its tables in two processes at once

    processes = [start(is_plain), start(is_plain)]
    begins = bool(ASSET.unique)
    owner = start_owner(ASSET.name, "_id", "user", USERS, pause_seconds=pause, begins=begins)
    try:
        for number in range(rounds):
            change_blocks(pipeline, random)
            first_days = draw_days(random)
            second_days = first_days if random.random() < 0.5 else draw_days(random)
            is_shared = bool(set(first_days) & set(second_days))
            counts["rounds over the same days" if is_shared else "rounds over different days"] += 1

            for answer in run_at_once(processes, [first_days, second_days]):
                is_overtaken = "another run took over" in answer
                counts["overtaken" if is_overtaken else answer] += 1

            verdict = pipeline.verify(*sorted({*first_days, *second_days}))
            counts["matches" if verdict.match else f"round {number} differs: {verdict}"] += 1
            with owner.paused() as report:
                missing = missing_fields(pipeline.profiles, "_id", report["last"])
            counts["foreign writes"] = report["writes"]
            counts["foreign writes lost"] = report["lost"] + len(missing)

        pipeline.run(*DAYS, drop_removed=True)
        counts["matches at the end"] += pipeline.verify().match
    finally:
        owner.stop()
        for process in processes:
            stop(process)
    return counts


def main() -> int:
    """Play, and print how often what happened; return 1 where profiles did not match."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--unique", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.unique and not ASSET.unique:  # declared where a process begins
        command = [sys.executable, "-m", "tests.proofs.side_by_side", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | declaring("unique"))

    with open_pipeline() as pipeline:
        if options.serve:
            serve(pipeline, options.plain)
            return 0
        counts = play(pipeline, options.rounds, options.seed, options.plain)

    for event_name, times in sorted(counts.items()):
        print(f"{times:5}  {event_name}")
    matches = counts["matches"] == options.rounds and counts["matches at the end"]
    return 0 if matches and not counts["foreign writes lost"] else 1


if __name__ == "__main__":
    sys.exit(main())
