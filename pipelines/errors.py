"""What a run or a tick says went wrong, in one sentence for each step that failed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from workers.errors import FanfoldError
from workers.ledger.mongo import mongodb_errors

OURS = {error.__name__ for error in FanfoldError.__subclasses__()}
KILLED = "UNEXPECTED_TERMINATION"  # what Dagster calls a Ctrl-C or a SIGTERM, in a tag of the run
START_AGAIN = "Start a new run of the same partitions: it reuses every finished batch"
STOPPED_TEXT = f"it was stopped before its end. {START_AGAIN}"
FAILURE_EVENTS = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Let a sensor's tick fail in one sentence where a server is away or refuses."""
    try:
        with mongodb_errors():
            yield
    except FanfoldError as error:
        raise dg.Failure(str(error)) from error


def was_stopped(run: dg.DagsterRun) -> bool:
    """Tell whether a run ended by a Ctrl-C or a SIGTERM, which each step calls an error of its."""
    return run.tags.get("dagster/failure_reason") == KILLED


def step_errors(events: Iterable[dg.DagsterEvent]) -> list[tuple[str, str]]:
    """Return the key and the sentence of each step that failed."""
    said = []
    for event in events:
        if event.is_step_failure:
            data = event.step_failure_data
            failure = data.user_failure_data
            text = failure.description if failure else data.error and sentence(data.error)
            said.append((str(event.step_key), (text or "failed").strip()))
    return said


def run_error(events: Iterable[dg.DagsterEvent]) -> str:
    """Return what is said of the run itself: where it was lost, or did not even start."""
    text = "it failed, and its log does not say why"
    for event in events:
        if event.event_type == dg.DagsterEventType.RUN_FAILURE:
            data: Any = event.event_specific_data
            text = sentence(data.error) if data and data.error else event.message or text
    return text.strip()


def sentence(error: Any) -> str:
    """Return what the outermost error of ours says, else the deepest: Dagster wraps them."""
    while error.cause and error.cls_name not in OURS:
        error = error.cause
    if error.cls_name == "ChildProcessCrashException":
        return (
            f"its process was killed or crashed. {START_AGAIN}; do not execute this one again from its "
            "failure"
        )
    message: str = error.message
    return message.removeprefix(f"{FanfoldError.__module__}.{error.cls_name}: ")
