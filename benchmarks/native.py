"""The same job as the fastest script that a person would write: Polars, and one insert a user.

It leaves the documents of `scripts`, and like these counts twice what it reads twice; unlike these
it needs an empty collection, and all events in memory. Topics are ranked in Python: ranking in
Polars takes as long as it saves.
"""

import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import polars as pl
from pymongo.collection import Collection

from benchmarks.counts import NOTHING_RECEIVED, preferences
from benchmarks.process import Answer
from benchmarks.scripts import block_keys
from benchmarks.surroundings import ASSET, CORES, database, store
from workers.tasks.user_profiles import TOPIC_WEIGHTS
from workers.values import Document

SCHEMA = {
    "user": pl.String,
    "action": pl.String,
    "item": pl.String,
    "topics": pl.List(pl.String),
    "ts": pl.Int64,
}
DOCUMENTS_PER_CALL = 10_000


def read_events() -> pl.DataFrame:
    """Read all blocks of the day; the next ones are fetched while one is parsed."""
    bucket = store()
    with ThreadPoolExecutor(CORES) as threads:
        bodies = threads.map(bucket.get, block_keys())
        return pl.concat([pl.read_ndjson(body, schema=SCHEMA) for body in bodies])


def group(events: pl.DataFrame) -> pl.DataFrame:
    """Return a row a user: number of events, times, and lists of keys with their amounts."""
    rows = events.lazy()
    user = pl.col("user")
    ts = pl.col("ts")

    seen = rows.group_by(user).agg(
        events=pl.len(), first_seen=pl.from_epoch(ts.min()), last_seen=pl.from_epoch(ts.max())
    )
    actions = rows.group_by(user, "action").agg(count=pl.len())
    actions = actions.group_by(user).agg("action", "count")

    weight = pl.col("action").replace_strict(TOPIC_WEIGHTS, return_dtype=pl.Int64)
    topics = rows.select(user, "topics", weight=weight).explode("topics")
    topics = topics.group_by(user, "topics").agg(pl.col("weight").sum())
    topics = topics.group_by(user).agg("topics", "weight")

    monday = pl.from_epoch(ts).dt.date().dt.truncate("1w")
    weeks = rows.group_by(user, week=monday).agg(week_events=pl.len())
    weeks = weeks.with_columns(pl.col("week").dt.to_string())
    weeks = weeks.group_by(user).agg("week", "week_events")

    # The last opinion as one number: its time, doubled, and one more where it is a like.
    opinions = rows.filter(pl.col("action").is_in(["like", "dislike"]))
    last = (ts * 2 + (pl.col("action") == "like")).max()
    likes = opinions.group_by(user, "item").agg(last=last).filter(pl.col("last") % 2 == 1)
    liked = likes.group_by(user).agg(liked=pl.col("item").sort())

    for part in (actions, topics, weeks, liked):
        seen = seen.join(part, on="user", how="left")
    return seen.collect()


def documents(users: pl.DataFrame) -> Iterator[Document]:
    """Yield the document of each user."""
    columns = ("user", "events", "action", "count", "topics", "weight", "week", "week_events")
    rows = users.select(*columns, "liked", "first_seen", "last_seen").iter_rows()
    for user, events, actions, counts, topics, weights, weeks, week_events, liked, *seen in rows:
        weight_by_topic = dict(zip(topics or (), weights or (), strict=True))
        yield NOTHING_RECEIVED | {
            "_id": user,
            "events": events,
            "actions": dict(zip(actions, counts, strict=True)),
            "topics": weight_by_topic,
            "weeks": dict(zip(weeks, week_events, strict=True)),
            "liked": liked or [],
            "first_seen": seen[0],
            "last_seen": seen[1],
            "preferences": preferences(weight_by_topic),
        }


def insert(profiles: Collection[Document], users: pl.DataFrame) -> None:
    """Insert the documents of all users; some are made while MongoDB writes those before."""
    with ThreadPoolExecutor(CORES) as threads:
        list(threads.map(partial(insert_some, profiles), users.iter_slices(DOCUMENTS_PER_CALL)))


def insert_some(profiles: Collection[Document], users: pl.DataFrame) -> None:
    """Insert the documents of some users, in one call."""
    profiles.insert_many(list(documents(users)), ordered=False)


def run() -> Answer:
    """Run the script; return the seconds that it took."""
    with database() as opened:
        started = time.monotonic()
        gc.disable()  # documents have no cycles; looking for some would double the cost of writing
        insert(opened[ASSET.name], group(read_events()))
        return {"seconds": time.monotonic() - started}
