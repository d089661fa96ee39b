"""The whole job beside the straightforward script, on one machine, one after the other.

    python -m benchmarks.main_job [--events 5000000] [--blocks 10]

Both read the same blocks from S3 and leave profiles in MongoDB. Ratios are what to look at: the
seconds are those of a machine that does other things too.
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

from benchmarks.events import blocks as made
from pipelines import runs
from pipelines.assets import USER_PROFILES as ASSET
from resources import embedded
from workers import blocks, ledger
from workers.blocks import BlockStore
from workers.ledger import Document
from workers.tasks.user_profiles import WEIGHTS

DAY, NAME = "1998-06-01", "fanfold-benchmark"


def straightforward(store: BlockStore, profiles: Collection[Document]) -> None:
    """Read each block, aggregate it, and upsert user by user: what people write first."""
    for block in store.of_partition(ASSET, DAY):
        body = io.BytesIO(store.get(block.key))
        events = pd.read_json(body, lines=True, engine="pyarrow")
        events["weight"] = events["action"].map(WEIGHTS)
        topics = events[["user", "topics", "weight"]].explode("topics")
        counts = pd.concat(
            [
                events.assign(key="actions." + events["action"], value=1),
                topics.assign(key="topics." + topics["topics"], value=topics["weight"]),
            ]
        )
        counts = counts.groupby(["user", "key"], as_index=False)["value"].sum()
        seen = events.groupby("user")["ts"].agg(["size", "min", "max"])
        liked = events[events["action"] == "like"].groupby("user")["item"].agg(list).to_dict()
        writes: list[UpdateOne] = []
        for user, group in counts.groupby("user"):
            size, first, last = (int(value) for value in seen.loc[user])
            update: Document = {
                "$inc": {"events": size}
                | dict(zip(group["key"].tolist(), group["value"].tolist(), strict=True)),
                "$min": {"first_seen": first},
                "$max": {"last_seen": last},
            }
            if user in liked:
                update["$addToSet"] = {"liked": {"$each": liked[user]}}
            writes.append(UpdateOne({"_id": user}, update, upsert=True))
            if len(writes) == 1_000:
                profiles.bulk_write(writes, ordered=False)
                writes = []
        if writes:
            profiles.bulk_write(writes, ordered=False)


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
    settings = embedded.settings()
    store = blocks.connect(settings)
    store.ensure()
    with ledger.connect(settings).client as client:
        database = client[settings.database]
        try:
            _measure(store, database, asked.events, asked.blocks)
        finally:
            client.drop_database(database)
            for block in store.list(""):
                store.client.delete_object(Bucket=store.bucket, Key=block.key)


def _measure(store: BlockStore, database: Any, events: int, count: int) -> None:
    out = Console()
    database.client.drop_database(database)
    size = 0
    for name, body in made(events, count, 1, DAY):
        store.put(f"{ASSET.prefixes(DAY)[0]}{name}", body)
        size += len(body)
    out.print(f"{events:,} events, {size / 1e6:,.0f} MB in {count} blocks")
    started = time.monotonic()
    straightforward(store, database["straightforward"])
    theirs = time.monotonic() - started
    ours = runs.materialise(ASSET, [DAY])
    if not ours["success"]:
        raise SystemExit("\n".join(ours["errors"]))
    table = Table(box=None, pad_edge=False)
    for column in ("", "seconds", "profiles", "events counted"):
        table.add_column(column, justify="left" if not column else "right")
    for name, took, profiles in (
        ("straightforward script", theirs, database["straightforward"]),
        ("Fanfold, whole run", ours["seconds"], database[ASSET.name]),
    ):
        table.add_row(name, f"{took:.1f}", *(f"{n:,}" for n in total(profiles)))
    out.print(table)
    out.print(f"ratio Fanfold / script: {ours['seconds'] / theirs:.2f}")
    out.print("by op, seconds over all its workers:")
    for name, took in by_op(ours["run_id"]).items():
        out.print(f"  {name:16} {took:6.1f}")


if __name__ == "__main__":
    main()
