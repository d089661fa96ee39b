"""What a launcher gets, and what becomes of what its worker says."""

import logging
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from workers.dealt import ShareReference
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import FanfoldError, Refused
from workers.launched import ALL_ANSWERED, CANNOT_RUN
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors
from workers.store import BlockStore

# How a line of a worker's log begins: `INFO ...` of a command, `[INFO]\t<time>Z\t<request>\t...` of
# a function of AWS Lambda.
LEVEL = re.compile(r"\[?(DEBUG|INFO|WARNING|ERROR|CRITICAL)\]?(?:\t[^\t]*Z\t[^\t]*\t|\s+)")


class Launch(NamedTuple):
    """A share that is to be run."""

    asset: Asset
    task: Task
    ledger: Ledger
    store: BlockStore
    reference: ShareReference
    batches: Sequence[str]
    log: logging.Logger


# Has a worker run a share, and returns its exit code (workers/launched.py); interrupted, it leaves
# no worker behind. Refused where the worker cannot be run, Unavailable where nobody runs it now.
Launcher = Callable[[Launch], int]


class WorkerLog:
    """The lines of a worker, on their way to the log of a run."""

    def __init__(self, log: logging.Logger) -> None:
        self.log = log
        self.last = ""
        self._level = logging.INFO

    def add(self, line: str) -> None:
        """Log a line at the level that it names; one that names none goes on with the last."""
        line = line.rstrip()
        if level := LEVEL.match(line):
            self._level = logging.getLevelNamesMapping()[level[1]]
            line = line[level.end() :]
        if line:
            self.last = line
            self.log.log(self._level, line)


def checked(code: int, why: str) -> int:
    """Return a worker's exit code; Refused where it says that another attempt would be in vain."""
    if code == CANNOT_RUN:
        raise Refused(why or "the worker cannot be run, and does not say why")
    return code


def describe_end(code: int) -> str:
    """Return what a worker's exit code means, for people; "" where all is well."""
    return "" if code == ALL_ANSWERED else f"the worker ended with exit code {code}"


def ask_to_stop(launch: Launch, worker: str) -> None:
    """Ask a worker to stop, through the ledger; it looks there every few seconds."""
    try:
        with mongodb_errors():
            launch.ledger.workers.ask_to_stop(worker)
    except FanfoldError as error:
        launch.log.warning(f"worker {worker} could not be asked to stop: {error}")


def by_asset(text: str) -> dict[str, str]:
    """Return the values that a setting has by asset; under "" the one of all others.

    It reads as `inline,page_profiles=ecs`.
    """
    values: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        asset, equals, value = part.rpartition("=")
        values[asset.strip() if equals else ""] = value.strip()
    return values
