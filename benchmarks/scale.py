"""How much a benchmark measures, and how often: what competes takes turns."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from benchmarks.process import Answer


class Scale(NamedTuple):
    """The sizes of all parts."""

    # Rounds of a part, in which each competitor has one turn.
    rounds: int
    # What has taken longer than this has no further turn.
    patience_seconds: float
    # Mapped steps of no work, and at most so many by Dagster's default executor.
    steps: tuple[int, ...]
    max_default_steps: int
    # Events of the whole job.
    events: tuple[int, ...]
    # Events of the fold's two partitions; profiles that are in every partition of the history.
    fold_events: int
    history_profiles: int
    # Events in gzip blocks, and the bytes of the one large block; 0 leaves it out.
    gzip_events: int
    large_block_bytes: int
    # Events by format.
    format_events: int
    # Events of which a tenth is there twice.
    unique_events: int
    # Partitions of the backfill.
    days: int


FULL = Scale(
    rounds=3,
    patience_seconds=60,
    steps=(10, 50, 200),
    max_default_steps=200,
    events=(100_000, 1_000_000, 5_000_000, 10_000_000),
    fold_events=1_000_000,
    history_profiles=2_000,
    gzip_events=5_000_000,
    large_block_bytes=2 << 30,
    format_events=1_000_000,
    unique_events=5_000_000,
    days=2_000,
)
QUICK = Scale(
    rounds=2,
    patience_seconds=2,
    steps=(10, 50, 200),
    max_default_steps=50,
    events=(100_000, 1_000_000),
    fold_events=200_000,
    history_profiles=300,
    gzip_events=1_000_000,
    large_block_bytes=0,
    format_events=200_000,
    unique_events=200_000,
    days=400,
)
# For tests, and for trying a part out.
TINY = Scale(
    rounds=1,
    patience_seconds=60,
    steps=(2, 50, 200),
    max_default_steps=2,
    events=(2_000,),
    fold_events=2_000,
    history_profiles=5,
    gzip_events=2_000,
    large_block_bytes=0,
    format_events=2_000,
    unique_events=2_000,
    days=3,
)


def take_turns(
    competitors: Mapping[str, Callable[[], Answer]], scale: Scale
) -> dict[str, list[Answer]]:
    """Return what each competitor answered in each round; seconds among it."""
    runs: dict[str, list[Answer]] = {name: [] for name in competitors}
    for _ in range(scale.rounds):
        for name, compete in competitors.items():
            if any(run["seconds"] > scale.patience_seconds for run in runs[name]):
                continue
            run = compete()
            runs[name].append(run)
            say(f"  {name}: {run['seconds']:.2f} s")
    return runs


def say(text: str) -> None:
    """Tell whoever waits what is being done."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
