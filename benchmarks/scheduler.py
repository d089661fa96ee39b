"""The scheduler's part at any size, simulated: shares, take-over, stragglers, deaths of workers.

Batches are dealt by the function that deals them in a run; time is made up, so a thousand workers
take seconds. `python -m benchmarks.scheduler` prints the table of docs/scale.md.
"""

import heapq
import random
import statistics
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import NamedTuple

from workers.planning.packing import share

LOST_SECONDS = 30.0  # until a dead worker is noticed
SPREAD = 0.5  # of the logarithm of batches' seconds
SLOWNESS = 4.0  # how many times as long a straggler takes


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A run, and the machines that it meets."""

    name: str
    batches: int
    batch_seconds: float
    slots: int
    max_workers: int = 500
    # From the moment that a step is handed out until its worker begins.
    start_seconds: float = 0.5
    # What handing out a step, and hearing of its end, takes of the run's own process.
    hand_out_seconds: float = 0.05
    deaths_an_hour: float = 0.0  # of each worker
    stragglers: float = 0.0  # of workers, how many are slow
    takes_over: bool = True
    seed: int = 1


class Outcome(NamedTuple):
    """What became of a run."""

    shares: int
    steps: int  # with those that were started again
    seconds: float
    work_seconds: float  # of all batches, each once and by a worker that is not slow
    repeated_seconds: float
    taken_over: int
    deaths: int

    def part_of_ideal(self, slots: int) -> float:
        """Return the least that so many slots could take, over what they took."""
        return self.work_seconds / slots / self.seconds


@dataclass(eq=False)
class Share:
    """The batches of one step, and what became of them."""

    waiting: deque[int]
    left: int  # that are not done
    has_begun: bool = False
    given_back: list[int] = field(default_factory=list)  # by workers that died with them


@dataclass(eq=False)
class Worker:
    """A process that runs a share; it waits for its own batches that others have."""

    share: Share
    pace: float
    dies_at: float
    is_waiting: bool = False


class Simulation:
    """One run, event by event."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.random = random.Random(setting.seed)
        self.now = self.hands_free_at = 0.0
        self.steps = self.taken_over = self.deaths = 0
        self.repeated_seconds = 0.0
        self.free_slots = setting.slots
        self.events: list[tuple[float, int, str, tuple[object, ...]]] = []
        self.order = count()

        self.seconds = self._draw_batches()
        expected = {str(batch): setting.batch_seconds for batch in range(setting.batches)}
        dealt = share(expected, setting.slots, setting.max_workers)
        self.shares = [Share(deque(map(int, part)), len(part)) for part in dealt]
        self.owners = {batch: each for each in self.shares for batch in each.waiting}
        self.to_start = deque(self.shares)
        self.waiting_for: dict[Share, Worker] = {}

    def _draw_batches(self) -> list[float]:
        mean_of_log = -(SPREAD**2) / 2  # so that the mean is 1
        draws = (
            self.random.lognormvariate(mean_of_log, SPREAD) for _ in range(self.setting.batches)
        )
        return [self.setting.batch_seconds * draw for draw in draws]

    def run(self) -> Outcome:
        """Run until each batch is done."""
        self._hand_out()
        while self.events:
            self.now, _, kind, arguments = heapq.heappop(self.events)
            getattr(self, f"_on_{kind}")(*arguments)
        assert not any(each.left for each in self.shares)
        return Outcome(
            shares=len(self.shares),
            steps=self.steps,
            seconds=self.now,
            work_seconds=sum(self.seconds),
            repeated_seconds=self.repeated_seconds,
            taken_over=self.taken_over,
            deaths=self.deaths,
        )

    def _at(self, when: float, kind: str, *arguments: object) -> None:
        heapq.heappush(self.events, (when, next(self.order), kind, arguments))

    def _hand_out(self) -> None:
        """Start steps in free slots, one after the other as the run's process can."""
        while self.free_slots and self.to_start:
            self.free_slots -= 1
            self.steps += 1
            self.hands_free_at = max(self.now, self.hands_free_at) + self.setting.hand_out_seconds
            begins = self.hands_free_at + self.setting.start_seconds
            self._at(begins, "begin", self.to_start.popleft())

    def _on_begin(self, own: Share) -> None:
        is_slow = self.random.random() < self.setting.stragglers
        rate = self.setting.deaths_an_hour / 3600
        lives = self.random.expovariate(rate) if rate else float("inf")
        own.has_begun = True
        self._go_on(Worker(own, SLOWNESS if is_slow else 1.0, self.now + lives))

    def _go_on(self, worker: Worker) -> None:
        """Give a worker its next batch, or let it wait for its own, or end it."""
        own = worker.share
        if own.given_back:
            self._work(worker, own.given_back.pop())
        elif own.waiting:
            self._work(worker, own.waiting.popleft())
        elif self.setting.takes_over and (longest := self._longest()):
            self.taken_over += 1
            self._work(worker, longest.waiting.pop())
        elif own.left:
            worker.is_waiting = True
            self.waiting_for[own] = worker
        else:
            self.free_slots += 1
            self._hand_out()

    def _longest(self) -> Share | None:
        """Return the share with most batches that nobody has begun; none while one is to start."""
        if any(not each.has_begun for each in self.shares):
            return None
        longest = max(self.shares, key=lambda each: len(each.waiting))
        return longest if longest.waiting else None

    def _work(self, worker: Worker, batch: int) -> None:
        ends = self.now + self.seconds[batch] * worker.pace
        if ends <= worker.dies_at:
            self._at(ends, "done", worker, batch)
        else:
            self._at(max(self.now, worker.dies_at), "death", worker, batch, self.now)

    def _on_done(self, worker: Worker, batch: int) -> None:
        owner = self.owners[batch]
        owner.left -= 1
        if not owner.left:
            self._wake(owner)
        self._go_on(worker)

    def _on_death(self, worker: Worker, batch: int, begun: float) -> None:
        self.deaths += 1
        self.repeated_seconds += self.now - begun
        self._at(self.now + LOST_SECONDS, "notice", worker, batch)

    def _on_notice(self, worker: Worker, batch: int) -> None:
        """Start a dead worker's step once more; its batch is for whoever it was dealt to."""
        owner = self.owners[batch]
        owner.given_back.append(batch)
        self._wake(owner)
        self.free_slots += 1
        self.to_start.appendleft(worker.share)
        self._hand_out()

    def _wake(self, own: Share) -> None:
        """Let a worker go on that waits for its own batches."""
        if worker := self.waiting_for.pop(own, None):
            worker.is_waiting = False
            self._go_on(worker)


TODAY = Setting(name="5 million events, 2 slots", batches=10, batch_seconds=1.05, slots=2)
THOUSAND = Setting(name="5,000 million, 128 slots", batches=10_000, batch_seconds=1.05, slots=128)
PAGES = Setting(name="1 million pages, 128 slots", batches=8_300, batch_seconds=120, slots=128)
SETTINGS = (
    TODAY,
    replace(THOUSAND, name="50 million, 8 slots", batches=100, slots=8),
    replace(THOUSAND, name="500 million, 32 slots", batches=1_000, slots=32),
    THOUSAND,
    replace(THOUSAND, name="5,000 million, 4.5 s to start a worker", start_seconds=4.5),
    replace(THOUSAND, name="5,000 million, 1 worker in 20 is slow", stragglers=0.05),
    replace(
        THOUSAND,
        name="5,000 million, 1 in 20 is slow, no take-over",
        stragglers=0.05,
        takes_over=False,
    ),
    PAGES,
    replace(PAGES, name="1 million pages, a death an hour of each", deaths_an_hour=1.0),
    replace(PAGES, name="1 million pages, six deaths an hour of each", deaths_an_hour=6.0),
    replace(
        PAGES, name="1 million pages, 1,000 slots, 2,000 workers", slots=1_000, max_workers=2_000
    ),
    replace(PAGES, name="1 million pages, 1,000 slots, 500 workers", slots=1_000),
)
COLUMNS = ("a run of", "steps", "seconds", "of ideal", "taken over", "deaths", "work repeated")


def rows(settings: Iterable[Setting] = SETTINGS, seeds: int = 3) -> list[tuple[str, ...]]:
    """Return what the table says of each setting: medians of so many seeds."""
    return [_row(setting, [_run(setting, seed) for seed in range(seeds)]) for setting in settings]


def _run(setting: Setting, seed: int) -> Outcome:
    return Simulation(replace(setting, seed=seed)).run()


def _row(setting: Setting, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    outcome = Outcome(*(statistics.median(values) for values in zip(*outcomes, strict=True)))
    repeated = outcome.repeated_seconds / outcome.work_seconds
    return (
        setting.name,
        f"{outcome.steps:,.0f}",
        f"{outcome.seconds:,.0f}",
        f"{outcome.part_of_ideal(setting.slots):.0%}",
        f"{outcome.taken_over:,.0f}",
        f"{outcome.deaths:,.0f}",
        f"{repeated:.1%}",
    )


def table() -> str:
    """Return the table as docs/scale.md has it."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
