"""The same job as plain scripts that people write with pandas: three ways to group and upsert.

All leave what readers see of Fanfold's profiles, to the bit. They count twice what they read
twice, and leave out what an item that is damaged would need.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

import pandas as pd
from pymongo import ReplaceOne, UpdateOne
from pymongo.collection import Collection

from benchmarks.counts import (
    NOTHING_RECEIVED,
    Counts,
    as_time,
    documents,
    maps_by_user,
    merge_counts,
    read_counts,
    weeks_by_user,
)
from benchmarks.process import Answer
from benchmarks.surroundings import ASSET, CORES, DAY, database, store
from workers.sources.objects import blocks_of_partition
from workers.tasks.user_profiles import MAX_PREFERENCES
from workers.values import Document

WRITES_PER_CALL = 1_000
OPINIONS = "_opinions"  # by item, when it was last liked or disliked and which of both


def upsert(counts: Counts, profiles: Collection[Document]) -> None:
    """Write each user's document, whether it is there or not."""
    write_all(
        profiles,
        (ReplaceOne({"_id": each["_id"]}, each, upsert=True) for each in documents(counts)),
    )


def write_all(
    profiles: Collection[Document], writes: Iterator[ReplaceOne[Document] | UpdateOne]
) -> None:
    """Write a thousand at a time."""
    while chunk := list(islice(writes, WRITES_PER_CALL)):
        profiles.bulk_write(chunk, ordered=False)


# Block by block: documents that are there already are added to


def add(counts: Counts, profiles: Collection[Document]) -> None:
    """Add a block's counts to each user's document."""
    write_all(profiles, additions(counts))


def additions(counts: Counts) -> Iterator[UpdateOne]:
    """Yield what a block adds to each user's document.

    Blocks are of the whole day each, so that a later one may hold an earlier opinion: the time is
    kept beside it, and `$max` takes the later of two such pairs.
    """
    keyed = {
        "actions": maps_by_user(counts.actions),
        "topics": maps_by_user(counts.topics),
        "weeks": weeks_by_user(counts.weeks),
    }
    opinions: defaultdict[str, Document] = defaultdict(dict)
    for user, item, ts, is_like in counts.opinions.itertuples(index=False):
        opinions[user][f"{OPINIONS}.{item}"] = [ts, is_like]

    for user, events, first, last in counts.seen.itertuples(index=False):
        amounts = {"events": events}
        for field, maps in keyed.items():
            amounts |= {f"{field}.{key}": value for key, value in maps[user].items()}
        update = {
            "$inc": amounts,
            "$min": {"first_seen": as_time(first)},
            "$max": {"last_seen": as_time(last)} | opinions[user],
            "$setOnInsert": NOTHING_RECEIVED,
        }
        yield UpdateOne({"_id": user}, update, upsert=True)


def pairs(field: str) -> Document:
    """Return the expression that makes a list of `k` and `v` of a map, which may be missing."""
    return {"$objectToArray": {"$ifNull": [f"${field}", {}]}}


def kept(expression: Document, condition: Document, shown: object) -> Document:
    """Return the expression that shows those of a list which meet a condition."""
    filtered = {"$filter": {"input": expression, "as": "each", "cond": condition}}
    return {"$map": {"input": filtered, "as": "each", "in": shown}}


# The last pass, by MongoDB itself: items whose last opinion is a like, and ranked topics.
LIKED = {"$eq": [{"$arrayElemAt": ["$$each.v", 1]}, True]}
RANKED = {
    "$sortArray": {
        "input": kept(
            pairs("topics"),
            {"$gt": ["$$each.v", 0]},
            {"topic": "$$each.k", "weight": "$$each.v"},
        ),
        "sortBy": {"weight": -1, "topic": 1},
    }
}
SHARE = {"$divide": ["$$each.weight", {"$sum": "$preferences.weight"}]}
LAST_PASS: list[Document] = [
    {
        "$set": {
            "liked": {
                "$sortArray": {"input": kept(pairs(OPINIONS), LIKED, "$$each.k"), "sortBy": 1}
            },
            "preferences": {"$slice": [RANKED, MAX_PREFERENCES]},
        }
    },
    {
        "$set": {
            "preferences": {
                "$map": {
                    "input": "$preferences",
                    "as": "each",
                    "in": {"topic": "$$each.topic", "weight": SHARE},
                }
            }
        }
    },
]


# The three


def block_keys() -> list[str]:
    """Return the keys of the day's blocks."""
    return [block.key for block in blocks_of_partition(ASSET, store(), DAY)]


def block_by_block(profiles: Collection[Document]) -> None:
    """Upsert after each block: memory stays small, and a user is written once a block."""
    bucket = store()
    for key in block_keys():
        add(read_counts(bucket.get(key)), profiles)
    profiles.update_many({}, LAST_PASS)


def merged(profiles: Collection[Document]) -> None:
    """Merge the counts of all blocks in memory, then upsert each user once."""
    bucket = store()
    upsert(merge_counts([read_counts(bucket.get(key)) for key in block_keys()]), profiles)


def pool(profiles: Collection[Document]) -> None:
    """Read blocks in a process a core, merge here, and upsert parts of the users in the same."""
    with ProcessPoolExecutor(CORES, get_context("spawn")) as processes:
        counts = merge_counts(list(processes.map(_counts_of_key, block_keys())))
        parts = [_part_of_users(counts, number) for number in range(CORES)]
        list(processes.map(_upsert_in, parts, [profiles.name] * len(parts)))


def _part_of_users(counts: Counts, number: int) -> Counts:
    """Return the counts of every user whose hash has this remainder."""
    return Counts(
        *(
            rows[pd.util.hash_array(rows["user"].to_numpy(object)) % CORES == number]
            for rows in counts
        )
    )


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
