"""How progress looks: bars in place on a terminal, whole lines elsewhere, nothing for programs."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.cli.console import err
from workers.progress import Figures

MIN_LINE_SECONDS = 10.0  # seconds between two lines of one stage: a tenth of the run's age,
MAX_LINE_SECONDS = 60.0  # within these bounds
BAR_WIDTH = 30  # characters


class View(NamedTuple):
    """What is to be shown of a run at one moment."""

    title: str
    figures: Figures
    # Seconds since it began.
    seconds: float
    # Seconds of work to come, where that can be told.
    remaining: float | None
    # Why the figures are of a while ago, where they are.
    trouble: str


def to_line(view: View) -> str:
    """Return a view as one line of text."""
    now = view.figures
    parts = [f"{view.title}  {now.stage:<10}", f"partitions {now.folded:,}/{now.partitions:,}"]

    if now.is_planned:
        parts.append(f"batches {now.finished:,}/{now.batches:,} ({_batches_note(now)})")
        parts.append(f"items {now.items_done:,}/{now.items:,}")
        parts.append(f"dead letters {now.dead:,}")
        if now.profiles and now.stage == "folding":
            parts.append(f"profiles {now.profiles_folded:,}/{now.profiles:,}")
        if now.duplicates:
            parts.append(f"duplicates {now.duplicates:,}")

    parts.append(_clocks(view))
    if view.trouble:
        parts.append(f"({view.trouble})")
    return "  ".join(parts)


def to_end(view: View, columns: int) -> str:
    """Return how a run ended, as one line; what does not fit is told by its summary."""
    now = view.figures
    short = f"{view.title}  {now.stage}  {_clock(view.seconds)}"
    line = to_line(view)
    return line if len(line) <= columns or view.trouble else short


def to_bars(view: View) -> Group:
    """Return a view as bars for a terminal."""
    now = view.figures
    rows = [("partitions", now.folded, now.partitions, "")]
    if now.is_planned:
        rows.append(("batches", now.finished, now.batches, _batches_note(now)))
        also = f", {now.duplicates:,} duplicates" if now.duplicates else ""
        rows.append(("items", now.items_done, now.items, f"{now.dead:,} dead letters{also}"))
    if now.profiles:
        rows.append(("profiles", now.profiles_folded, now.profiles, "folded"))

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column()
    grid.add_column()
    grid.add_column(justify="right", min_width=15)  # or all would move as numbers grow
    for name, done, total, note in rows:
        bar = ProgressBar(total=max(total, 1), completed=done, width=BAR_WIDTH)
        grid.add_row(f"  {name}", bar, f"{done:,}/{total:,}", note)

    parts = [Text(f"{view.title}  {now.stage}  {_clocks(view)}"), grid]
    if view.trouble:
        parts.append(Text(f"  {view.trouble}", "red"))
    return Group(*parts)


def _batches_note(now: Figures) -> str:
    return f"{now.reused:,} reused" + (f", {now.failed:,} failed" if now.failed else "")


def _clocks(view: View) -> str:
    if view.remaining is None:
        return _clock(view.seconds)
    return f"{_clock(view.seconds)}, about {_clock(view.remaining)} of work left"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


class Display(Protocol):
    """Where progress is shown, of one run after the other."""

    def show(self, view: View) -> None: ...

    def end(self, view: View) -> None: ...


class Lines:
    """Writes whole lines: at each change of stage, and every ten seconds, later every minute."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        # What the last line was about, and the run's age at that.
        self._written: tuple[str, bool] | None = None
        self._written_seconds = 0.0

    def show(self, view: View) -> None:
        state = (view.figures.stage, bool(view.trouble))
        pause = min(max(MIN_LINE_SECONDS, view.seconds / 10), MAX_LINE_SECONDS)
        if state == self._written and view.seconds - self._written_seconds < pause:
            return

        self._written = state
        self._written_seconds = view.seconds
        self.write(to_line(view))

    def end(self, view: View) -> None:
        self.write(to_line(view))
        self._written = None


class Bars:
    """Draws bars in place, and leaves one line of each run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None

    def show(self, view: View) -> None:
        if self._live is None:
            # What Dagster and ops write is theirs to place: it captures it by descriptor.
            self._live = Live(
                console=self.console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(to_bars(view), refresh=True)

    def end(self, view: View) -> None:
        if self._live:
            self._live.stop()
            self._live = None
        self.console.print(to_end(view, self.console.width), markup=False, soft_wrap=True)


@contextmanager
def open_display(as_json: bool) -> Iterator[Display | None]:
    """Give what shows progress on stderr: bars on a terminal, lines elsewhere.

    Nothing for programs, which read one JSON document and may take stderr for trouble.
    """
    # A variable that asks for colours in a log, such as FORCE_COLOR, makes no terminal of it.
    if sys.stderr.isatty() and not err.is_dumb_terminal:
        # A copy, or what ops write would be captured together with the bars where they run in
        # this process.
        with os.fdopen(os.dup(sys.stderr.fileno()), "w") as stream:
            yield Bars(Console(file=stream, highlight=False))
    elif as_json:
        yield None
    else:
        yield Lines(lambda text: click.echo(text, err=True))
