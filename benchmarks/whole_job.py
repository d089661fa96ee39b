"""Part `whole_job`: from blocks in S3 to profiles in MongoDB, beside scripts and other engines."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.process import Answer, measure
from benchmarks.scale import Scale, say, take_turns
from benchmarks.scripts import SCRIPTS
from benchmarks.surroundings import ASSET, database, empty, forget, put_events

# What each needs of the extra `bench`, and where its `run` is.
OPTIONAL = {
    "native": ("polars", "benchmarks.native"),
    "celery_chord": ("celery", "benchmarks.peers.celery_chord"),
    "dask_map": ("distributed", "benchmarks.peers.dask_map"),
    "prefect_map": ("prefect", "benchmarks.peers.prefect_map"),
}

Agreed = tuple[int, int]  # profiles, and the events that they count


def measure_part(scale: Scale) -> Answer:
    """Let all that are installed do the job at each size; SystemExit where their counts differ."""
    left_out = [name for name, (package, _) in OPTIONAL.items() if not find_spec(package)]
    if left_out:
        say(f"not installed, so left out: {', '.join(left_out)}")

    runs: dict[str, Any] = {}
    sizes: dict[str, Answer] = {}
    for events in scale.events:
        empty()
        size = put_events(events)
        say(f"whole job: {events:,} events, {size / 1e6:,.0f} MB")

        counts: dict[str, Agreed] = {}
        runs[str(events)] = take_turns(competitors(counts), scale)
        profiles = agreed_profiles(counts, events)
        sizes[str(events)] = {"bytes": size, "profiles": profiles}
    return {"sizes": sizes, "runs": runs, "left_out": left_out}


def competitors(counts: dict[str, Agreed]) -> Mapping[str, Callable[[], Answer]]:
    """Return a turn for each that is installed; each writes down what it counted."""
    turns = {"fanfold": partial(measure, "benchmarks.fanfold:run")}
    for script in SCRIPTS:
        turns[script] = partial(measure, "benchmarks.scripts:run", script=script)
    for name, (package, module) in OPTIONAL.items():
        if find_spec(package):
            turns[name] = partial(measure, f"{module}:run")

    def counted(name: str) -> Answer:
        forget()
        run = turns[name]().to_json()
        counts[name] = count_profiles()
        return run

    return {name: partial(counted, name) for name in turns}


def count_profiles() -> Agreed:
    """Return how many profiles there are, and the events they count."""
    with database() as opened:
        profiles = opened[ASSET.name]
        sums = list(profiles.aggregate([{"$group": {"_id": None, "events": {"$sum": "$events"}}}]))
        return profiles.count_documents({}), sums[0]["events"] if sums else 0


def agreed_profiles(counts: Mapping[str, Agreed], events: int) -> int:
    """Return how many profiles there are by all; whoever counted otherwise ends it."""
    profiles, _ = counts["fanfold"]
    if set(counts.values()) != {(profiles, events)}:
        raise SystemExit(f"profiles and events counted differ: {counts}")
    return profiles
