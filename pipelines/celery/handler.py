"""What becomes of the steps of a run: sent, begun, alive or lost, stopped; by the ledger's word.

A step's attempt has a name, RUN/STEP/NUMBER. Whoever takes its message enters that name in the
ledger, once; a second delivery is refused there. Who has entered and is heard of is at work,
however slow. So a message may be sent again whenever it may be lost.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

import dagster as dg
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepHandler,
    StepHandlerContext,
)
from dagster._record import replace
from dagster._serdes import serialize_value

from pipelines.celery.broker import Broker
from workers.errors import FanfoldError, Unavailable
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors
from workers.ledger.workers import WorkerRecord
from workers.planning.slots import SERVES

STEP = "step of a run"  # what the ledger calls those at work on one
LOOK_SECONDS = 1.0  # for which a look at the ledger and the queue holds, for all steps of a run
DEAD_LOOKS = 2  # in which a worker has to be gone: what it wrote last may have yet to be read
TRUST_SECONDS = 15  # after the ledger was away; until then its workers' beats are too old
LOST_MESSAGE_SECONDS = 10  # for which the queue is empty before a message counts as lost,
RESEND_SECONDS = 60  # or for which a step has not begun anyway, twice as long each time
NOBODY_SECONDS = 30  # without a step at work before the run's log says so,
GIVE_UP_SECONDS = 300  # and before its steps fail
BROKER_SECONDS = 120  # for which a broker may be away before steps that wait for it fail
LEDGER_SECONDS = 120  # for which the ledger may be away


@dataclass
class Attempt:
    """An attempt at a step of this run, from its launch to its end."""

    id: str
    message: str
    # When it was last sent, and how often.
    sent: float = 0.0
    times_sent: int = 0
    # Who entered it.
    worker: WorkerRecord | None = None
    looks_dead: int = 0
    is_given_up: bool = False


class Look(NamedTuple):
    """What the ledger and the queue say at a time."""

    time: float
    alive: dict[str, WorkerRecord]
    # Whether anybody is at a step of any run, and how many processes take steps.
    someone_works: bool
    servers: int


class CeleryStepHandler(StepHandler):
    """Sends the steps of one run to workers, and looks after them."""

    def __init__(self, broker: Broker, ledger: Ledger) -> None:
        self.broker = broker
        self.ledger = ledger
        # The attempts of this run that have not ended, by the key of their step.
        self.attempts: dict[str, Attempt] = {}
        self._look: Look | None = None
        self._trusted_from = 0.0
        self._ledger_away_since: float | None = None
        self._empty_since: float | None = None
        # When a step of this run was last known to be at work.
        self._worked = time.monotonic()
        self._has_warned = False

    @property
    def name(self) -> str:
        return "fanfold worker"

    # What Dagster's executor asks for

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        """Send an attempt at a step; a broker that is away gets it later."""
        if not self.attempts:
            self._worked = time.monotonic()
        self._send(self._attempt(step_handler_context))
        return iter(())

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Say whether a step is at work or will be; if not, another attempt is made."""
        attempt = self._attempt(step_handler_context)
        try:
            with self._ledger_asked():
                why = self._trouble(attempt, step_handler_context)
                if why:
                    self.ledger.workers.ask_to_stop(attempt.id)  # should it wake, or be delivered
        except Unavailable as error:  # which the ops meet too
            why = str(error) if self.ledger_away_seconds > LEDGER_SECONDS else None

        if why is None:
            return CheckStepHealthResult.healthy()
        attempt.is_given_up = True
        return CheckStepHealthResult.unhealthy(why)

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        """Have the worker of a step interrupt it; what was not delivered will not begin."""
        with suppress(FanfoldError), mongodb_errors():
            self.ledger.workers.ask_to_stop(self._attempt(step_handler_context).id)
        return iter(())

    def close(self) -> None:
        """Close the connections."""
        self.broker.close()
        self.ledger.database.client.close()

    # Which events count

    def counts(self, event: dg.DagsterEvent) -> bool:
        """Tell whether an event is of the attempt that its step is at; its end is its last.

        A worker that was thought lost may wake, and say that it made something, has ended or was
        interrupted, when another attempt is under way or has ended. Unavailable while the ledger
        cannot say whose an event is.
        """
        is_end = event.is_step_success or event.is_step_failure or event.is_step_up_for_retry
        if not is_end and not event.is_successful_output:
            return True

        attempt = self.attempts.get(str(event.step_key))
        if attempt is None or event.pid not in (os.getpid(), self._pid(attempt)):
            return False
        if is_end:
            del self.attempts[str(event.step_key)]
        return True

    def _pid(self, attempt: Attempt) -> int | None:
        """Return the process that entered an attempt."""
        if attempt.worker is None:
            with self._ledger_asked():
                attempt.worker = self.ledger.workers.get(attempt.id)
        return attempt.worker.pid if attempt.worker else None

    @property
    def ledger_away_seconds(self) -> float:
        """For how long the ledger has not answered."""
        return time.monotonic() - self._ledger_away_since if self._ledger_away_since else 0

    @contextmanager
    def _ledger_asked(self) -> Iterator[None]:
        """Take note of whether the ledger answers; Unavailable where it does not.

        Once it does again, its workers have a while to tell it that they are alive.
        """
        try:
            with mongodb_errors():
                yield
        except Unavailable:
            self._ledger_away_since = self._ledger_away_since or time.monotonic()
            raise
        if self._ledger_away_since is not None:
            self._ledger_away_since = None
            self._trusted_from = time.monotonic() + TRUST_SECONDS

    # What is wrong with an attempt

    def _attempt(self, context: StepHandlerContext) -> Attempt:
        """Return the attempt that a step is at."""
        args = context.execute_step_args
        (step,) = args.step_keys_to_execute or ()
        if step not in self.attempts:
            state = args.known_state
            number = state.get_retry_state().get_attempt_count(step) if state else 0
            # A worker has an instance of its own, and its secrets are none of a broker's business.
            message = serialize_value(replace(args, instance_ref=None))
            self.attempts[step] = Attempt(f"{args.run_id}/{step}/{number}", message)
        return self.attempts[step]

    def _trouble(self, attempt: Attempt, context: StepHandlerContext) -> str | None:
        """Return what is wrong with an attempt, in a sentence; None where all is well."""
        look = self._looked()
        if attempt.is_given_up:
            return None
        if worker := look.alive.get(attempt.id):
            attempt.worker, attempt.looks_dead = worker, 0
            return None

        worker = self.ledger.workers.get(attempt.id)
        if worker is None:
            return self._wait(attempt, look, context)
        attempt.worker = worker
        if self._ledger_away_since is not None or look.time < self._trusted_from:
            return None
        attempt.looks_dead += 1
        return _lost(worker) if attempt.looks_dead >= DEAD_LOOKS else None

    def _looked(self) -> Look:
        """Return what the ledger and the queue say, at most a second ago."""
        now = time.monotonic()
        if self._look and now - self._look.time < LOOK_SECONDS:
            return self._look

        alive = self.ledger.workers.alive([attempt.id for attempt in self.attempts.values()])
        someone_works = bool(alive or self.ledger.workers.alive_at(STEP))
        servers = len(self.ledger.workers.alive_at(SERVES))
        if someone_works:
            self._worked = now

        try:
            self._empty_since = (self._empty_since or now) if self.broker.is_empty() else None
        except Unavailable:
            self._empty_since = None
        self._look = Look(now, {worker.id: worker for worker in alive}, someone_works, servers)
        return self._look

    def _wait(self, attempt: Attempt, look: Look, context: StepHandlerContext) -> str | None:
        """See to an attempt that nobody has begun; return why nobody will."""
        away = self.broker.away_since
        if away is not None and look.time - away > BROKER_SECONDS:
            return (
                f"the broker has not answered for {look.time - away:.0f} s "
                f"({self.broker.trouble}); check FANFOLD_BROKER and that it runs"
            )
        if self._is_message_lost(attempt, look.time):
            self._send(attempt)

        idle = look.time - self._worked
        if idle > NOBODY_SECONDS and not self._has_warned:
            self._has_warned = True
            text = f"No worker has taken a step for {idle:.0f} s: {_why_nobody(look.servers)}"
            context.instance.report_engine_event(text, context.dagster_run)
        if idle > GIVE_UP_SECONDS:
            return f"no worker took it for {idle:.0f} s: {_why_nobody(look.servers)}"
        return None

    def _is_message_lost(self, attempt: Attempt, now: float) -> bool:
        if not attempt.times_sent:  # the broker was away
            return True
        if self._empty_since is not None:
            return now - max(self._empty_since, attempt.sent) > LOST_MESSAGE_SECONDS
        return now - attempt.sent > RESEND_SECONDS * 2 ** (attempt.times_sent - 1)

    def _send(self, attempt: Attempt) -> None:
        with suppress(Unavailable):
            self.broker.send(attempt.id, attempt.message)
            attempt.sent = time.monotonic()
            attempt.times_sent += 1


def _lost(worker: WorkerRecord) -> str:
    """Return what is known of a worker that is gone."""
    who = f"its worker, process {worker.pid} on {worker.host},"
    heard = f"{worker.beat:%H:%M:%S} UTC" if worker.beat else "its start"
    if worker.ended:
        return f"{who} ended without a word at {worker.ended:%H:%M:%S} UTC"
    return f"{who} is gone, killed or cut off; it was last heard of at {heard}"


def _why_nobody(servers: int) -> str:
    if not servers:
        return "is `fanfold worker` running?"
    return (
        f"{servers} of `fanfold worker` run and are idle; do they have the FANFOLD_BROKER, the "
        "FANFOLD_DATABASE and the FANFOLD_BUCKET of this run?"
    )
