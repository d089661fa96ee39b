"""Actors that take turns at each call to MongoDB, in an order that a test decides."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from workers.errors import FanfoldError
from workers.ledger.claims import Claims
from workers.ledger.ledger import Ledger


class Killed(Exception):
    """The actor is gone, in the middle of what it did."""


class Actor:
    """One run; it waits for its turn before each call."""

    def __init__(self, dies_at: int | None) -> None:
        self.dies_at, self.calls = dies_at, 0
        self.turn, self.waits = threading.Semaphore(0), threading.Semaphore(0)
        self.is_done = False
        self.error: BaseException | None = None

    def step(self) -> None:
        """Wait for a turn; die if it is time to."""
        self.waits.release()
        self.turn.acquire()
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed

    def play(self, body: Callable[[], Any]) -> None:
        """Do it all, from the first turn on."""
        try:
            self.step()
            body()
        except (Killed, FanfoldError):
            pass  # a run that is killed, overtaken or refused
        except BaseException as error:  # noqa: BLE001  for the test's own thread to raise
            self.error = error
        finally:
            self.is_done = True
            self.waits.release()


class Turns:
    """A collection (or a database of them) whose calls each take a turn."""

    def __init__(self, real: Any, actor: Actor) -> None:
        self._real, self._actor = real, actor

    def __getitem__(self, name: str) -> "Turns":
        return Turns(self._real[name], self._actor)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def call(*args: Any, **more: Any) -> Any:
            self._actor.step()
            answer = method(*args, **more)
            return list(answer) if name in ("find", "aggregate") else answer

        return call


def ledger_of(actor: Actor, real: Ledger) -> Ledger:
    """Return a ledger whose calls each take a turn."""
    made = Ledger(real.plans.database)
    made.database = Turns(made.database, actor)
    made.plans = Turns(made.plans, actor)
    made.claims = Claims(made.plans, Turns(made.claims.assets, actor))
    return made


def perform(actors: Sequence[Actor], bodies: Sequence[Callable[[], Any]], order: Sequence[int]):
    """Let the actors take turns in this order, then round by round, until all are done."""
    threads = []
    for actor, body in zip(actors, bodies, strict=True):
        threads.append(threading.Thread(target=actor.play, args=(body,), daemon=True))
        threads[-1].start()
        actor.waits.acquire()
    number = 0
    while alive := [actor for actor in actors if not actor.is_done]:
        choice = order[number] if number < len(order) else number
        chosen = alive[choice % len(alive)]
        chosen.turn.release()
        chosen.waits.acquire()
        number += 1
    for thread, actor in zip(threads, actors, strict=True):
        thread.join()
        if actor.error:
            raise actor.error
