"""What each device measured, by metric, from sensor readings.

Readings under `readings/dt={partition}/` fold into one MongoDB document a device: for each metric
how many values there are and how many are missing, the least, the greatest, the last, mean and
standard deviation. Nothing is sampled and no order matters: sums and sums of squares are exact,
and what is derived from them is rounded once.
"""

from datetime import datetime
from typing import Any

import msgspec
import pandas as pd

from workers.declare import (
    Asset,
    Contributions,
    LatestBy,
    Max,
    MaxBy,
    Min,
    MinBy,
    Number,
    Partitions,
    Sizes,
    SumBy,
    Task,
    Text,
    Time,
    Tolerance,
    root,
    rows,
    squares,
)


class Reading(msgspec.Struct, gc=False):
    """One reading; the value may be missing (null, empty, NA), but it has to be said."""

    device: Text
    metric: Text
    value: Number
    ts: Time


def contributions(readings: pd.DataFrame) -> Contributions:
    """Count values and missing ones, and sum, square and compare those there are."""
    is_missing = readings["value"].isna()
    there = readings[~is_missing]
    device, metric, value, ts = (there[name] for name in ("device", "metric", "value", "ts"))
    by_value = rows(device, value, key=metric)
    return {
        "count": rows(readings["device"], (~is_missing).astype("int64"), key=readings["metric"]),
        "missing": rows(readings["device"], is_missing.astype("int64"), key=readings["metric"]),
        "min": by_value,
        "max": by_value,
        "sum": by_value,
        "squares": pd.concat([rows(device, part, key=metric) for part in squares(value)]),
        "last": rows(device, value, key=metric, at=ts),
        "last_at": rows(device, ts, key=metric),
        "first_seen": rows(readings["device"], readings["ts"]),
        "last_seen": rows(readings["device"], readings["ts"]),
    }


def derive(profile: dict[str, Any]) -> dict[str, Any]:
    """Return mean and standard deviation by metric, from n, sum s and sum of squares q.

    mean = s / n, None without a value; std = sqrt((q - s * s / n) / (n - 1)), the deviation of a
    sample, None for fewer than two. On fractions this formula loses nothing.
    """
    mean: dict[str, float | None] = {}
    std: dict[str, float | None] = {}
    for metric, n in profile["count"].items():
        s, q = profile["sum"].get(metric), profile["squares"].get(metric)
        mean[metric] = float(s / n) if n else None
        std[metric] = root((q - s * s / n) / (n - 1)) if n > 1 else None
    return {"mean": mean, "std": std}


task = Task(
    item=Reading,
    fields={
        "count": SumBy(),
        "missing": SumBy(),
        "min": MinBy(float),
        "max": MaxBy(float),
        "sum": SumBy(float),
        "squares": SumBy(float),
        "last": LatestBy(float),
        "last_at": MaxBy(datetime),
        "first_seen": Min(datetime),
        "last_seen": Max(datetime),
    },
    contributions=contributions,
    derive=derive,
)

asset = Asset(
    name="device_profiles",
    description=__doc__,
    partitions=Partitions(every="day", start="2013-01-01"),
    template="readings/dt={partition}/",
    # Readings are cheap: a batch holds many, so that reading one block is worth a worker.
    sizes=Sizes(min_items=10_000, max_items=250_000, seconds_per_item=0.000_01),
    tolerance=Tolerance(count=20, rate=0.01),
)
