"""A year of days, and what it costs when a block of one that is long over comes, changes or goes.

    python -m tests.proofs.late [--days 365] [--users 5000] [--events 1000]

Prints, for each change, how many profiles it concerns by our own count, how many documents were
written by MongoDB's, and the time beside that of a rebuild. After each, profiles must match the raw
blocks. Uses the servers of the settings, and a bucket and a database of its own.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from tests.proofs.side_by_side import open_pipeline
from tests.support.anew import forget, rebuild
from tests.support.pipeline import Pipeline, event
from tests.support.written import count_written

NAME = "fanfold-late"  # of the bucket and the database
FIRST_DAY = "1997-10-01"
DAYS_BACK = 200
LATE_EVENTS = 100
ACTIONS = ("like", "view", "share", "click")
DAY_SECONDS = 86_400


@dataclass
class Seen:
    """What a change concerned, and what it took."""

    change: str
    concerned: int
    written: int
    seconds: float
    cpu_seconds: float
    is_match: bool


@dataclass
class Year:
    """Days of events, and how they change."""

    pipeline: Pipeline
    random: Random
    days: list[str]
    users: int
    events: int
    # By key of a block, the users that it mentions.
    blocks: dict[str, set[str]] = field(default_factory=dict)

    def fill(self) -> None:
        """Put a block into each day."""
        for day in self.days:
            self.put(day, "a.jsonl", self.events)

    def put(self, day: str, name: str, events: int) -> set[str]:
        """Put a block; return the users that it mentions, and those that it mentioned before."""
        midnight = int(self.pipeline.asset.partitions.time(day).timestamp())
        users = [f"user{self.random.randrange(self.users)}" for _ in range(events)]
        items = [
            event(
                user,
                self.random.choice(ACTIONS),
                midnight + self.random.randrange(DAY_SECONDS),
                item=f"i{self.random.randrange(200)}",
                topics=self.random.sample(["War", "Drama", "Noir"], 2),
            )
            for user in users
        ]
        key = self.pipeline.put(items, day, name)
        before = self.blocks.get(key, set())
        self.blocks[key] = set(users)
        return before | set(users)

    def remove(self, day: str, name: str) -> set[str]:
        """Remove a block; return the users that it mentioned."""
        key = f"events/dt={day}/{name}"
        self.pipeline.remove(key)
        return self.blocks.pop(key)

    def changes(self, old: str) -> list[tuple[str, Callable[[], set[str]]]]:
        """Return what happens to an old day, by name; each returns the users that it concerns."""
        return [
            ("run again, unchanged", set),
            ("a block is added", lambda: self.put(old, "late.jsonl", LATE_EVENTS)),
            ("a block is replaced", lambda: self.put(old, "a.jsonl", LATE_EVENTS)),
            ("a block is removed", lambda: self.remove(old, "late.jsonl")),
        ]

    def measure(self, name: str, concerned: int, run: Callable[[], Any]) -> Seen:
        """Return what a run took and wrote, and whether profiles match afterwards."""
        began, cpu_began = time.perf_counter(), time.process_time()
        with count_written(self.pipeline.profiles) as written:
            run()
        seconds = time.perf_counter() - began
        cpu_seconds = time.process_time() - cpu_began
        is_match = self.pipeline.verify().match
        return Seen(name, concerned, written.total, seconds, cpu_seconds, is_match)


def play(pipeline: Pipeline, days: int, users: int, events: int, seed: int) -> list[Seen]:
    """Fold a year, change an old day, make all profiles anew; return what was seen."""
    partitions = pipeline.asset.partitions
    names = partitions.between(FIRST_DAY, partitions.shift(FIRST_DAY, days - 1))
    year = Year(pipeline, Random(seed), names, users, events)
    year.fill()
    everybody = len(set().union(*year.blocks.values()))
    seen = [year.measure("all days, first", everybody, partial(pipeline.run, *names))]

    old = names[-min(DAYS_BACK, days)]
    for name, change in year.changes(old):
        concerned = change()
        run = partial(pipeline.run, old, drop_removed=True)
        seen.append(year.measure(name, len(concerned), run))

    everybody = len(set().union(*year.blocks.values()))
    seen.append(year.measure("rebuild", everybody, partial(rebuild, pipeline)))
    return seen


def main() -> int:
    """Play, and print what was seen; return 1 where more was written than was concerned."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--events", type=int, default=1_000, help="of a day")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    os.environ |= {"FANFOLD_BUCKET": NAME, "FANFOLD_DATABASE": NAME}
    with open_pipeline() as pipeline:
        forget(pipeline)
        seen = play(pipeline, options.days, options.users, options.events, options.seed)
        forget(pipeline)

    print(f"{'':24} {'concerned':>10} {'written':>10} {'seconds':>8} {'CPU':>8}  verify")
    for each in seen:
        match = "matches" if each.is_match else "DIFFERS"
        print(
            f"{each.change:24} {each.concerned:10,} {each.written:10,} "
            f"{each.seconds:8.2f} {each.cpu_seconds:8.2f}  {match}"
        )
    return 0 if all(each.is_match and each.concerned == each.written for each in seen) else 1


if __name__ == "__main__":
    sys.exit(main())
