"""From seconds to the figures of bench.json: medians and ratios. Nothing is measured here."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Details = Mapping[str, Any]  # of a part, as it measured them
Figures = dict[str, float]  # by their names in bench.json

# Names that bench.json always has; null where the parts or the sizes that give it were not run.
PROMISED = (
    "overhead_vs_default",
    "whole_job_vs_script",
    "whole_job_vs_merged_script",
    "whole_job_vs_pool",
    "whole_job_vs_best_native",
    "whole_job_vs_peers",
    "fold_vs_raw_new",
    "fold_vs_raw_existing",
    "fold_history_800_vs_1",
    "growth_10m_vs_1m",
    "peak_mb",
    "small_partition_seconds",
)
OWN = ("fanfold", "fanfold_warm")
PEERS = ("celery_chord", "dask_map", "prefect_map")
WHOLE_JOB_EVENTS = 5_000_000  # whose ratios stand for the whole job, or the most there are below


def figures_of(parts: Mapping[str, Details]) -> Figures:
    """Return the figures that the parts give; a part that did not run gives none."""
    figures: Figures = {}
    for name, of_part in OF_PARTS.items():
        if name in parts:
            figures |= of_part(parts[name])
    figures |= of_peaks(parts)
    return {name: round(value, 4) for name, value in figures.items()}


def seconds_of(runs: Sequence[Details]) -> float:
    """Return the median seconds of several runs."""
    return median(run["seconds"] for run in runs)


def of_whole_job(part: Details) -> Figures:
    """Return how many times faster Fanfold is than others, and what more events cost it."""
    seconds = {
        int(size): {name: seconds_of(runs) for name, runs in competitors.items()}
        for size, competitors in part["runs"].items()
    }
    typical = max(size for size in seconds if size <= WHOLE_JOB_EVENTS)
    largest = max(seconds)

    figures = whole_job_ratios(seconds[typical])
    if largest > typical:
        at_largest = whole_job_ratios(seconds[largest])
        figures |= {f"{name}_{largest // 10**6}m": ratio for name, ratio in at_largest.items()}
    if {1_000_000, 10_000_000} <= seconds.keys():
        growth = seconds[10_000_000]["fanfold"] / seconds[1_000_000]["fanfold"]
        figures["growth_10m_vs_1m"] = growth / 10
    return figures


def whole_job_ratios(seconds: Mapping[str, float]) -> Figures:
    """Return the seconds of each competitor over those of Fanfold; of the peers, the fastest.

    Scripts are compared with a whole command, peers that are up with a run whose fork server is.
    """
    own = seconds["fanfold"]
    names = {
        "script": "whole_job_vs_script",
        "merged_script": "whole_job_vs_merged_script",
        "pool": "whole_job_vs_pool",
        "native": "whole_job_vs_best_native",
    }
    ratios = {label: seconds[name] / own for name, label in names.items() if name in seconds}
    peers = {name: seconds[name] for name in PEERS if name in seconds}
    if peers:
        warm = seconds["fanfold_warm"]
        ratios["whole_job_vs_peers"] = min(peers.values()) / warm
        ratios |= {f"whole_job_vs_{name}": took / warm for name, took in peers.items()}
    return ratios


def of_overhead(part: Details) -> Figures:
    """Return what a mapped step of no work costs beside Dagster's default, and with more steps."""
    steps = {
        name: {
            int(size): median(run["step_seconds"] for run in runs) for size, runs in runs_.items()
        }
        for name, runs_ in part["runs"].items()
    }
    own = steps["fanfold"]
    shared = max(own.keys() & steps["default"].keys())
    return {
        "overhead_vs_default": steps["default"][shared] / own[shared],
        "overhead_step_seconds": own[max(own)],
        "overhead_growth_200_vs_50": own[200] / own[50],
    }


def of_fold(part: Details) -> Figures:
    """Return the rate of the fold over that of raw writes, and what history costs it."""
    figures = {}
    for kind in ("new", "existing"):
        raw = median(run["raw_seconds"] for run in part[kind])
        figures[f"fold_vs_raw_{kind}"] = raw / median(run["fold_seconds"] for run in part[kind])

    history = {int(size): median(seconds) for size, seconds in part["history"].items()}
    for size in sorted(history)[1:]:
        figures[f"fold_history_{size}_vs_1"] = history[size] / history[1]
    return figures


def of_formats(part: Details) -> Figures:
    """Return, by format, the seconds of the fastest other reader over ours."""
    figures = {}
    for name, readers in part["runs"].items():
        seconds = {reader: seconds_of(runs) for reader, runs in readers.items()}
        own = seconds.pop("fanfold")
        figures[f"reading_{name}_vs_fastest"] = min(seconds.values()) / own
    return figures


def of_small(part: Details) -> Figures:
    """Return the seconds of a small partition, and of one of many."""
    figures = {}
    for executor, ending in (("local", ""), ("in_process", "_in_process")):
        runs = part[executor]
        start_to_publish = median(run["publish_seconds"] for run in runs)
        figures[f"small_partition_seconds{ending}"] = start_to_publish
        figures[f"small_command_seconds{ending}"] = seconds_of(runs)
    figures["backfill_seconds_a_partition"] = part["backfill"]["seconds_a_partition"]
    return figures


def of_unique(part: Details) -> Figures:
    """Return how much longer batches take where copies of an item count once."""
    seconds = {name: run["batch_seconds"] for name, run in part["runs"].items()}
    own = part["runs"]["with"]
    return {
        "unique_batch_cost": seconds["with"] / seconds["without"],
        "unique_again_cost": own["again_seconds"] / seconds["without"],
        "unique_bytes_an_id": own["bytes_an_id"],
        "unique_peak_mb": own["peak_mb"],
    }


def of_peaks(parts: Mapping[str, Details]) -> Figures:
    """Return the most memory that a process of Fanfold held, over all sizes and forms of blocks."""
    peaks = [
        run["peak_mb"]
        for competitors in parts.get("whole_job", {}).get("runs", {}).values()
        for name in OWN
        for run in competitors.get(name, ())
    ]
    peaks += [run["peak_mb"] for run in parts.get("growth", {}).get("runs", {}).values()]
    return {"peak_mb": max(peaks)} if peaks else {}


OF_PARTS = {
    "overhead": of_overhead,
    "whole_job": of_whole_job,
    "fold": of_fold,
    "formats": of_formats,
    "small": of_small,
    "unique": of_unique,
}
