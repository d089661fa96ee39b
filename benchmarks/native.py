"""The same job as the fastest script that a person would write: Polars, and one insert a user.

It leaves the documents of `scripts`, and like these counts twice what it reads twice; unlike these
it needs an empty collection, and all events in memory.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import polars as pl
from pymongo.collection import Collection

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

    seen = rows.group_by(user).agg(
        events=pl.len(), first_seen=pl.col("ts").min(), last_seen=pl.col("ts").max()
    )
    actions = rows.group_by(user, "action").agg(count=pl.len())
    actions = actions.group_by(user).agg("action", "count")

    weight = pl.col("action").replace_strict(TOPIC_WEIGHTS, return_dtype=pl.Int64)
    topics = rows.select(user, "topics", weight=weight).explode("topics")
    topics = topics.group_by(user, "topics").agg(pl.col("weight").sum())
    topics = topics.group_by(user).agg("topics", "weight")

    likes = rows.filter(pl.col("action") == "like")
    liked = likes.group_by(user).agg(liked=pl.col("item").unique())

    for part in (actions, topics, liked):
        seen = seen.join(part, on="user", how="left")
    return seen.collect()


def documents(users: pl.DataFrame) -> Iterator[Document]:
    """Yield the document of each user."""
    columns = ("user", "events", "first_seen", "last_seen", "action", "count", "topics", "weight")
    rows = users.select(*columns, "liked").iter_rows()
    for user, events, first, last, actions, counts, topics, weights, liked in rows:
        document: Document = {"_id": user, "events": events}
        document |= {"first_seen": first, "last_seen": last}
        document["actions"] = dict(zip(actions, counts, strict=True))
        if topics:
            document["topics"] = dict(zip(topics, weights, strict=True))
        if liked:
            document["liked"] = liked
        yield document


def insert(profiles: Collection[Document], users: pl.DataFrame) -> None:
    """Insert the documents of all users, many at a time."""
    left = documents(users)
    while chunk := list(islice(left, DOCUMENTS_PER_CALL)):
        profiles.insert_many(chunk, ordered=False)


def run() -> Answer:
    """Run the script; return the seconds that it took."""
    with database() as opened:
        started = time.monotonic()
        insert(opened[ASSET.name], group(read_events()))
        return {"seconds": time.monotonic() - started}
