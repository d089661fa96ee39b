"""Part `small`: a partition with little in it, and many that have hardly anything."""

import os
from typing import Any

import dagster as dg

from benchmarks.fanfold import checked
from benchmarks.process import Answer, measure
from benchmarks.scale import Scale, say
from benchmarks.surroundings import ASSET, empty, put_events
from pipelines.runs import materialise, materialise_all

EVENTS = 1_000  # of the small partition
DAY_EVENTS = 12  # of each day of the backfill
FIRST_DAY = "1998-01-01"
WARM_RUNS = 4  # of as many days, in one process; the first only warms up


def measure_part(scale: Scale) -> Answer:
    """Run small partitions by both executors, and a backfill of many days."""
    parts: dict[str, Any] = {}
    for executor in ("local", "in_process"):
        empty()
        for day in days(WARM_RUNS):
            put_events(EVENTS, 1, day)
        run = measure("benchmarks.small:run", executor=executor)
        parts[executor] = run.answer["runs"]
        say(f"  {EVENTS:,} events, {executor}: {parts[executor]}")

    empty()
    for day in days(scale.days):
        put_events(DAY_EVENTS, 1, day)
    backfill = measure("benchmarks.small:run_backfill", count=scale.days).to_json()
    backfill["seconds_a_partition"] = backfill["seconds"] / scale.days
    say(f"  {scale.days:,} days of {DAY_EVENTS} events: {backfill['seconds']:.1f} s")
    empty()
    return parts | {"backfill": backfill | {"days": scale.days}}


def days(count: int) -> list[str]:
    """Return adjacent days."""
    return ASSET.partitions.between(FIRST_DAY, ASSET.partitions.shift(FIRST_DAY, count - 1))


def run(executor: str) -> Answer:
    """Materialise one day after the other; return what each but the first took."""
    os.environ["FANFOLD_EXECUTOR"] = executor
    runs = []
    for day in days(WARM_RUNS):
        summary = checked(materialise(ASSET, [day]))
        publish_seconds = seconds_to_publish(summary["run_id"])
        runs.append({"seconds": summary["seconds"], "publish_seconds": publish_seconds})
    return {"runs": runs[1:]}


def seconds_to_publish(run_id: str) -> float:
    """Return the seconds from the start of a run to the end of its publishing step."""
    with dg.DagsterInstance.get() as instance:
        record = instance.get_run_record_by_id(run_id)
        ends = [
            step.end_time
            for step in instance.get_run_step_stats(run_id)
            if step.step_key.split(".")[-1] == "publish"
        ]
    assert record
    return (ends[0] or 0) - (record.start_time or 0)


def run_backfill(count: int) -> Answer:
    """Materialise many days, in as many runs as that takes; return the seconds of all."""
    summaries = [checked(summary) for summary in materialise_all(ASSET, days(count))]
    return {"seconds": sum(summary["seconds"] for summary in summaries), "runs": len(summaries)}
