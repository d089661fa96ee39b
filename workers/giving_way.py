"""A worker of an older run gives way to a newer partition's: it pauses between two batches.

Whatever happens, it goes on after a while and runs some batches before it pauses again.
"""

import logging
import time
from collections.abc import Callable

from workers.ledger.ledger import Ledger

ASK_SECONDS = 5.0  # between questions whether a newer partition is at work
LOOK_SECONDS = 1.0  # between looks while a worker pauses
PAUSE_SECONDS = 30.0  # that it pauses at most, before it runs some batches


class GivingWay:
    """Pauses of one worker."""

    def __init__(self, ledger: Ledger, asset: str, run: str, log: logging.Logger) -> None:
        self.ledger, self.asset, self.run, self.log = ledger, asset, run, log
        # The newest partition of the run; None until somebody asks.
        self._newest: str | None = None
        self._asked = -ASK_SECONDS
        # What the run's log has told last.
        self._said = ""

    def pause(self, say: Callable[[str], None]) -> None:
        """Wait while a run is at work on a newer partition than all of this worker's run."""
        if time.monotonic() - self._asked < ASK_SECONDS:
            return
        if self._newest is None:
            self._newest = self.ledger.newest_of_run(self.run)

        began = time.monotonic()
        while time.monotonic() < began + PAUSE_SECONDS:
            newer = self.ledger.newer_at_work(self.asset, self._newest, self.run)
            if newer is None:
                break
            why = f"giving way to {newer}, a newer partition that is at work"
            if why != self._said:
                self.log.info(why)
            self._said = why
            say(why)
            time.sleep(LOOK_SECONDS)
        self._asked = time.monotonic()
