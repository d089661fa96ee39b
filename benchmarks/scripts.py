"""The same job as plain scripts that people write with pandas: three ways to group and upsert.

All count twice what they read twice, and leave out what an item that is damaged would need. What
they write of a user is what `native` writes: events, actions, topics, liked, first_seen, last_seen.
"""

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pandas as pd
from pymongo import UpdateOne
from pymongo.collection import Collection

from benchmarks.process import Answer
from benchmarks.surroundings import ASSET, CORES, DAY, database, store
from workers.sources.objects import blocks_of_partition
from workers.tasks.user_profiles import TOPIC_WEIGHTS
from workers.values import Document

WRITES_PER_CALL = 1_000

# Amounts by user and key; events, first and last time of each user; likes.
Counts = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def read_counts(body: bytes) -> Counts:
    """Read one block; return amounts by user and key, what was seen of each user, and likes."""
    events = pd.read_json(io.BytesIO(body), lines=True, engine="pyarrow")
    user = events["user"]
    weight = events["action"].map(TOPIC_WEIGHTS)

    topics = pd.DataFrame({"user": user, "key": events["topics"], "value": weight}).explode("key")
    topics["key"] = "topics." + topics["key"]
    actions = pd.DataFrame({"user": user, "key": "actions." + events["action"], "value": 1})
    amounts = pd.concat([actions, topics]).groupby(["user", "key"], as_index=False)["value"].sum()

    seen = events.groupby("user")["ts"].agg(events="size", first="min", last="max").reset_index()
    likes = events.loc[events["action"] == "like", ["user", "item"]]
    return amounts, seen, likes


def merge_counts(counts: list[Counts]) -> Counts:
    """Return the counts of several blocks as those of one."""
    amounts, seen, likes = (pd.concat(parts) for parts in zip(*counts, strict=True))
    amounts = amounts.groupby(["user", "key"], as_index=False)["value"].sum()
    merged = {"events": "sum", "first": "min", "last": "max"}
    return amounts, seen.groupby("user", as_index=False).agg(merged), likes


def upsert(counts: Counts, profiles: Collection[Document]) -> None:
    """Write user by user, a thousand at a time."""
    writes: list[UpdateOne] = []
    for write in _writes(counts):
        writes.append(write)
        if len(writes) == WRITES_PER_CALL:
            profiles.bulk_write(writes, ordered=False)
            writes = []

    if writes:
        profiles.bulk_write(writes, ordered=False)


def _writes(counts: Counts) -> Iterator[UpdateOne]:
    """Yield what each user's counts add to the user's profile."""
    amounts, seen, likes = counts
    liked = likes.groupby("user")["item"].agg(list).to_dict()
    numbers_by_user = {user: numbers for user, *numbers in seen.itertuples(index=False)}

    for user, group in amounts.groupby("user"):
        events, first, last = numbers_by_user[user]
        added = dict(zip(group["key"].tolist(), group["value"].tolist(), strict=True))
        update: Document = {"$inc": {"events": events} | added}
        update |= {"$min": {"first_seen": first}, "$max": {"last_seen": last}}
        if user in liked:
            update["$addToSet"] = {"liked": {"$each": liked[user]}}
        yield UpdateOne({"_id": user}, update, upsert=True)


def block_keys() -> list[str]:
    """Return the keys of the day's blocks."""
    return [block.key for block in blocks_of_partition(ASSET, store(), DAY)]


def block_by_block(profiles: Collection[Document]) -> None:
    """Upsert after each block: memory stays small, and a user is written once a block."""
    bucket = store()
    for key in block_keys():
        upsert(read_counts(bucket.get(key)), profiles)


def merged(profiles: Collection[Document]) -> None:
    """Merge the counts of all blocks in memory, then upsert each user once."""
    bucket = store()
    upsert(merge_counts([read_counts(bucket.get(key)) for key in block_keys()]), profiles)


def pool(profiles: Collection[Document]) -> None:
    """Read blocks in a process a core, merge here, and upsert parts of the users in the same."""
    with ProcessPoolExecutor(CORES, get_context("spawn")) as processes:
        amounts, seen, likes = merge_counts(list(processes.map(_counts_of_key, block_keys())))
        groups = [
            pd.util.hash_array(part["user"].to_numpy(object)) for part in (amounts, seen, likes)
        ]

        parts = []
        for number in range(CORES):
            mine = [group % CORES == number for group in groups]
            parts.append((amounts[mine[0]], seen[mine[1]], likes[mine[2]]))
        list(processes.map(_upsert_in, parts, [profiles.name] * len(parts)))


def _counts_of_key(key: str) -> Counts:
    return read_counts(store().get(key))


def _upsert_in(counts: Counts, collection: str) -> None:
    with database() as opened:
        upsert(counts, opened[collection])


SCRIPTS: dict[str, Callable[[Collection[Document]], None]] = {
    "script": block_by_block,
    "merged_script": merged,
    "pool": pool,
}


def run(script: str) -> Answer:
    """Run one of the scripts; return the seconds that it took."""
    with database() as opened:
        started = time.monotonic()
        SCRIPTS[script](opened[ASSET.name])
        return {"seconds": time.monotonic() - started}
