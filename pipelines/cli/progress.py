"""How far a run is, from the ledger: live on a terminal, in whole lines elsewhere.

Dagster runs in the main thread. A thread beside it asks the ledger, which knows the batches of all
processes and machines. What goes wrong there is shown, and never fails the run.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import click
import msgspec
import pymongo
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.cli.console import err
from workers.errors import FanfoldError
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors, open_database
from workers.progress import Figures, figures
from workers.settings import Settings

LOOK_SECONDS = 0.5  # between two looks;
REST = 9  # times as long as a look took, where that is more,
REST_SECONDS = 5  # but no longer than this
ANSWER_SECONDS = 4  # that MongoDB has for a look
SURE_BATCHES = 8  # batches that a run has to finish, and a tenth of its work,
SURE_SHARE = 0.1  # before it is told how long the rest will take


class View(NamedTuple):
    """What is to be shown at one moment."""

    title: str
    figures: Figures
    seconds: float
    # Seconds of work to come, where that can be told.
    left: float | None
    # Why the figures are of a while ago, where they are.
    trouble: str


def line(view: View) -> str:
    """Return a view as one line of text."""
    now = view.figures
    said = [f"{view.title}  {now.stage:<10}", f"partitions {now.folded:,}/{now.partitions:,}"]
    if now.is_planned:
        said.append(f"batches {now.finished:,}/{now.batches:,} ({_of_batches(now)})")
        said.append(f"items {now.items_done:,}/{now.items:,}")
        said.append(f"dead letters {now.dead:,}")
    said.append(_clocks(view))
    if view.trouble:
        said.append(f"({view.trouble})")
    return "  ".join(said)


def bars(view: View) -> Group:
    """Return a view as bars for a terminal."""
    now = view.figures
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column()
    grid.add_column()
    grid.add_column(justify="right", min_width=15)  # or all would move as numbers grow
    rows = [("partitions", now.folded, now.partitions, "")]
    if now.is_planned:
        rows.append(("batches", now.finished, now.batches, _of_batches(now)))
        rows.append(("items", now.items_done, now.items, f"{now.dead:,} dead letters"))
    for name, done, of, note in rows:
        bar = ProgressBar(total=max(of, 1), completed=done, width=30)
        grid.add_row(f"  {name}", bar, f"{done:,}/{of:,}", note)
    parts = [Text(f"{view.title}  {now.stage}  {_clocks(view)}"), grid]
    if view.trouble:
        parts.append(Text(f"  {view.trouble}", "red"))
    return Group(*parts)


def _of_batches(now: Figures) -> str:
    return f"{now.reused:,} reused" + (f", {now.failed:,} failed" if now.failed else "")


def _clocks(view: View) -> str:
    left = "" if view.left is None else f", about {_clock(view.left)} of work left"
    return _clock(view.seconds) + left


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


class Display(Protocol):
    """Where progress is shown, of one run after the other."""

    def show(self, view: View) -> None: ...

    def end(self, view: View) -> None: ...


class Lines:
    """Writes whole lines: at each change of stage, and every ten seconds, later every minute."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self._said: tuple[str, bool] | None = None
        self._at = 0.0

    def show(self, view: View) -> None:
        said = (view.figures.stage, bool(view.trouble))
        pause = min(max(10.0, view.seconds / 10), 60.0)
        if said != self._said or view.seconds - self._at >= pause:
            self._said, self._at = said, view.seconds
            self.write(line(view))

    def end(self, view: View) -> None:
        self.write(line(view))
        self._said = None


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
        self._live.update(bars(view), refresh=True)

    def end(self, view: View) -> None:
        if self._live:
            self._live.stop()
            self._live = None
        self.console.print(line(view), markup=False, soft_wrap=True)


@contextmanager
def display(as_json: bool) -> Iterator[Display | None]:
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


class Follower:
    """Looks at the ledger again and again until it is told how the run ended."""

    def __init__(
        self, title: str, partitions: int, find_run: Callable[[], str | None], shown: Display
    ) -> None:
        self.ending = "stopped"
        self.over = threading.Event()
        self.title, self.find_run, self.shown = title, find_run, shown
        self._run: str | None = None
        self._now = Figures(partitions=partitions)
        self._began = time.monotonic()
        self._trouble = ""
        # The first look at work under way, and when that was.
        self._first: tuple[Figures, float] | None = None

    def follow(self, settings: Settings) -> None:
        """Show what there is to see, until it is over; the last look is of after that."""
        database = open_database(settings, patient=False)
        with database.client:
            try:
                while True:
                    began = time.monotonic()
                    self._look(Ledger(database))
                    self.shown.show(self._view())
                    rest = REST * (time.monotonic() - began)
                    if self.over.wait(min(max(LOOK_SECONDS, rest), REST_SECONDS)):
                        break
                self._look(Ledger(database))
            finally:
                self._now = msgspec.structs.replace(self._now, stage=self.ending)
                self.shown.end(self._view())

    def _look(self, ledger: Ledger) -> None:
        try:
            self._run = self._run or self.find_run()
            if self._run:
                with mongodb_errors(), pymongo.timeout(ANSWER_SECONDS):
                    self._now = figures(ledger, self._run, self._now.partitions)
            self._trouble = ""
        except Exception as error:  # noqa: BLE001  it is shown; the run goes on and has its own say
            self._trouble = str(error) if isinstance(error, FanfoldError) else type(error).__name__
        if self._first is None and self._now.stage == "working":
            self._first = (self._now, time.monotonic())

    def _view(self) -> View:
        seconds = time.monotonic() - self._began
        return View(self.title, self._now, seconds, self._left(), self._trouble)

    def _left(self) -> float | None:
        """Return how long the rest of the work takes at the pace of what this run has done."""
        if self._first is None or self._now.stage != "working":
            return None
        first, since = self._first
        work = self._now.work_done - first.work_done
        is_few = self._now.finished - first.finished < SURE_BATCHES
        if is_few or work < SURE_SHARE * (work + self._now.work_left):
            return None
        return self._now.work_left * (time.monotonic() - since) / work


@contextmanager
def followed(
    title: str,
    partitions: int,
    find_run: Callable[[], str | None],
    settings: Settings,
    shown: Display,
) -> Iterator[Follower]:
    """Show a run's progress for as long as the block lasts; set `ending` before it ends."""
    follower = Follower(title, partitions, find_run, shown)
    thread = threading.Thread(
        target=follower.follow, args=(settings,), name="progress", daemon=True
    )
    thread.start()
    try:
        yield follower
    finally:
        follower.over.set()
        thread.join()
