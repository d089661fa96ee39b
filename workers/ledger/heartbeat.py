"""A thread that says that its worker is alive, and hears whether the worker is asked to stop."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from workers.errors import FanfoldError
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors

BEAT_SECONDS = 3.0  # between two beats: far below LOST_SECONDS

log = logging.getLogger(__name__)


class Heartbeat:
    """The beats of a worker that has entered the ledger."""

    def __init__(self, ledger: Ledger, worker_id: str) -> None:
        self.ledger = ledger
        self.worker_id = worker_id
        # What the worker is at, in a sentence.
        self.at = ""
        self.is_asked_to_stop = False
        self._is_over = threading.Event()

    def run(self) -> None:
        """Beat until the worker has ended; interrupt its process where it is asked to stop."""
        while not self._is_over.wait(BEAT_SECONDS):
            try:
                with mongodb_errors():
                    goes_on = self.ledger.workers.beat(self.worker_id, self.at)
            except FanfoldError as error:  # the worker meets it too
                log.warning("no heartbeat of worker %s: %s", self.worker_id, error)
                continue
            if not goes_on and not self.is_asked_to_stop:
                self.is_asked_to_stop = True
                os.kill(os.getpid(), signal.SIGINT)

    def say(self, at: str) -> None:
        """Let the next beat tell what the worker is at."""
        self.at = at

    def stop(self) -> None:
        """Beat no more."""
        self._is_over.set()


@contextmanager
def heartbeat(ledger: Ledger, worker_id: str) -> Iterator[Heartbeat]:
    """Beat for a worker that has entered the ledger, and record its end."""
    heart = Heartbeat(ledger, worker_id)
    thread = threading.Thread(target=heart.run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield heart
    finally:
        heart.stop()
        thread.join(BEAT_SECONDS)
        with suppress(FanfoldError), mongodb_errors():
            ledger.workers.end(worker_id)
