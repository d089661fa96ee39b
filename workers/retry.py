"""Call again what a server did not answer."""

import time
from collections.abc import Callable
from random import uniform
from typing import TypeVar

from workers.errors import Unavailable

T = TypeVar("T")
FIRST_PAUSE_SECONDS = 0.2  # seconds before the second call, about
MAX_PAUSE_SECONDS = 8  # seconds of a pause, about


def pause(attempt: int, first: float) -> float:
    """Return the seconds to wait after a failed attempt (0, 1, ...), longer each time.

    They are random within a half, or workers that failed together would come back together.
    """
    seconds: float = min(first * 2**attempt, MAX_PAUSE_SECONDS)
    return seconds * uniform(0.5, 1)  # noqa: S311  no secret depends on it


def retry(call: Callable[[], T], seconds: float) -> T:
    """Repeat a call while a server is unavailable, for about so many seconds; 0 means once.

    However long the call itself takes to fail, it is made twice at least.
    """
    deadline = time.monotonic() + seconds
    attempt = 0

    while True:
        try:
            return call()
        except Unavailable:
            if not seconds or (attempt and time.monotonic() >= deadline):
                raise

        time.sleep(pause(attempt, FIRST_PAUSE_SECONDS))
        attempt += 1
