"""How far a run is, asked of the ledger again and again while it runs.

Dagster runs in the main thread. A thread beside it asks the ledger, which knows the batches of all
processes and machines. What goes wrong there is shown, and never fails the run.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pymongo

from pipelines.cli.display import Display, View
from workers.errors import FanfoldError
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors, open_database
from workers.progress import Figures, figures, seconds_left
from workers.settings import Settings

LOOK_SECONDS = 0.5  # seconds between two looks at the ledger;
REST_FACTOR = 9  # times as long as a look took, where that is more,
MAX_REST_SECONDS = 5  # but no longer than this
ANSWER_SECONDS = 4  # seconds that MongoDB has for a look


class Follower:
    """Looks at the ledger again and again until it is told how the run ended."""

    def __init__(
        self, title: str, partitions: int, find_run: Callable[[], str | None], display: Display
    ) -> None:
        # How the run ended, shown as its last stage; whoever runs it sets this.
        self.ending = "stopped"
        self.over = threading.Event()
        self.title = title
        self.find_run = find_run
        self.display = display
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
            ledger = Ledger(database)
            try:
                self._follow(ledger)
                self._look(ledger)
            finally:
                self._now = msgspec.structs.replace(self._now, stage=self.ending)
                self.display.end(self._view())

    def _follow(self, ledger: Ledger) -> None:
        while True:
            began = time.monotonic()
            self._look(ledger)
            self.display.show(self._view())

            rest = REST_FACTOR * (time.monotonic() - began)
            if self.over.wait(min(max(LOOK_SECONDS, rest), MAX_REST_SECONDS)):
                return

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
        return View(self.title, self._now, seconds, self._remaining(), self._trouble)

    def _remaining(self) -> float | None:
        """Return how long the rest of the work takes at the pace of what this run has done."""
        if self._first is None:
            return None
        first, since = self._first
        return seconds_left(first, self._now, time.monotonic() - since)


@contextmanager
def follow_run(
    title: str,
    partitions: int,
    find_run: Callable[[], str | None],
    settings: Settings,
    display: Display,
) -> Iterator[Follower]:
    """Show a run's progress for as long as the block lasts; set `ending` before it ends."""
    follower = Follower(title, partitions, find_run, display)
    thread = threading.Thread(
        target=follower.follow, args=(settings,), name="progress", daemon=True
    )

    thread.start()
    try:
        yield follower
    finally:
        follower.over.set()
        thread.join()
