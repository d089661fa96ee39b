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
from typing import Any

import dagster as dg
import pandas as pd
from pymongo import UpdateOne
from pymongo.collection import Collection
from rich.console import Console
from rich.table import Table

from benchmarks.events import event_blocks
from pipelines.runs import materialise
from resources.embedded import running_settings
from workers.ledger import Document
from workers.ledger.mongo import open_database
from workers.store import BlockStore, open_store
from workers.tasks import user_profiles
from workers.tasks.user_profiles import WEIGHTS

ASSET = user_profiles.asset

DAY, NAME = "1998-06-01", "fanfold-benchmark"


Counts = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def read_counts(body: bytes) -> Counts:
    """Read one block; return amounts by user and key, what was seen of each user, and likes."""
    events = pd.read_json(io.BytesIO(body), lines=True, engine="pyarrow")
    user, weight = events["user"], events["action"].map(WEIGHTS)
    topics = pd.DataFrame({"user": user, "key": events["topics"], "value": weight}).explode("key")
    topics["key"] = "topics." + topics["key"]
    actions = pd.DataFrame({"user": user, "key": "actions." + events["action"], "value": 1})
    amounts = pd.concat([actions, topics]).groupby(["user", "key"], as_index=False)["value"].sum()
    seen = events.groupby("user")["ts"].agg(events="size", first="min", last="max").reset_index()
    return amounts, seen, events.loc[events["action"] == "like", ["user", "item"]]


def upsert(counts: Counts, profiles: Collection[Document]) -> None:
    """Write user by user, a thousand at a time."""
    amounts, seen, likes = counts
    liked = likes.groupby("user")["item"].agg(list).to_dict()
    of_user = {user: numbers for user, *numbers in seen.itertuples(index=False)}
    writes: list[UpdateOne] = []
    for user, group in amounts.groupby("user"):
        events, first, last = of_user[user]
        added = dict(zip(group["key"].tolist(), group["value"].tolist(), strict=True))
        update: Document = {"$inc": {"events": events} | added}
        update |= {"$min": {"first_seen": first}, "$max": {"last_seen": last}}
        if user in liked:
            update["$addToSet"] = {"liked": {"$each": liked[user]}}
        writes.append(UpdateOne({"_id": user}, update, upsert=True))
        if len(writes) == 1_000:
            profiles.bulk_write(writes, ordered=False)
            writes = []
    if writes:
        profiles.bulk_write(writes, ordered=False)


def block_by_block(store: BlockStore, profiles: Collection[Document]) -> None:
    """Upsert after each block: memory stays small, and a user is written once a block."""
    for block in store.of_partition(ASSET, DAY):
        upsert(read_counts(store.get(block.key)), profiles)


def all_at_once(store: BlockStore, profiles: Collection[Document]) -> None:
    """Merge the counts of all blocks in memory, then upsert each user once."""
    found = [read_counts(store.get(block.key)) for block in store.of_partition(ASSET, DAY)]
    amounts, seen, likes = (pd.concat(parts) for parts in zip(*found, strict=True))
    amounts = amounts.groupby(["user", "key"], as_index=False)["value"].sum()
    merged = {"events": "sum", "first": "min", "last": "max"}
    upsert((amounts, seen.groupby("user", as_index=False).agg(merged), likes), profiles)


def by_op(run_id: str) -> dict[str, float]:
    """Return the seconds that each kind of op took, added up over its workers."""
    seconds: dict[str, float] = {}
    with dg.DagsterInstance.get() as instance:
        for step in instance.get_run_step_stats(run_id):
            name = step.step_key.split(".")[-1].split("[")[0]
            took = (step.end_time or 0) - (step.start_time or 0)
            seconds[name] = seconds.get(name, 0) + took
    return seconds


def total(profiles: Collection[Document]) -> tuple[int, int]:
    """Return how many profiles there are, and the events they count."""
    found = list(profiles.aggregate([{"$group": {"_id": None, "n": {"$sum": "$events"}}}]))
    return profiles.count_documents({}), found[0]["n"] if found else 0


def main() -> None:
    """Measure both and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--blocks", type=int, default=10)
    asked = parser.parse_args()
    os.environ |= {"FANFOLD_DATABASE": "fanfold_benchmark", "FANFOLD_BUCKET": NAME}
    settings = running_settings()
    store = open_store(settings)
    store.ensure()
    with open_database(settings).client as client:
        database = client[settings.database]
        try:
            _measure(store, database, asked.events, asked.blocks)
        finally:
            _empty(store, database)


def _measure(store: BlockStore, database: Any, events: int, count: int) -> None:
    out = Console()
    _empty(store, database)  # what a killed measurement left would be counted too
    size = 0
    for name, body in event_blocks(events, count, 1, DAY):
        store.put(f"{ASSET.prefixes(DAY)[0]}{name}", body)
        size += len(body)
    out.print(f"{events:,} events, {size / 1e6:,.0f} MB in {count} blocks")
    took = {}
    for script in SCRIPTS:
        started = time.monotonic()
        script(store, database[script.__name__])
        took[script.__name__] = time.monotonic() - started
    ours = materialise(ASSET, [DAY])
    if not ours["success"]:
        raise SystemExit("\n".join(ours["errors"]))
    took[ASSET.name] = ours["seconds"]
    found = {name: total(database[name]) for name in took}
    if set(found.values()) != {(found[ASSET.name][0], events)}:
        raise SystemExit(f"profiles and events counted differ: {found}")
    table = Table(box=None, pad_edge=False)
    for column in ("", "seconds", "Fanfold / this"):
        table.add_column(column, justify="right" if column else "left")
    for name, seconds in took.items():
        shown = "Fanfold, whole run" if name == ASSET.name else f"script, {name}".replace("_", " ")
        table.add_row(shown, f"{seconds:.1f}", f"{ours['seconds'] / seconds:.2f}")
    out.print(table)
    out.print(f"all agree: {found[ASSET.name][0]:,} profiles, {events:,} events counted")
    out.print("by op, seconds over all its workers:")
    for name, seconds in by_op(ours["run_id"]).items():
        out.print(f"  {name:16} {seconds:6.1f}")


def _empty(store: BlockStore, database: Any) -> None:
    database.client.drop_database(database)
    for block in store.list(""):
        store.client.delete_object(Bucket=store.bucket, Key=block.key)


SCRIPTS = (block_by_block, all_at_once)


if __name__ == "__main__":
    main()
