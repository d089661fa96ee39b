"""How often ordinary partitions are told as unusual, and how often those that lost some are.

By hand: `python -m tests.proofs.usual [--days N] [--seeds N]`. Series have a weekly pattern, hours
also a daily one, a trend, holidays with the volume of a Sunday, and noise. At most one ordinary
partition in 200 may be told, over all measures together.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import numpy as np

from workers.declare.asset import Partitions
from workers.ledger.measures import Numbers
from workers.ledger.moments import MOMENTS
from workers.ledger.usual import WINDOW, History

START = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
WEEK = (1.05, 1.0, 1.0, 1.0, 0.95, 0.75, 0.7)
MAX_FALSE_ALARMS = 1 / 200
KNOWN_DAYS = 28  # before the first one that is tested
HOURLY_SHARE = 10  # of the days of daily series, that hourly ones have
ALTERED = {"tenth": 0.1, "half": 0.5, "double": 2.0}


class Series(NamedTuple):
    """How partitions of a made-up asset vary."""

    name: str
    every: Literal["day", "hour"]
    items: float
    # The standard deviation of the logarithm of their volume, and what comes to it in a month.
    noise: float
    trend: float = 0.03
    # Of a partition; None where a block holds so many items.
    blocks: int | None = 24
    dead_share: float = 0.001
    holidays: int = 10  # a year


SERIES = (
    Series("daily, noise 10 %", "day", 100_000, 0.10),
    Series("daily, noise 15 %, 5 % a month", "day", 20_000, 0.15, trend=0.05),
    Series("daily, noise 20 %", "day", 1_000_000, 0.20, blocks=None),
    Series("daily, 300 items, noise 15 %", "day", 300, 0.15, blocks=1),
    Series("daily, 2 % dead letters", "day", 50_000, 0.15, dead_share=0.02),
    Series("hourly, noise 10 %", "hour", 50_000, 0.10, blocks=12),
    Series("hourly, noise 20 %", "hour", 5_000, 0.20, blocks=None),
)


class Result(NamedTuple):
    """What became of the partitions of a series."""

    tested: int
    # Ordinary ones that were told, and by which measures.
    told: int
    measures: Counter[str]
    # Of those that were altered, and how many there were.
    found: Counter[str]
    altered: int


def try_series(series: Series, days: int, seed: int, altered_each: int = 5) -> Result:
    """Hold each partition against those before it, and some again with another volume."""
    rng = np.random.default_rng(seed)
    numbers = list(simulated(series, days, rng))
    partitions = partitions_of(series)
    window = 2 * WINDOW[series.every].days * per_day(series)

    tested = told = altered = 0
    measures: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for index in range(KNOWN_DAYS * per_day(series), len(numbers)):
        before = numbers[max(index - window, 0) : index]
        here = numbers[index]
        unusual = History(partitions, [*before, here]).unusual(here.partition)
        tested += 1
        told += bool(unusual)
        measures.update(each.measure for each in unusual)

        if index % altered_each:
            continue
        altered += 1
        for name, factor in ALTERED.items():
            other = numbers_of(series, here.partition, int(here.items * factor), rng)
            found[name] += bool(History(partitions, [*before, other]).unusual(here.partition))
    return Result(tested, told, measures, found, altered)


def simulated(series: Series, days: int, rng: np.random.Generator) -> Iterator[Numbers]:
    """Yield the numbers of ordinary partitions."""
    partitions = partitions_of(series)
    count = max(1, round(days * series.holidays / 365))
    holidays = set(rng.choice(days, count, replace=False).tolist())
    for number in range(days * per_day(series)):
        moment = START + number * partitions.step
        day = (moment - START).days
        level = WEEK[6 if day in holidays else moment.weekday()]
        level *= (1 + series.trend) ** (day / 30)
        level *= at_hour(moment.hour) if series.every == "hour" else 1
        items = int(rng.poisson(series.items * level * rng.lognormal(0, series.noise)))
        yield numbers_of(series, partitions.key(moment), items, rng)


def partitions_of(series: Series) -> Partitions:
    """Return the partitions of a series."""
    start = "2024-01-01" if series.every == "day" else "2024-01-01-00:00"
    return Partitions(every=series.every, start=start)


def per_day(series: Series) -> int:
    """Return how many partitions a day has."""
    return 1 if series.every == "day" else 24


def at_hour(hour: float) -> float:
    """Return the volume of an hour of the day, beside that of the fullest."""
    return 0.15 + 0.85 * math.sin(math.pi * ((hour - 4) % 24) / 24) ** 2


def numbers_of(series: Series, partition: str, items: int, rng: np.random.Generator) -> Numbers:
    """Return the numbers of a partition with so many items."""
    blocks = series.blocks or max(1, math.ceil(items * 40 / series.items))
    dead = int(rng.poisson(items * series.dead_share * rng.lognormal(0, 0.5)))
    return Numbers(
        partition=partition,
        is_over=True,
        items=items,
        bytes=int(items * 180 * rng.lognormal(0, 0.02)),
        blocks=blocks,
        dead=min(dead, items),
        profiles=round(items**0.8 * rng.lognormal(0, 0.03)),
        widest_gap=simulated_gap(series, items, rng),
    )


def simulated_gap(series: Series, items: int, rng: np.random.Generator) -> float:
    """Return the widest gap of items that come by chance, at night fewer than by day."""
    volume = np.ones(MOMENTS)
    if series.every == "day":
        volume = np.array([at_hour(moment / 60) for moment in range(MOMENTS)])
    has_items = rng.random(MOMENTS) < 1 - np.exp(-items * volume / volume.sum())
    edges = np.concatenate(([-1], np.flatnonzero(has_items), [MOMENTS]))
    seconds = partitions_of(series).step.total_seconds()
    return float(np.diff(edges).max() - 1) * seconds / MOMENTS


def main(arguments: Sequence[str]) -> int:
    """Print what became of all series; return 1 where too many ordinary partitions were told."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.usual")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args(arguments)

    tested = told = 0
    for series in SERIES:
        hours = per_day(series)
        days = options.days if hours == 1 else max(options.days // HOURLY_SHARE, KNOWN_DAYS + 3)
        seeds = options.seeds if hours == 1 else 1
        results = [try_series(series, days, seed, 5 if hours == 1 else 35) for seed in range(seeds)]
        tested += sum(result.tested for result in results)
        told += sum(result.told for result in results)
        print(line_of(series, results), flush=True)  # noqa: T201  a proof prints

    print(f"all: {told} of {tested:,} ordinary partitions were told, {told / tested:.2%}")  # noqa: T201
    return 0 if told <= MAX_FALSE_ALARMS * tested else 1


def line_of(series: Series, results: Sequence[Result]) -> str:
    """Return what became of a series, in a line."""
    tested = sum(result.tested for result in results)
    told = sum(result.told for result in results)
    altered = sum(result.altered for result in results)
    measures = sum((result.measures for result in results), Counter())
    found = sum((result.found for result in results), Counter())
    shares = ", ".join(f"a {name} {found[name] / altered:.0%}" for name in ALTERED)
    why = f" ({', '.join(f'{name} {count}' for name, count in measures.items())})" if told else ""
    return f"{series.name:32} {told} of {tested:,} told{why}; found: {shares}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
