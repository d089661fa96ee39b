"""What chaos has done and seen so far, and the report of it."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.support.known_blocks import CHANGES, COPIED, KnownBlocks

# What an item of a new block does to whoever tries it.
OF_ITEMS = {"item that kills": "kill", "item that hangs": "hang"}
KINDS = {
    "local": ("worker", "run", "mongod", "s3", *OF_ITEMS),
    "celery": ("worker", "child", "broker", "emptied broker", "run", "mongod", "s3", *OF_ITEMS),
}
OUTCOMES = ("succeeded", "failed", "killed")

console = Console(highlight=False, soft_wrap=True)


@dataclass
class Record:
    """Counts of what was killed and of what came of it; the problems, which are to be none."""

    kills: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    # What runs that failed gave as their errors, without what differs from case to case.
    errors: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    lost: int = 0
    twice: int = 0
    # From a run's first op to its end, when nobody disturbs it.
    run_seconds: float = 5.0
    started: float = field(default_factory=time.monotonic)

    @property
    def is_clean(self) -> bool:
        return not (self.problems or self.lost or self.twice)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def log(self, text: str) -> None:
        """Print a line with the time and the number of kills before it."""
        console.print(f"{self.seconds:5.0f} s  {self.kills.total():3} kills  {text}", markup=False)

    def add_problem(self, problem: str) -> None:
        """Take a problem down: a single one fails the program."""
        self.problems.append(problem)
        self.log(f"problem: {problem}")


def print_report(record: Record, known: KnownBlocks) -> None:
    """Print what was done and what came of it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in _report_rows(record, known):
        table.add_row(name, f"{value:,}" if isinstance(value, int) else value)

    console.print()
    console.print(table)

    if record.errors:
        console.print("\nwhat runs that failed said, N for numbers and names:")
        for error, times in record.errors.most_common():
            console.print(f"{times:5} x {error}", markup=False)


def _report_rows(record: Record, known: KnownBlocks) -> list[tuple[str, Any]]:
    """Return the names and values of the report, from the kills to the seconds."""
    kills = record.kills.total()
    counts = record.counts
    by_day = [known.counts(day) for day in known.days]
    used, dead = (sum(numbers) for numbers in zip(*by_day, strict=True))

    return [
        ("kills", kills),
        *((f"  {kind}", number) for kind, number in sorted(record.kills.items())),
        ("workers frozen, woken after their run", counts["zombies"]),
        ("runs started", counts["runs started"]),
        *((f"  {outcome}", counts[f"runs {outcome}"]) for outcome in OUTCOMES),
        *((f"blocks {change}", counts[f"blocks {change}"]) for change in (*CHANGES, COPIED)),
        ("checks", counts["checks"]),
        ("foreign writes", counts["foreign writes"]),
        ("items", used + dead),
        ("dead letters", dead),
        ("lost", record.lost),
        ("twice", record.twice),
        ("problems", len(record.problems)),
        ("seconds", round(record.seconds)),
        ("seconds a kill", f"{record.seconds / max(kills, 1):.1f}"),
    ]
