"""What is usual of a partition: its numbers held against those of partitions like it.

Like a day are the same weekdays around it; like an hour the same hours of working days, or of
weekends. All is compared on a log scale, where a half is as far away as the double, and in spreads:
how far partitions of the last weeks lay from those like them. What varies much has to differ much.
A new level is told for a few partitions, and is usual then. How often this is a false alarm, and
what it finds, `python -m tests.proofs.usual` shows.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from statistics import median
from typing import NamedTuple

import numpy as np

from workers.declare.asset import Partitions
from workers.ledger.measures import MEASURES, Measure, Numbers
from workers.values import Value

# How long before and after a partition others lie that it is held against; the nearest of those
# like it count.
WINDOW = {"day": timedelta(weeks=8), "hour": timedelta(weeks=4)}
MAX_ALIKE = {"day": 8, "hour": 20}
MIN_ALIKE = 4  # with fewer that are like a partition, more are taken to be so
MIN_HISTORY = 10  # partitions, below which nothing is said
RECENT = 5  # partitions before one, which say what has become usual
# Spreads from what is usual at which a number is told: less of something is more often trouble.
FAR_LESS, FAR_MORE = 3.05, 3.4
FAR_AT_FIRST = 10.0  # what comes to it, divided by the partitions that the spread is known from
CLIPPED = 3.0  # spreads beyond which a partition does not say what is usual
OF_NORMAL = 1.4826  # makes a median of distances a standard deviation
DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
SATURDAY = 5


class Unusual(Value, frozen=True, kw_only=True):
    """A number of a partition that differs from what is usual."""

    partition: str
    measure: str
    value: float
    # The least and the most that those like it have, and who they are.
    low: float
    high: float
    alike: str
    # How far it lies from them, on a scale of logarithms.
    distance: float

    def __str__(self) -> str:
        write = MEASURES[self.measure].write
        return f"{write(self.value)}, where {self.alike} have {self._usual(write)}"

    def _usual(self, write: Callable[[float], str]) -> str:
        low, high = (write(each).removesuffix(f" {self.measure}") for each in (self.low, self.high))
        return low if low == high else f"{low} to {high}"


class History:
    """The partitions of an asset that were folded, as far as their numbers can be compared."""

    def __init__(self, partitions: Partitions, numbers: Iterable[Numbers]) -> None:
        self.partitions = partitions
        self.numbers = [each for each in numbers if each.is_over]
        self.numbers.sort(key=lambda each: partitions.time(each.partition))
        self._series = {name: Series(self, measure) for name, measure in MEASURES.items()}

    def unusual(self, partition: str) -> list[Unusual]:
        """Return what is unusual of a partition; nothing where there is too little to tell."""
        told = (series.unusual(partition) for series in self._series.values())
        return [each for each in told if each]

    def compares(self, partition: str) -> bool:
        """Tell whether there is enough to say what is usual of a partition."""
        return self._series["items"].compares(partition)


class Position(NamedTuple):
    """Where a partition lies on the scale of a measure, and from what is usual."""

    center: float
    distance: float
    alike: list[int]
    name: str


class Series:
    """One number of all partitions that have it, in the order of their times."""

    def __init__(self, history: History, measure: Measure) -> None:
        self.history = history
        self.measure = measure
        self.every = history.partitions.every
        self.window = WINDOW[self.every]
        self._known: dict[int, Position | None] = {}

    @cached_property
    def numbers(self) -> list[Numbers]:
        return [each for each in self.history.numbers if self.measure.value(each) is not None]

    @cached_property
    def times(self) -> list[datetime]:
        return [self.history.partitions.time(each.partition) for each in self.numbers]

    @cached_property
    def values(self) -> list[float]:
        return [self.measure.value(each) or 0.0 for each in self.numbers]

    @cached_property
    def logs(self) -> list[float]:
        return [math.log(value + self.measure.offset) for value in self.values]

    @cached_property
    def index(self) -> dict[str, int]:
        return {each.partition: index for index, each in enumerate(self.numbers)}

    @cached_property
    def groups(self) -> dict[str, list[int]]:
        """The partitions that are like each other, by what they are called."""
        groups: dict[str, list[int]] = {}
        for index, time in enumerate(self.times):
            for name in names_alike(self.every, time):
                groups.setdefault(name, []).append(index)
        return groups

    def compares(self, partition: str) -> bool:
        """Tell whether enough is known to say what is usual."""
        index = self.index.get(partition)
        return index is not None and len(self._distances_around(index)) >= MIN_HISTORY

    def unusual(self, partition: str) -> Unusual | None:
        """Return how a partition differs from what is usual; None where it does not."""
        index = self.index.get(partition)
        if index is None or (position := self._position(index)) is None:
            return None
        if position.distance < 0 and not self.measure.tells_less:
            return None
        distances = self._distances_around(index)
        if len(distances) < MIN_HISTORY:
            return None

        spreads = FAR_LESS if position.distance < 0 else FAR_MORE
        spreads += FAR_AT_FIRST / len(distances)
        far = spreads * self._spread(distances, position.alike)
        from_recent = position.distance - self._recent_distance(index)
        sign = math.copysign(1, position.distance)
        if min(sign * position.distance, sign * from_recent) <= far:
            return None

        usual = [self.values[i] for i in position.alike if self._is_near(i, position, far)]
        usual = usual or [math.exp(position.center) - self.measure.offset]
        return Unusual(
            partition=partition,
            measure=self.measure.name,
            value=self.values[index],
            low=min(usual),
            high=max(usual),
            alike=position.name,
            distance=abs(position.distance),
        )

    def _is_near(self, index: int, position: Position, far: float) -> bool:
        return abs(self.logs[index] - position.center) <= far

    def _spread(self, distances: np.ndarray, alike: Sequence[int]) -> float:
        """Return how far partitions lie from those like them, but for the few that lie far off."""
        clip = CLIPPED * OF_NORMAL * float(np.median(np.abs(distances)))
        near = distances[np.abs(distances) <= clip]
        seen = float(np.sqrt(np.mean(near**2)))

        counted = [self.measure.counted(self.numbers[index]) for index in alike]
        known = [count for count in counted if count is not None]
        by_chance = 1 / math.sqrt(1 + median(known)) if known else 0.0
        return max(seen, by_chance, self.measure.spread)

    def _recent_distance(self, index: int) -> float:
        """Return how far the partitions before one lie from what is usual, by now."""
        positions = map(self._position, range(max(index - RECENT, 0), index))
        distances = [position.distance for position in positions if position]
        return median(distances) if distances else 0.0

    def _distances_around(self, index: int) -> np.ndarray:
        """Return how far the other partitions around lie from those like them."""
        time = self.times[index]
        first = bisect_left(self.times, time - self.window)
        last = bisect_right(self.times, time + self.window)
        positions = (self._position(i) for i in range(first, last) if i != index)
        return np.array([position.distance for position in positions if position])

    def _position(self, index: int) -> Position | None:
        if index not in self._known:
            self._known[index] = self._compared(index)
        return self._known[index]

    def _compared(self, index: int) -> Position | None:
        """Hold a partition against those like it; None where there are too few."""
        for name in names_alike(self.every, self.times[index]):
            alike = self._nearest(index, self.groups[name])
            if len(alike) >= MIN_ALIKE:
                center = median(self.logs[i] for i in alike)
                return Position(center, self.logs[index] - center, alike, name)
        return None

    def _nearest(self, index: int, group: Sequence[int]) -> list[int]:
        """Return the nearest of a group in time, without the partition itself."""
        most = MAX_ALIKE[self.every]
        here = bisect_left(group, index)
        near = [i for i in group[max(here - most, 0) : here + most + 1] if i != index]
        time = self.times[index]
        near = [i for i in near if abs(self.times[i] - time) <= self.window]
        return sorted(near, key=lambda i: abs(self.times[i] - time))[:most]


def names_alike(every: str, time: datetime) -> tuple[str, ...]:
    """Return what partitions like one are called, the most like it first."""
    if every == "day":
        return (DAYS[time.weekday()], "the days around it")
    kind = "weekends" if time.weekday() >= SATURDAY else "working days"
    return (f"{time:%H:%M} on {kind}", f"{time:%H:%M} on other days", "the hours around it")
