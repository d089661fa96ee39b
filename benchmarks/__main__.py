"""Measure, and write down: python -m benchmarks [PART...] [--scale quick].

Parts that are not named keep the figures that an earlier call of the same commit left. Ratios are
what to look at: seconds are those of a machine that may do other things too.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import chart, fold, formats, growth, overhead, small, unique, whole_job
from benchmarks.environment import environment
from benchmarks.figures import PROMISED, figures_of
from benchmarks.process import Answer
from benchmarks.scale import FULL, QUICK, TINY, Scale, say
from benchmarks.surroundings import prepared
from workers.settings import home

PARTS: dict[str, Callable[[Scale], Answer]] = {
    "overhead": overhead.measure_part,
    "whole_job": whole_job.measure_part,
    "fold": fold.measure_part,
    "growth": growth.measure_part,
    "formats": formats.measure_part,
    "small": small.measure_part,
    "unique": unique.measure_part,
}
SCALES = {"full": FULL, "quick": QUICK, "tiny": TINY}


def main() -> None:
    """Run the parts that the command line names, or all; write bench.json and bench.svg."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--scale", choices=SCALES, default="full")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the servers go all the same
    folder = home()
    kept = earlier(folder / "bench.json", arguments.scale)
    with prepared():
        for name in arguments.parts or PARTS:
            say(f"part {name}")
            kept[name] = PARTS[name](SCALES[arguments.scale])
            write(folder, arguments.scale, kept)


def earlier(file: Path, scale: str) -> dict[str, Any]:
    """Return the parts that an earlier call left, where it measured the same code at this scale."""
    if not file.exists():
        return {}
    left = json.loads(file.read_text())
    is_same = (left["environment"]["commit"], left["scale"]) == (environment()["commit"], scale)
    return dict(left["parts"]) if is_same else {}


def write(folder: Path, scale: str, parts: dict[str, Any]) -> None:
    """Write what is known by now, and print the figures."""
    figures = figures_of(parts)
    report = {
        **dict.fromkeys(PROMISED),
        **figures,
        "environment": environment(),
        "scale": scale,
        "parts": parts,
    }
    (folder / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    if "whole_job" in parts:
        (folder / "bench.svg").write_text(chart.draw(parts["whole_job"]))
    for name, value in figures.items():
        say(f"  {name:36} {value:10.3f}")


if __name__ == "__main__":
    main()
