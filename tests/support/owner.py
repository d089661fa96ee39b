"""An application that owns documents: a process that sets fields of its own, without a pause.

    python -m tests.support.owner COLLECTION KEY PREFIX USERS PAUSE_SECONDS [begins]

It knows what it set last, so it sees a write that was lost at once: each write returns the document
as it was before. Where profiles begin with the events of documents, those that it makes have some
already, and it sees whether they stay. A line on stdin makes it pause and say what it has seen;
another lets it go on.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, PyMongoError

from workers.errors import FanfoldError
from workers.ledger.mongo import open_database
from workers.settings import read_settings
from workers.values import Document

FIELDS = ("app_seen", "app_note", "app_address", "app_tags")
SEEN = (*FIELDS, "events")
MAKES_SHARE = 0.02  # of the writes that may make a document
PAUSE_SECONDS = 0.0005  # between two writes: the machine has others to serve
BEGUN_EVENTS = 1_000_000  # of a document that it makes: far more than any profile gets
MAX_NAMED = 5  # losses that a report names


# In the process of the application


@dataclass
class Owner:
    """Sets and removes fields of documents, and remembers what it set last."""

    open: Callable[[], Collection[Document]]
    key: str
    users: list[str]
    # Whether profiles begin with the events of documents that are there before them.
    begins: bool = False
    random: Random = field(default_factory=lambda: Random(1))
    writes: int = 0
    lost: list[str] = field(default_factory=list)
    # By user what its document has to hold, by field.
    last: dict[str, Document] = field(default_factory=dict)
    # The users whose documents it has made, and nobody else.
    made: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.documents = self.open()

    def write(self) -> None:
        """Set or remove a field of one document, and look whether all others are as they were."""
        user = self.random.choice(self.users)
        name = self.random.choice(FIELDS)
        value = self._value(name)
        update: Document = {"$unset": {name: ""}} if value is None else {"$set": {name: value}}
        makes = value is not None and self.random.random() < MAKES_SHARE
        if makes and self.begins:
            update["$setOnInsert"] = {"events": BEGUN_EVENTS}
        before, is_sure = self._update(user, update, makes)

        expected = self.last.pop(user, {})
        self._compare(user, expected, before or {}, None if is_sure else (name, value))
        if before is None and not makes:
            return  # there is no such document
        if before is None and is_sure:
            self.made.add(user)

        self.writes += 1
        self.last[user] = expected
        if value is None:
            expected.pop(name, None)
        else:
            expected[name] = value

    def _value(self, name: str) -> Any:
        if self.random.random() < 0.1:
            return None
        number = self.writes
        values = {"app_address": {"town": f"t{number}"}, "app_tags": [number, {"n": number}]}
        return values.get(name, number)

    def _update(self, user: str, update: Document, makes: bool) -> tuple[Document | None, bool]:
        """Return the document as it was, and whether the write was certainly made once."""
        is_sure = True
        while True:
            try:
                before = self.documents.find_one_and_update(
                    {self.key: user},
                    update,
                    dict.fromkeys(SEEN, 1),
                    upsert=makes,
                    return_document=ReturnDocument.BEFORE,
                )
            except DuplicateKeyError:
                continue  # somebody has made it at the same time
            except PyMongoError:
                is_sure = False
                time.sleep(0.1)
                self.documents.database.client.close()
                self.documents = self.open()
            else:
                return before, is_sure

    def _compare(
        self, user: str, expected: Document, before: Document, tried: tuple[str, Any] | None
    ) -> None:
        """Take down which fields are not as they were set last; `tried` may have been set twice."""
        for name in FIELDS:
            if tried and name == tried[0] and before.get(name) == tried[1]:
                continue
            if before.get(name) != expected.get(name):
                self.lost.append(f"{user}.{name}: {before.get(name)}, not {expected.get(name)}")
        if self.begins and user in self.made and (before.get("events") or 0) < BEGUN_EVENTS:
            self.lost.append(f"{user}.events: {before.get('events')}, and it began with more")

    def report(self) -> Document:
        """Return what was written, lost, and is to be there."""
        return {
            "writes": self.writes,
            "lost": len(self.lost),
            "named": self.lost[:MAX_NAMED],
            "last": self.last,
        }


def serve(owner: Owner, pause_seconds: float) -> None:
    """Write until stdin ends; at a line say what was seen, and wait for the next line."""
    while True:
        if select.select([sys.stdin], [], [], pause_seconds)[0]:
            if not sys.stdin.readline():
                return
            sys.stdout.write(json.dumps(owner.report()) + "\n")
            sys.stdout.flush()
            sys.stdin.readline()
        owner.write()


# In the process that starts it


@dataclass
class OwnerProcess:
    """An application at work."""

    process: subprocess.Popen[str]

    @contextmanager
    def paused(self) -> Iterator[Document]:
        """Let it pause; give its report."""
        self._say("pause")
        report = self.process.stdout.readline()
        if not report:
            raise FanfoldError(f"the application ended with {self.process.wait()}")
        yield json.loads(report)
        self._say("go on")

    def _say(self, word: str) -> None:
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def start_owner(
    collection: str,
    key: str,
    prefix: str,
    users: int,
    environ: Mapping[str, str] = os.environ,
    pause_seconds: float = PAUSE_SECONDS,
    begins: bool = False,
) -> OwnerProcess:
    """Return an application that is at work, over users whose ids are a prefix and a number."""
    command = [sys.executable, "-m", "tests.support.owner", collection, key, prefix, str(users)]
    command += [str(pause_seconds), *(["begins"] if begins else [])]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=environ, text=True, **pipes)
    owner = OwnerProcess(process)
    with owner.paused():  # it is at work by then
        return owner


def events_of_profiles(documents: Collection[Document]) -> Counter[str]:
    """Return the events that profiles have of their own, by id, beside those that they began with.

    A document that no item has made a profile of has none.
    """
    events = Counter[str]()
    for profile in documents.find({"_fold": {"$exists": True}}, {"events": 1}):
        number = profile.get("events") or 0
        events[profile["_id"]] = number - BEGUN_EVENTS if number >= BEGUN_EVENTS else number
    return events


def missing_fields(documents: Collection[Document], key: str, last: Mapping[str, Any]) -> list[str]:
    """Return which fields of the application are not as it set them last."""
    found = {}
    for document in documents.find({}, {**dict.fromkeys(FIELDS, 1), key: 1}):
        found[document[key]] = {name: document[name] for name in FIELDS if name in document}
    return [
        f"{user}: {found.get(user)}, not {expected}"
        for user, expected in last.items()
        if found.get(user, {}) != expected
    ]


if __name__ == "__main__":
    collection_name, key_name, id_prefix, user_count, pause, *more = sys.argv[1:]
    serve(
        Owner(
            lambda: open_database(read_settings(), patient=False)[collection_name],
            key_name,
            [f"{id_prefix}{number}" for number in range(int(user_count))],
            begins="begins" in more,
        ),
        float(pause),
    )
