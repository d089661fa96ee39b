"""Part `fold`: what folding costs beside raw writes of the same documents, and with more history.

Both write what the fold left, a thousand documents in a call and with the same write concern. The
fold also reads the batches' results, merges, derives and guards each write.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from pymongo import ReplaceOne
from pymongo.collection import Collection

from benchmarks.plain_steps import Steps, open_steps
from benchmarks.process import Answer, measure
from benchmarks.scale import Scale, say
from benchmarks.surroundings import ASSET, DAY, empty, put_events
from workers.declare.asset import Partitions
from workers.values import Document

NEXT_DAY = ASSET.partitions.shift(DAY, 1)
DOCUMENTS_PER_CALL = 1_000
# Events of users that are in every one of many hours, all of which stay open.
HOURLY = msgspec.structs.replace(
    ASSET,
    name="hourly_profiles",
    partitions=Partitions(every="hour", start="2024-01-01-00:00"),
    template="hourly/{partition}/",
)
HISTORY = (1, 30, 300, 800)  # partitions that profiles hold already
FOLDS = 5  # timed at each length of the history, which grows by one with each
HOUR_SECONDS = 3_600
START_SECONDS = 1_704_067_200  # of 2024


def measure_part(scale: Scale) -> Answer:
    """Measure the fold of new and of existing profiles, and of one more partition."""
    new: list[Any] = []
    existing: list[Any] = []
    for _ in range(scale.rounds):
        empty()
        for day in (DAY, NEXT_DAY):
            put_events(scale.fold_events, day=day)
        answer = measure("benchmarks.fold:run").answer
        new.append(answer["new"])
        existing.append(answer["existing"])
        say(f"  fold: {answer}")

    empty()
    history = measure("benchmarks.fold:run_history", profiles=scale.history_profiles)
    say(f"  history: {history.answer}")
    empty()
    return {
        "new": new,
        "existing": existing,
        "history_profiles": scale.history_profiles,
        "history": history.answer,
    }


def run() -> Answer:
    """Fold a day of new profiles, and one of the same users; write the same by hand."""
    with open_steps(ASSET) as steps:
        copy = steps.ledger.database["copy"]
        answer: Answer = {}
        for kind, day, write in (("new", DAY, insert), ("existing", NEXT_DAY, replace)):
            fold_seconds = timed_fold(steps, [day])
            documents = list(steps.profiles.find())

            started = time.monotonic()
            for first in range(0, len(documents), DOCUMENTS_PER_CALL):
                write(copy, documents[first : first + DOCUMENTS_PER_CALL])
            raw_seconds = time.monotonic() - started

            answer[kind] = {
                "profiles": len(documents),
                "fold_seconds": fold_seconds,
                "raw_seconds": raw_seconds,
            }
    return answer


def timed_fold(steps: Steps, partitions: Sequence[str]) -> float:
    """Bring partitions to their end; return the seconds that their fold took."""
    reconciled = steps.prepare(partitions)
    started = time.monotonic()
    folded = steps.fold(reconciled)
    seconds = time.monotonic() - started
    steps.publish(reconciled, folded)
    return seconds


def insert(collection: Collection[Document], documents: list[Document]) -> None:
    """Insert documents."""
    collection.insert_many(documents, ordered=False)


def replace(collection: Collection[Document], documents: list[Document]) -> None:
    """Replace the documents of the same ids."""
    writes = [ReplaceOne({"_id": document["_id"]}, document) for document in documents]
    collection.bulk_write(writes, ordered=False)


def run_history(profiles: int) -> Answer:
    """Return the seconds of folding one more partition, by how many the profiles hold already."""
    hours = HOURLY.partitions.between("2024-01-01-00:00", "2024-02-28-00:00")
    seconds: dict[str, list[float]] = {}
    held = 0
    with open_steps(HOURLY) as steps:
        for length in HISTORY:
            _put_hours(steps, hours, range(held, length + FOLDS), profiles)
            timed_fold(steps, hours[held:length])
            held = length + FOLDS
            seconds[str(length)] = [timed_fold(steps, [hour]) for hour in hours[length:held]]
    return seconds


def _put_hours(steps: Steps, hours: Sequence[str], numbers: range, profiles: int) -> None:
    """Put an event of each profile into hours."""
    for number in numbers:
        ts = START_SECONDS + number * HOUR_SECONDS
        events = [
            {
                "user": f"u{user}",
                "action": "like",
                "item": f"i{(user + number) % 50}",
                "topics": [f"t{(user + number) % 20}"],
                "ts": ts,
            }
            for user in range(profiles)
        ]
        steps.put(hours[number], events)
