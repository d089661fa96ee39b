"""What each device measured, by metric, from sensor readings.

Readings under `readings/dt={partition}/` fold into one MongoDB document a device: for each metric
how many values there are and how many are missing, the least, the greatest, the last, mean and
standard deviation. Nothing is sampled and no order matters: sums and sums of squares are exact,
and what is derived from them is rounded once.
"""

from datetime import datetime

import msgspec
import pandas as pd

from workers.declare import (
    Asset,
    Contributions,
    Document,
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
    device = readings["device"]
    metric = readings["metric"]
    ts = readings["ts"]
    is_missing = readings["value"].isna()

    measured = readings[~is_missing]
    value = measured["value"]
    by_value = rows(measured["device"], value, key=measured["metric"])
    square_parts = [by_value.assign(value=part) for part in squares(value)]

    return {
        "count": rows(device, (~is_missing).astype("int64"), key=metric),
        "missing": rows(device, is_missing.astype("int64"), key=metric),
        "min": by_value,
        "max": by_value,
        "sum": by_value,
        "squares": pd.concat(square_parts),
        "last": rows(measured["device"], value, key=measured["metric"], at=measured["ts"]),
        "last_at": rows(measured["device"], measured["ts"], key=measured["metric"]),
        "first_seen": rows(device, ts),
        "last_seen": rows(device, ts),
    }


def derive(profile: Document) -> Document:
    """Return mean and standard deviation by metric, from n, sum s and sum of squares q.

    mean = s / n, None without a value; std = sqrt((q - s * s / n) / (n - 1)), the deviation of a
    sample, None for fewer than two. On fractions this formula loses nothing.
    """
    mean: dict[str, float | None] = {}
    std: dict[str, float | None] = {}

    for metric, n in profile["count"].items():
        s = profile["sum"].get(metric)
        q = profile["squares"].get(metric)
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
