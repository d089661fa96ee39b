"""Blocks whose content is known item by item, and what MongoDB has to hold once they are folded.

Nothing here uses Fanfold's reading, folding or verifying: it is a second opinion.
"""

import csv
import gzip
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from pymongo.database import Database

from tests.support.owner import events_of_profiles
from workers.declare.asset import Asset
from workers.store import BlockStore
from workers.values import Document

COLUMNS = ("user", "action", "item", "topics", "ts")
ACTIONS = ("view", "view", "view", "click", "like", "share", "dislike")
SUFFIXES = (".jsonl", ".jsonl.gz", ".csv")
CHANGES = ("added", "replaced", "removed", "brought back")
COPIED = "copied"  # and what is done beside these where copies count once
MAX_USERS = 2_000
# More than a batch holds: a block of JSON is cut into ranges, one of gzip into segments.
LARGE_BLOCK_EVENTS = 25_000

# What the newest plan of a partition is when all is done.
SETTLED = "folded"
# What no plan may be then.
UNFINISHED_STATES = ("planned", "folding")


@dataclass(frozen=True)
class Content:
    """What a block holds: its bytes, its usable events, and its unusable lines."""

    body: bytes
    # By user, action, item and time.
    events: tuple[tuple[str, ...], ...]
    dead: int

    @property
    def users(self) -> Counter[str]:
        """How often each user is in it."""
        return Counter(user for user, *_ in self.events)


@dataclass
class KnownBlocks:
    """What lies in the bucket, what lay there before, and how both change at random."""

    random: Random
    store: BlockStore
    asset: Asset
    days: list[str]
    blocks: dict[str, Content] = field(default_factory=dict)
    former: list[tuple[str, Content]] = field(default_factory=list)
    last_number: int = 0
    # Copies of an event count once; then some blocks are copies of others.
    is_unique: bool = False

    def fill(self) -> None:
        """Put several blocks into each day, and two large ones into some."""
        for day in self.days:
            for _ in range(self.random.randint(2, 5)):
                self._add(day, self.random.choice(SUFFIXES))

        for suffix in SUFFIXES[:2]:
            self._add(self.random.choice(self.days), suffix, LARGE_BLOCK_EVENTS)

    def change(self) -> str:
        """Add, replace, remove or bring back a block; return which of these was done."""
        change = self.random.choice((*CHANGES, COPIED) if self.is_unique else CHANGES)

        if change == COPIED and self.blocks:
            key = self.random.choice(sorted(self.blocks))
            self.last_number += 1
            copy = f"{self.last_number:04}.{key.split('.', 1)[1]}"
            self._put(f"events/dt={self.random.choice(self.days)}/{copy}", self.blocks[key])
        elif change == "brought back" and self.former:
            key, content = self.former.pop(self.random.randrange(len(self.former)))
            self._put(key, content)
        elif change == "replaced" and self.blocks:
            key = self.random.choice(sorted(self.blocks))
            self._put(key, draw_content(self.random, key.split("/")[1][3:], key))
        elif change == "removed" and self.blocks:
            key = self.random.choice(sorted(self.blocks))
            self.former.append((key, self.blocks.pop(key)))
            self.store.client.delete_object(Bucket=self.store.bucket, Key=key)
        else:
            change = "added"
            self._add(self.random.choice(self.days), self.random.choice(SUFFIXES))

        return change

    def add_deadly(self, item: str) -> str:
        """Add a small block with an event that ends its worker; return its day."""
        day = self.random.choice(self.days)
        self.last_number += 1
        key = f"events/dt={day}/{self.last_number:04}.jsonl"
        content = draw_content(self.random, day, key, self.random.randint(10, 60))
        line = json.dumps(draw_event(self.random, day) | {"item": item}).encode() + b"\n"
        self._put(key, Content(line + content.body, content.events, content.dead + 1))
        return day

    def users(self) -> Counter[str]:
        """Return how many events each user has, of which copies may count once."""
        if self.is_unique:
            different = {event for content in self.blocks.values() for event in content.events}
            return Counter(user for user, *_ in different)
        return sum((content.users for content in self.blocks.values()), Counter())

    def counts(self, day: str) -> tuple[int, int]:
        """Return how many items of a day can be used, and how many cannot."""
        used = 0
        dead = 0
        for key, content in self.blocks.items():
            if key.startswith(f"events/dt={day}/"):
                used += len(content.events)
                dead += content.dead
        return used, dead

    def _add(self, day: str, suffix: str, events: int | None = None) -> None:
        self.last_number += 1
        key = f"events/dt={day}/{self.last_number:04}{suffix}"
        self._put(key, draw_content(self.random, day, key, events))

    def _put(self, key: str, content: Content) -> None:
        if key in self.blocks:
            self.former.append((key, self.blocks[key]))
        self.store.put(key, content.body)
        self.blocks[key] = content


# What blocks hold


def draw_content(random: Random, day: str, key: str, events: int | None = None) -> Content:
    """Return a block of so many events (else 300 to 3,000) and a few lines that are unusable."""
    is_csv = key.endswith(".csv")
    events = events or random.randint(300, 3_000)
    items = [draw_event(random, day) for _ in range(events)]
    dead = random.randint(0, max(1, events // 300))

    lines = [_csv_row(item) if is_csv else json.dumps(item) for item in items]
    for _ in range(dead):
        lines.insert(random.randrange(len(lines)), unusable_line(random, day, is_csv))
    if is_csv:
        lines.insert(0, ",".join(COLUMNS))

    body = "".join(f"{line}\n" for line in lines).encode()
    if key.endswith(".gz"):
        body = gzip.compress(body, mtime=0)
    events = tuple((item["user"], item["action"], item["item"], item["ts"]) for item in items)
    return Content(body, events, dead)


def draw_event(random: Random, day: str) -> Document:
    """Return an event of a day; some users have many, most have few."""
    clock = f"{random.randrange(24):02}:{random.randrange(60):02}:{random.randrange(60):02}Z"
    return {
        "user": f"user {min(int(random.expovariate(0.004)), MAX_USERS)}",
        "action": random.choice(ACTIONS),
        "item": f"i{random.randrange(500)}",
        "topics": random.sample(["a", "b.c", "d$", "é", "f"], random.randint(0, 2)),
        "ts": f"{day}T{clock}",
    }


def unusable_line(random: Random, day: str, is_csv: bool) -> str:
    """Return a line that is an item and cannot be used."""
    flaws = [{"ts": "soon"}, {"user": ""}, {"action": None}]
    item = draw_event(random, day) | random.choice(flaws)

    if is_csv:
        return random.choice([_csv_row(item), "cut off,view"])
    line = json.dumps(item)
    return random.choice([line, line[:-9], "[]"])


def _csv_row(item: Document) -> str:
    row = io.StringIO()
    cells = {**item, "topics": "|".join(item["topics"])}
    csv.DictWriter(row, COLUMNS, lineterminator="").writerow(cells)
    return row.getvalue()


# What MongoDB has to hold


def count_differences(database: Database[Document], known: KnownBlocks) -> tuple[int, int]:
    """Return how many items the profiles lost, and how many they counted twice."""
    actual = events_of_profiles(database[known.asset.name])
    expected = known.users()
    return (expected - actual).total(), (actual - expected).total()


def find_plan_problems(database: Database[Document], known: KnownBlocks) -> list[str]:
    """Return which plans are not finished, and which batches had attempts that differ."""
    asset = {"asset": known.asset.name}

    unfinished = database["plans"].find({**asset, "state": {"$in": UNFINISHED_STATES}})
    problems = [f"plan {plan['_id']} is still {plan['state']}" for plan in unfinished]

    for day in known.days:
        newest = newest_plan(database, known.asset, day)
        if newest is None or newest["state"] != SETTLED:
            problems.append(f"the newest plan of {day} is {newest and newest['state']}")

    conflicts = database["batches"].find({**asset, "conflicts.0": {"$exists": True}})
    return problems + [f"attempts at batch {batch['_id']} differ" for batch in conflicts]


def newest_plan(database: Database[Document], asset: Asset, day: str) -> Document | None:
    """Return the plan of a day that was listed last."""
    query = {"asset": asset.name, "partition": day}
    return database["plans"].find_one(query, sort=[("listed", -1), ("created", -1)])


def find_count_problems(database: Database[Document], known: KnownBlocks) -> list[str]:
    """Return where the counts of folded plans contradict themselves, or the blocks."""
    problems = []
    query = {"asset": known.asset.name, "state": SETTLED}

    for plan in database["plans"].find(query):
        done = {"_id": {"$in": plan["batches"]}, "state": "done"}
        outcomes = [batch["outcome"] for batch in database["batches"].find(done)]
        items, used, dead, duplicates = (
            sum(outcome[count] for outcome in outcomes)
            for count in ("items", "used", "dead", "duplicates")
        )
        if len(outcomes) != len(plan["batches"]) or items != used + dead + duplicates:
            problems.append(
                f"plan {plan['_id']}: {len(outcomes)} of {len(plan['batches'])} batches done, "
                f"{items} items, {used} used, {dead} dead, {duplicates} duplicates"
            )

        day = plan["partition"]
        expected_used, expected_dead = known.counts(day)
        is_open = {"asset": known.asset.name, "partition": day, "state": "open"}
        letters = database["dead_letters"].count_documents(is_open)
        read = used + duplicates
        if (read, dead, letters) != (expected_used, expected_dead, dead):
            problems.append(
                f"{day}: {read} used or duplicates, {dead} dead, {letters} open letters; there are "
                f"{expected_used} and {expected_dead}"
            )

    return problems
