"""Part `unique`: what it costs that copies of an item count once, and the memory that it takes.

A tenth of the events is there twice. One process runs the batches one after the other, without
`unique` and with it; then each batch again, which meets its own copies.
"""

import time
from typing import Any

import msgspec

from benchmarks.plain_steps import open_steps
from benchmarks.process import Answer, measure
from benchmarks.scale import Scale, say
from benchmarks.surroundings import ASSET, DAY, empty, put_events, server_cpu_seconds, store

IDENTITY = ("user", "item", "action", "ts")


def measure_part(scale: Scale) -> Answer:
    """Run the same events without and with `unique`."""
    runs: dict[str, Any] = {}
    for name in ("without", "with"):
        empty()
        put_events(scale.unique_events)
        _put_copies()
        before = server_cpu_seconds()
        measured = measure("benchmarks.unique:run", is_unique=name == "with").to_json()
        mongod = server_cpu_seconds()["mongod"] - before["mongod"]
        runs[name] = measured | {"mongod_cpu_seconds": round(mongod, 1)}
        say(f"  {name} unique: {runs[name]}")
    empty()
    return {"events": scale.unique_events, "runs": runs}


def _put_copies() -> None:
    """Put the first block, which has a tenth of the events, under a second key."""
    bucket, folder = store(), ASSET.prefixes(DAY)[0]
    bucket.put(f"{folder}copy.jsonl", bucket.get(f"{folder}0000.jsonl"))


def run(is_unique: bool) -> Answer:
    """Run all batches, bring the day to its end, and run the batches again as others would."""
    asset = msgspec.structs.replace(ASSET, unique=IDENTITY) if is_unique else ASSET
    with open_steps(asset) as steps:
        queued = steps.queue([DAY])
        started = time.monotonic()
        steps.run_batches(queued)
        seconds = time.monotonic() - started
        reconciled = steps.reconcile(queued)
        steps.publish(reconciled, steps.fold(reconciled))

        ledger = steps.ledger
        again = {"state": "planned"}
        ledger.batches.update_many({}, {"$set": again, "$unset": {"outcome": ""}})
        started = time.monotonic()
        steps.run_batches(queued)
        again_seconds = time.monotonic() - started

        (counts,) = reconciled.counts
        answer = {
            "batch_seconds": round(seconds, 2),
            "again_seconds": round(again_seconds, 2),
            "items": counts.items,
            "duplicates": counts.duplicates,
        }
        if is_unique:
            copies = ledger.copies(asset.name).collection
            size = ledger.database.command("collStats", copies.name)
            answer["bytes_an_id"] = round(
                (size["storageSize"] + size["totalIndexSize"]) / size["count"], 1
            )
        return answer
