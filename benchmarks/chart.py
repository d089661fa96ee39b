"""The chart of docs/benchmarks.md: seconds per million events of the whole job, a panel a size."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.figures import OWN, seconds_of

LABELS = {
    "fanfold": "Fanfold",
    "fanfold_warm": "Fanfold, warm",
    "native": "Polars, insert_many",
    "merged_script": "pandas, merged first",
    "pool": "pandas, process pool",
    "script": "pandas, block by block",
    "celery_chord": "our functions, Celery",
    "dask_map": "our functions, Dask",
    "prefect_map": "our functions, Prefect",
}
WIDTH = 760
LEFT = 190  # of the bars; before it stand their labels
BAR = 14
ROW = 20
HEAD = 34  # of a panel
TEXT = 'font-family="system-ui, sans-serif" font-size="12" fill="#57606a"'
OWN_COLOUR = "#2f6fde"
OTHER_COLOUR = "#a8b3c4"


def draw(whole_job: Mapping[str, Any]) -> str:
    """Return the chart of the part `whole_job` as SVG, for a light and for a dark page."""
    parts: list[str] = []
    top = 0
    for size, competitors in whole_job["runs"].items():
        millions = int(size) / 1e6
        seconds = {name: seconds_of(runs) / millions for name, runs in competitors.items() if runs}
        title = f"{int(size):,} events: seconds per million"
        parts.append(f'<text x="0" y="{top + 20}" {TEXT} font-weight="600">{title}</text>')
        parts += _panel(seconds, top + HEAD)
        top += HEAD + ROW * len(seconds) + ROW // 2

    body = "\n".join(parts)
    size_of = f'viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size_of}>\n{body}\n</svg>\n'


def _panel(seconds: Mapping[str, float], top: int) -> Sequence[str]:
    """Return a bar with its label and its number for each competitor, the fastest first."""
    longest = max(seconds.values())
    parts = []
    for number, (name, took) in enumerate(sorted(seconds.items(), key=lambda pair: pair[1])):
        y = top + number * ROW
        width = max(took / longest * (WIDTH - LEFT - 60), 1)
        colour = OWN_COLOUR if name in OWN else OTHER_COLOUR
        baseline = y + BAR - 3
        parts.append(
            f'<text x="{LEFT - 8}" y="{baseline}" {TEXT} text-anchor="end">{LABELS[name]}</text>'
            f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'
            f'<text x="{LEFT + width + 6:.1f}" y="{baseline}" {TEXT}>{took:.1f}</text>'
        )
    return parts
