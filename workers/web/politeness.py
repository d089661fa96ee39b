"""How pages may be visited: by whom, where, how many at once and how often."""

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import msgspec

from workers import __version__
from workers.errors import Refused
from workers.web.addresses import Network, networks
from workers.web.robots import robot_of


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds the visits of one call."""

    # Who we say we are. Its product is the robot that robots.txt files know us by.
    user_agent: str
    # Networks that may be connected to although they are not public.
    allowed: tuple[Network, ...] = ()
    # Connections at once: in all, and to one host.
    connections: int = 50
    host_connections: int = 2
    # The pause between the starts of two requests to a host; its robots.txt may ask for more, but
    # not for more than the second.
    host_delay_seconds: float = 0.5
    longest_delay_seconds: float = 5.0
    # For a connection, and for all that the requests for a page take; waiting for a host's turn
    # is not part of either.
    connect_seconds: float = 10.0
    page_seconds: float = 30.0
    # Decoded; nothing behind it is read.
    max_bytes: int = 10_000_000

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return the rules that the environment sets; Refused, by name, where one is wrong."""
        rules: dict[str, Any] = {"user_agent": f"Fanfold/{__version__} (no contact given)"}

        for name, (field, read) in VARIABLES.items():
            text = environ.get(name)
            if not text:
                continue
            try:
                rules[field] = read(text)
            except ValueError as error:
                raise Refused(f"{name} cannot be {text!r}: {error}") from error
        return cls(**rules)


def _user_agent(text: str) -> str:
    if not (text.isascii() and text.isprintable() and robot_of(text)):
        raise ValueError("write it like `Fanfold/1.0 (+https://example.org/who-we-are)`")
    return text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 3600:
        raise ValueError("it is 0 to 3600 seconds")
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 100:
        raise ValueError("it is 1 to 100 connections")
    return count


# variable -> the rule that it sets, and how to read its text
VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "FANFOLD_USER_AGENT": ("user_agent", _user_agent),
    "FANFOLD_ALLOWED_NETWORKS": ("allowed", networks),
    "FANFOLD_HOST_DELAY_SECONDS": ("host_delay_seconds", _seconds),
    "FANFOLD_HOST_CONNECTIONS": ("host_connections", _count),
}


class Host:
    """Whose turn it is to ask a host."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._delay = rules.host_delay_seconds
        self._connections = asyncio.Semaphore(rules.host_connections)
        self._gate = asyncio.Lock()
        self._started = -math.inf

    def slow_down(self, delay_seconds: float) -> None:
        """Take a longer pause between requests, within the rules."""
        self._delay = max(self._delay, min(delay_seconds, self._rules.longest_delay_seconds))

    @asynccontextmanager
    async def turn(self, slots: asyncio.Semaphore) -> AsyncIterator[None]:
        """Wait for the host first, and only then for a connection that others could use too."""
        async with self._connections:
            async with self._gate:
                await asyncio.sleep(self._started + self._delay - time.monotonic())
                await slots.acquire()
                self._started = time.monotonic()
            try:
                yield
            finally:
                slots.release()
