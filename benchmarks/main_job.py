"""The whole job beside two straightforward scripts, on one machine, one after the other.

    python -m benchmarks.main_job [--events 5000000] [--blocks 10]

All read the same blocks from S3 and leave profiles in MongoDB. The scripts count twice what they
read twice; Fanfold does not, and keeps what it needs for that in each profile. Ratios are what to
look at: the seconds are those of a machine that does other things too.
"""

import argparse
import io
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping

import dagster as dg
import pandas as pd
from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from rich.console import Console
from rich.table import Table

from benchmarks.events import event_blocks
from pipelines.runs import materialise
from pipelines.summaries import Summary, failures
from resources.embedded import running_settings
from workers.ledger.mongo import open_database
from workers.sources.objects import blocks_of_partition
from workers.store import BlockStore, open_store
from workers.tasks import user_profiles
from workers.tasks.user_profiles import TOPIC_WEIGHTS
from workers.values import Document

ASSET = user_profiles.asset
DAY = "1998-06-01"
NAME = "fanfold-benchmark"
SEED = 1
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


def block_by_block(store: BlockStore, profiles: Collection[Document]) -> None:
    """Upsert after each block: memory stays small, and a user is written once a block."""
    for block in blocks_of_partition(ASSET, store, DAY):
        upsert(read_counts(store.get(block.key)), profiles)


def all_at_once(store: BlockStore, profiles: Collection[Document]) -> None:
    """Merge the counts of all blocks in memory, then upsert each user once."""
    blocks = blocks_of_partition(ASSET, store, DAY)
    counts = [read_counts(store.get(block.key)) for block in blocks]
    amounts, seen, likes = (pd.concat(parts) for parts in zip(*counts, strict=True))

    amounts = amounts.groupby(["user", "key"], as_index=False)["value"].sum()
    merged = {"events": "sum", "first": "min", "last": "max"}
    seen = seen.groupby("user", as_index=False).agg(merged)
    upsert((amounts, seen, likes), profiles)


SCRIPTS = (block_by_block, all_at_once)


def op_seconds(run_id: str) -> Mapping[str, float]:
    """Return the seconds that each kind of op took, added up over its workers."""
    seconds: Counter[str] = Counter()
    with dg.DagsterInstance.get() as instance:
        for step in instance.get_run_step_stats(run_id):
            name = step.step_key.split(".")[-1].split("[")[0]
            seconds[name] += (step.end_time or 0) - (step.start_time or 0)
    return seconds


def count_profiles(profiles: Collection[Document]) -> tuple[int, int]:
    """Return how many profiles there are, and the events they count."""
    sums = list(profiles.aggregate([{"$group": {"_id": None, "events": {"$sum": "$events"}}}]))
    return profiles.count_documents({}), sums[0]["events"] if sums else 0


def main() -> None:
    """Measure both and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--blocks", type=int, default=10)
    arguments = parser.parse_args()

    os.environ |= {"FANFOLD_DATABASE": "fanfold_benchmark", "FANFOLD_BUCKET": NAME}
    settings = running_settings()
    store = open_store(settings)
    store.ensure()

    database = open_database(settings)
    with database.client:
        _empty(store, database)  # what a killed measurement left would be counted too
        try:
            _measure(store, database, arguments.events, arguments.blocks)
        finally:
            _empty(store, database)


def _measure(store: BlockStore, database: Database[Document], events: int, count: int) -> None:
    out = Console()
    size = _put_blocks(store, events, count)
    out.print(f"{events:,} events, {size / 1e6:,.0f} MB in {count} blocks")

    seconds: dict[str, float] = {}
    for script in SCRIPTS:
        started = time.monotonic()
        script(store, database[script.__name__])
        seconds[script.__name__] = time.monotonic() - started

    summary = materialise(ASSET, [DAY])
    if not summary["success"]:
        raise SystemExit("\n".join(failures(summary)))
    seconds[ASSET.name] = summary["seconds"]

    profiles = _agreed_profiles(database, list(seconds), events)
    out.print(_to_table(seconds))
    out.print(f"all agree: {profiles:,} profiles, {events:,} events counted")
    _print_ops(out, summary)


def _put_blocks(store: BlockStore, events: int, count: int) -> int:
    """Put the events into S3; return their bytes."""
    size = 0
    for name, body in event_blocks(events, count, SEED, DAY):
        store.put(f"{ASSET.prefixes(DAY)[0]}{name}", body)
        size += len(body)
    return size


def _agreed_profiles(database: Database[Document], names: list[str], events: int) -> int:
    """Return how many profiles there are, by all three; whoever counted otherwise ends it."""
    counts = {name: count_profiles(database[name]) for name in names}
    profiles, _ = counts[ASSET.name]
    if set(counts.values()) != {(profiles, events)}:
        raise SystemExit(f"profiles and events counted differ: {counts}")
    return profiles


def _to_table(seconds: Mapping[str, float]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "seconds", "Fanfold / this"):
        table.add_column(column, justify="right" if column else "left")

    for name, took in seconds.items():
        label = "Fanfold, whole run" if name == ASSET.name else f"script, {name}".replace("_", " ")
        table.add_row(label, f"{took:.1f}", f"{seconds[ASSET.name] / took:.2f}")
    return table


def _print_ops(out: Console, summary: Summary) -> None:
    out.print("by op, seconds over all its workers:")
    for name, took in op_seconds(summary["run_id"]).items():
        out.print(f"  {name:16} {took:6.1f}")


def _empty(store: BlockStore, database: Database[Document]) -> None:
    database.client.drop_database(database)
    for block in store.list(""):
        store.client.delete_object(Bucket=store.bucket, Key=block.key)


if __name__ == "__main__":
    main()
