"""Profiles in documents that an application owns, and goes on writing while all else happens.

    python -m tests.proofs.owned [--profiles 1000] [--seed 1]

Documents are there before the first run: half of them with preferences, each with fields of others.
Then runs, a replay, a redrive, removed blocks, late ones and rebuilds, each while another process
sets fields without a pause; after each, none of its writes may be lost, profiles must match the
raw blocks, and hold what our own count says. So it goes for documents by _id and by a key of the
application's, with values that give way and with values that profiles begin with. Uses the servers
of the settings, and a bucket and a database of its own.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

from tests.proofs.side_by_side import open_pipeline
from tests.support.anew import forget, rebuild
from tests.support.owner import OwnerProcess, missing_fields, start_owner
from tests.support.pipeline import USER_TASK, Pipeline, event
from workers.values import Document

NAME = "fanfold-owned"  # of the bucket and the database
DAYS = ("1998-04-01", "1998-04-02", "1998-04-03")
EVENTS = 3  # of a profile in a block, on the average
ACTIONS = ("like", "view", "share")
BEGUN = ("events", "actions")
FRAGILE = "fragile"  # is in the ids of users on which the task fails until it is mended


class Kind(NamedTuple):
    """What is different from one passage to the next."""

    name: str
    # Where documents are, and the field that holds the id of a profile.
    collection: str = "user_profiles"
    key: str = "_id"

    @property
    def begins(self) -> bool:
        """Whether sums begin with what documents said."""
        return "begin" in self.name


KINDS = (
    Kind("by _id"),
    Kind("by _id, adopt=begin"),
    Kind("collection=users, key=user_id", "users", "user_id"),
    Kind("collection=users, key=user_id, adopt=begin", "users", "user_id"),
)


@dataclass
class Record:
    """What was seen after a step."""

    kind: str
    step: str
    # Writes of the application so far, and its writes that are not there any more.
    writes: int
    lost: int
    is_match: bool
    # Whether each profile holds what our own count says.
    is_exact: bool

    @property
    def is_clean(self) -> bool:
        return self.is_match and self.is_exact and not self.lost


@dataclass
class Passage:
    """Documents of an application, and what happens to the profiles in them."""

    pipeline: Pipeline
    kind: Kind
    random: Random
    profiles: int
    # By key of a block, the users and actions of its events.
    blocks: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    begun: dict[str, Document] = field(default_factory=dict)
    # Whether the task fails on some users.
    fails: bool = False

    @property
    def documents(self) -> Any:
        return self.pipeline.database[self.kind.collection]

    # What is there before

    def fill(self) -> None:
        """Put the application's documents, half of them with preferences."""
        if self.kind.key != "_id":
            self.documents.create_index(self.kind.key, unique=True)

        documents = []
        for number in range(self.profiles):
            user = f"user{number}"
            document: Document = {self.kind.key: user, "name": user.title(), "level": number % 7}
            if number % 2:
                document["preferences"] = [{"topic": "Old", "weight": 1.0}]
            if self.kind.begins:
                self.begun[user] = {"events": number, "actions": {"like": number, "wave": 1}}
                document |= self.begun[user]
            documents.append(document)
        self.documents.insert_many(documents)

    # What happens

    def steps(self) -> list[tuple[str, Callable[[], Any]]]:
        """Return the steps by name, in order."""
        return [
            ("run", self.run_first),
            ("replay", self.run),
            ("redrive", self.redrive),
            ("replace a block", self.replace_block),
            ("remove a block", lambda: self.remove("more.jsonl")),
            ("remove last contributions", lambda: self.remove("last.jsonl")),
            ("late block", lambda: self.put_and_run("late.jsonl")),
            ("rebuild", lambda: rebuild(self.pipeline)),
            ("remove and rebuild", self.remove_and_rebuild),
            ("run after a rebuild", lambda: self.put_and_run("after.jsonl")),
        ]

    def run(self) -> None:
        """Bring profiles up to date with the blocks."""
        self.pipeline.run(*DAYS, drop_removed=True)

    def run_first(self) -> None:
        """Put blocks of all days, some of whose events the task fails on, and run."""
        for day in DAYS:
            self.put(day, "first.jsonl", self.some_users())
            self.put(day, "more.jsonl", self.some_users())
        # Users of whom nothing else says anything, with a document and without one.
        last = [f"user{number}" for number in range(self.profiles, 2 * self.profiles, 3)]
        self.put(DAYS[0], "last.jsonl", [*last, *self.only_in_one_block()])
        self.put(DAYS[1], "odd.jsonl", [f"{FRAGILE}{number}" for number in range(5)])
        self.run()

    def redrive(self) -> None:
        """Run the events again that the task failed on, by code that does not."""
        self.pipeline.redrive(*DAYS)

    def replace_block(self) -> None:
        """Put other events under a key that is there."""
        self.put(DAYS[1], "first.jsonl", self.some_users())
        self.run()

    def put_and_run(self, name: str) -> None:
        """Add a block to the oldest day, and run."""
        self.put(DAYS[0], name, self.some_users())
        self.run()

    def remove(self, name: str) -> None:
        """Remove the blocks of a name from all days."""
        self.remove_blocks(name)
        self.run()

    def remove_and_rebuild(self) -> None:
        """Make all profiles anew after blocks went that no run has missed yet."""
        self.remove_blocks("late.jsonl")
        self.put(DAYS[2], "last.jsonl", self.only_in_one_block())
        rebuild(self.pipeline)

    def some_users(self) -> list[str]:
        """Return users of events: of most documents, and of as many that have none yet."""
        numbers = range(int(1.5 * self.profiles))
        common = [number for number in numbers if number % 10]
        return [f"user{n}" for n in self.random.choices(common, k=EVENTS * self.profiles // 2)]

    def only_in_one_block(self) -> list[str]:
        """Return users whose documents the application made, and whom one block mentions."""
        return [f"user{number}" for number in range(0, self.profiles, 10)]

    def put(self, day: str, name: str, users: list[str]) -> None:
        """Put a block of an event each of these users."""
        events = [(user, self.random.choice(ACTIONS)) for user in users]
        key = self.pipeline.put([event(*each, topics=["War"]) for each in events], day, name)
        self.blocks[key] = events

    def remove_blocks(self, name: str) -> None:
        """Remove the blocks of a name from all days."""
        for key in [key for key in self.blocks if key.endswith(name)]:
            self.pipeline.remove(key)
            del self.blocks[key]

    @contextmanager
    def task(self) -> Iterator[None]:
        """Let the task begin with what documents say, where that is the kind, or fail on some."""
        fields = {
            name: replace(each, adopt="begin") if self.kind.begins and name in BEGUN else each
            for name, each in USER_TASK.fields.items()
        }

        def contributions(items: Any) -> Any:
            if items["user"].str.startswith(FRAGILE).any():
                raise ZeroDivisionError
            return USER_TASK.contributions(items)

        task = replace(USER_TASK, fields=fields)
        if self.fails:
            task = replace(task, contributions=contributions)
        task.__dict__["version"] = "fails" if self.fails else USER_TASK.version
        with patch("workers.tasks.user_profiles.task", task):
            yield

    # What has to hold

    def record(self, step: str, owner: OwnerProcess) -> Record:
        """Return what is seen of the application's writes, and of the profiles."""
        with owner.paused() as report:
            missing = missing_fields(self.documents, self.kind.key, report["last"])
        missing += self.without_name()
        for each in [*report["named"], *missing[:5]]:
            print(f"lost: {each}")
        return Record(
            self.kind.name,
            step,
            report["writes"],
            report["lost"] + len(missing),
            self.pipeline.verify().match,
            self.is_exact(),
        )

    def without_name(self) -> list[str]:
        """Return the documents of the beginning that are gone, or lack what they held then."""
        found = {each["name"] for each in self.documents.find({"name": {"$gt": ""}})}
        users = (f"user{number}" for number in range(self.profiles))
        return [user for user in users if user.title() not in found]

    def is_exact(self) -> bool:
        """Tell whether profiles hold what we count in the blocks, and what they began with."""
        expected: dict[str, Counter[str]] = {}
        for user, action in (each for events in self.blocks.values() for each in events):
            if not (self.fails and user.startswith(FRAGILE)):
                expected.setdefault(user, Counter())[action] += 1
        for user, begun in self.begun.items():
            expected.setdefault(user, Counter()).update(begun["actions"])

        actual = {}
        for document in self.documents.find({"actions": {"$exists": True}}):
            user = document[self.kind.key]
            actual[user] = Counter(document["actions"])
            events = document["events"] + (1 if user in self.begun else 0)  # a wave is no event
            if events != actual[user].total():
                return False
        return actual == expected


def play(pipeline: Pipeline, kind: Kind, profiles: int, seed: int) -> list[Record]:
    """Go through all steps while an application writes; return what was seen after each."""
    changed = pipeline.changed(collection=kind.collection, key=kind.key)
    passage = Passage(changed, kind, Random(seed), profiles)
    passage.fill()
    owner = start_owner(kind.collection, kind.key, "user", 2 * profiles)
    records = []
    try:
        for name, step in passage.steps():
            passage.fails = name == "run"
            with passage.task():
                step()
                records.append(passage.record(name, owner))
    finally:
        owner.stop()
    return records


def main() -> int:
    """Play all kinds, print what was seen; return 1 where anything was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    os.environ |= {"FANFOLD_BUCKET": NAME, "FANFOLD_DATABASE": NAME}
    is_clean = True
    with open_pipeline() as pipeline:
        for kind in KINDS:
            forget(pipeline)
            print(f"\n{kind.name}: {options.profiles:,} documents of others")
            print(f"{'after':28} {'foreign writes':>15} {'lost':>6}  verify   our count")
            for seen in play(pipeline, kind, options.profiles, options.seed):
                match = "matches" if seen.is_match else "DIFFERS"
                exact = "exact" if seen.is_exact else "DIFFERS"
                print(f"{seen.step:28} {seen.writes:15,} {seen.lost:6,}  {match}  {exact}")
                is_clean = is_clean and seen.is_clean
        forget(pipeline)
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
