"""AWS Lambda's way in: a function whose handler is `workers.on_lambda.handler` runs shares.

An event is a reference to a share. Where too little time is left for another batch, the function
ends, and says how many are left; whoever invoked it does so again.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from workers.dealt import ShareReference
from workers.launched import run_launched

END_SECONDS = 15  # for what comes after the last batch
LONGER = 1.5  # times the longest batch so far, that the next one may take


class LambdaContext(Protocol):
    """What a function is told of its invocation, as far as it is used here."""

    def get_remaining_time_in_millis(self) -> int: ...


class TimeLeft:
    """Tells whether another batch fits into what is left of an invocation.

    What passes between two questions counts as a batch, or as small ones that ran together.
    """

    def __init__(self, remaining_millis: Callable[[], int]) -> None:
        self._remaining_millis = remaining_millis
        self._longest = 0.0
        self._asked = time.monotonic()

    def suffices(self) -> bool:
        """Tell whether a batch that takes as long as the longest so far will end in time."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._asked)
        self._asked = now
        return self._remaining_millis() / 1000 > LONGER * self._longest + END_SECONDS


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Run the share that an event names, and return how that ended."""
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    time_left = TimeLeft(context.get_remaining_time_in_millis)
    return run_launched(ShareReference.of(event), time_left.suffices).to_json()
