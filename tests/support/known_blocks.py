"""Blocks whose content is known item by item, and what MongoDB has to say once they are folded.

Nothing here uses Fanfold's reading, folding or verifying: it is a second opinion.
"""

import csv
import gzip
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pymongo.database import Database

from workers.declare.asset import Asset
from workers.store import BlockStore
from workers.values import Document

COLUMNS = ("user", "action", "item", "topics", "ts")
ACTIONS = ("view", "view", "view", "click", "like", "share", "dislike")
SUFFIXES = (".jsonl", ".jsonl.gz", ".csv")
CHANGES = ("added", "replaced", "removed", "brought back")
USERS = 2_000
LARGE = 25_000  # events, more than a batch holds: a block of JSON is cut, one of gzip in pieces

FOLDED = ("folded", "closed")
SETTLED = (*FOLDED, "unchanged")  # what the newest plan of a partition may be when all is done
UNFINISHED = ("planned", "folding")  # what no plan may be then


@dataclass(frozen=True)
class Content:
    """What a block holds: its bytes, how often each user is in it, and its unusable lines."""

    body: bytes
    users: Counter[str]
    dead: int


@dataclass
class KnownBlocks:
    """What lies in the bucket, what lay there before, and how both change at random."""

    random: Random
    store: BlockStore
    asset: Asset
    days: list[str]
    blocks: dict[str, Content] = field(default_factory=dict)
    former: list[tuple[str, Content]] = field(default_factory=list)
    made: int = 0

    def fill(self) -> None:
        """Put several blocks into each day, two of them large."""
        for day in self.days:
            for _ in range(self.random.randint(2, 5)):
                self._add(day, self.random.choice(SUFFIXES))
        for suffix in SUFFIXES[:2]:
            self._add(self.random.choice(self.days), suffix, LARGE)

    def change(self) -> str:
        """Add, replace, remove or bring back a block; return what was done."""
        done = self.random.choice(CHANGES)
        if done == "brought back" and self.former:
            self._put(*self.former.pop(self.random.randrange(len(self.former))))
        elif done in ("replaced", "removed") and self.blocks:
            key = self.random.choice(sorted(self.blocks))
            if done == "replaced":
                self._put(key, content(self.random, key.split("/")[1][3:], key))
            else:
                self.former.append((key, self.blocks.pop(key)))
                self.store.client.delete_object(Bucket=self.store.bucket, Key=key)
        else:
            self._add(self.random.choice(self.days), self.random.choice(SUFFIXES))
            done = "added"
        return done

    def _add(self, day: str, suffix: str, events: int | None = None) -> None:
        self.made += 1
        key = f"events/dt={day}/{self.made:04}{suffix}"
        self._put(key, content(self.random, day, key, events))

    def _put(self, key: str, new: Content) -> None:
        if key in self.blocks:
            self.former.append((key, self.blocks[key]))
        self.store.put(key, new.body)
        self.blocks[key] = new

    def users(self) -> Counter[str]:
        """Return how many events each user has."""
        return sum((block.users for block in self.blocks.values()), Counter())

    def counts(self, day: str) -> tuple[int, int]:
        """Return how many items of a day can be used, and how many cannot."""
        here = [b for key, b in self.blocks.items() if key.startswith(f"events/dt={day}/")]
        return sum(b.users.total() for b in here), sum(b.dead for b in here)


def content(random: Random, day: str, key: str, events: int | None = None) -> Content:
    """Make a block of so many events (else 300 to 3,000) and a few lines that are none."""
    events = events or random.randint(300, 3_000)
    items = [event(random, day) for _ in range(events)]
    bad = random.randint(0, max(1, events // 300))
    is_csv = key.endswith(".csv")
    lines = [_row(one) if is_csv else json.dumps(one) for one in items]
    for _ in range(bad):
        lines.insert(random.randrange(len(lines)), spoiled(random, day, is_csv))
    body = "".join(f"{line}\n" for line in [",".join(COLUMNS)] * is_csv + lines).encode()
    packed = gzip.compress(body, mtime=0) if key.endswith(".gz") else body
    return Content(packed, Counter(one["user"] for one in items), bad)


def event(random: Random, day: str) -> Document:
    """Return one event of a day; some users have many, most have few."""
    clock = f"{random.randrange(24):02}:{random.randrange(60):02}:{random.randrange(60):02}Z"
    return {
        "user": f"user {min(int(random.expovariate(0.004)), USERS)}",
        "action": random.choice(ACTIONS),
        "item": f"i{random.randrange(500)}",
        "topics": random.sample(["a", "b.c", "d$", "é", "f"], random.randint(0, 2)),
        "ts": f"{day}T{clock}",
    }


def spoiled(random: Random, day: str, is_csv: bool) -> str:
    """Return a line that is one item and cannot be used."""
    one = event(random, day) | random.choice([{"ts": "soon"}, {"user": ""}, {"action": None}])
    if is_csv:
        return random.choice([_row(one), "cut off,view"])
    return random.choice([json.dumps(one), json.dumps(one)[:-9], "[]"])


def _row(one: Document) -> str:
    line = io.StringIO()
    cells = {**one, "topics": "|".join(one["topics"])}
    csv.DictWriter(line, COLUMNS, lineterminator="").writerow(cells)
    return line.getvalue()


def differences(database: Database[Document], tally: KnownBlocks) -> tuple[int, int]:
    """Return how many items the profiles lost, and how many they counted twice."""
    found = database[tally.asset.name].find({}, {"events": 1})
    actual = Counter({one["_id"]: one.get("events") or 0 for one in found})
    expected = tally.users()
    return (expected - actual).total(), (actual - expected).total()


def plan_problems(database: Database[Document], tally: KnownBlocks) -> list[str]:
    """Say which plans are left open, and which batches were done twice and differed."""
    of_asset = {"asset": tally.asset.name}
    unfinished = database["plans"].find({**of_asset, "state": {"$in": UNFINISHED}})
    problems = [f"plan {plan['_id']} is still {plan['state']}" for plan in unfinished]
    for day in tally.days:
        plan = newest(database, tally.asset, day)
        if plan is None or plan["state"] not in SETTLED:
            problems.append(f"the newest plan of {day} is {plan and plan['state']}")
    conflicts = database["batches"].find({**of_asset, "conflicts.0": {"$exists": True}})
    return problems + [f"attempts at batch {one['_id']} differ" for one in conflicts]


def newest(database: Database[Document], asset: Asset, day: str, **where: Any) -> Document | None:
    """Return the newest plan of a day."""
    unit = {"asset": asset.name, "partition": day, **where}
    return database["plans"].find_one(unit, sort=[("listed", -1), ("created", -1)])


def count_problems(database: Database[Document], tally: KnownBlocks) -> list[str]:
    """Hold each folded plan's batches against themselves, the newest also against the blocks."""
    problems = []
    query = {"asset": tally.asset.name, "state": {"$in": FOLDED}}
    for plan in database["plans"].find(query):
        done = {"_id": {"$in": plan["batches"]}, "state": "done"}
        outcomes = [batch["outcome"] for batch in database["batches"].find(done)]
        items, used, dead = (sum(o[name] for o in outcomes) for name in ("items", "used", "dead"))
        if len(outcomes) != len(plan["batches"]) or items != used + dead:
            problems.append(
                f"plan {plan['_id']}: {len(outcomes)} of {len(plan['batches'])} batches done, "
                f"{items} items, {used} used, {dead} dead"
            )
        day = plan["partition"]
        open_ = {"asset": tally.asset.name, "partition": day, "state": "open"}
        letters = database["dead_letters"].count_documents(open_)
        if (used, dead, letters) != (*tally.counts(day), dead):
            problems.append(
                f"{day}: {used} used, {dead} dead, {letters} open letters; in the blocks are "
                "{} and {}".format(*tally.counts(day))
            )
    return problems
