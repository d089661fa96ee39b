"""Actors that take turns at each call to MongoDB, in an order that a test decides."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from workers.errors import FanfoldError
from workers.ledger.claims import Claims
from workers.ledger.folded import FoldedPlans
from workers.ledger.ledger import Ledger


class Killed(Exception):
    """An actor's end, in the middle of what it did."""


class Actor:
    """A run that waits for its turn before each call, and may die before one of them."""

    def __init__(self, dies_before_call: int | None) -> None:
        self.dies_before_call = dies_before_call
        self.calls = 0
        self.turn = threading.Semaphore(0)
        self.waits = threading.Semaphore(0)
        self.is_done = False
        self.error: BaseException | None = None

    def take_turn(self) -> None:
        """Wait for a turn; die if it is the actor's last."""
        self.waits.release()
        self.turn.acquire()

        self.calls += 1
        if self.calls == self.dies_before_call:
            raise Killed

    def play(self, script: Callable[[], Any]) -> None:
        """Do all that a script says, from the first turn on."""
        try:
            self.take_turn()
            script()
        except (Killed, FanfoldError):
            pass  # a run that is killed, overtaken or refused
        except BaseException as error:  # noqa: BLE001  for the test's own thread to raise
            self.error = error
        finally:
            self.is_done = True
            self.waits.release()


class TurnTaking:
    """A collection (or a database of them) whose calls each take a turn."""

    def __init__(self, real: Any, actor: Actor) -> None:
        self._real = real
        self._actor = actor

    def __getitem__(self, name: str) -> "TurnTaking":
        return TurnTaking(self._real[name], self._actor)

    @property
    def name(self) -> str:
        return self._real.name

    def with_options(self, **options: Any) -> "TurnTaking":
        return TurnTaking(self._real.with_options(**options), self._actor)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def call(*args: Any, **more: Any) -> Any:
            self._actor.take_turn()
            answer = method(*args, **more)
            return list(answer) if name in ("find", "aggregate") else answer

        return call


def turn_taking_ledger(actor: Actor, real: Ledger) -> Ledger:
    """Return a ledger whose calls to MongoDB each take a turn of the actor."""
    ledger = Ledger(real.plans.database)
    ledger.database = TurnTaking(ledger.database, actor)
    ledger.plans = TurnTaking(ledger.plans, actor)
    ledger.claims = Claims(ledger.plans, TurnTaking(ledger.claims.assets, actor))
    ledger.folded = FoldedPlans(ledger.plans)
    return ledger


def perform(
    actors: Sequence[Actor], scripts: Sequence[Callable[[], Any]], order: Sequence[int]
) -> None:
    """Let the actors take turns in this order, then one after the other, until all are done."""
    threads = []
    for actor, script in zip(actors, scripts, strict=True):
        thread = threading.Thread(target=actor.play, args=(script,), daemon=True)
        thread.start()
        actor.waits.acquire()
        threads.append(thread)

    turn = 0
    while alive := [actor for actor in actors if not actor.is_done]:
        choice = order[turn] if turn < len(order) else turn
        actor = alive[choice % len(alive)]
        actor.turn.release()
        actor.waits.acquire()
        turn += 1

    for thread, actor in zip(threads, actors, strict=True):
        thread.join()
        if actor.error:
            raise actor.error
