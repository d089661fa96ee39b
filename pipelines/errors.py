"""The one translator of errors: what an op, a tick or a run says went wrong, in a sentence."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import dagster as dg

from workers.errors import FanfoldError, Refused, Unavailable
from workers.ledger.mongo import mongodb_errors
from workers.retry import pause

RETRIES = 3  # times an op tries again: after a crash, or for about a minute without a server
FIRST_PAUSE_SECONDS = 2  # before the first of them

OUR_ERRORS = {error.__name__ for error in FanfoldError.__subclasses__()}
FAILURE_EVENTS = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
REASON_TAG = "dagster/failure_reason"
STOPPED_REASON = "UNEXPECTED_TERMINATION"  # what Dagster calls a Ctrl-C or a SIGTERM, in that tag
# Of the metadata of the check `as_usual`: numbers of a partition, and fields of the first blocks.
UNUSUAL = "unusual"
FIRST_FIELDS = "unknown_fields"
# Of the metadata of any check: its partition is not folded, and the run fails for it.
OF_NOT_FOLDED = "not_folded"
MAX_TOLD = 5  # partitions of which a check that did not pass is told

# Of the metadata of a failed step: all that there is to say, below tables.
IN_FULL = "in_full"
FAILED_BATCHES = "failed_batches"  # of a step that only shows them: see pipelines/failed_batches.py
HEADLINE_ENDS = re.compile(r", so |: |; |\. | \(")
MAX_HEADLINE_CHARACTERS = 60

START_AGAIN = "Start a new run of the same partitions: it reuses every finished batch"
STOPPED_TEXT = f"it was stopped before its end. {START_AGAIN}"


@contextmanager
def explained(context: dg.OpExecutionContext) -> Iterator[None]:
    """Try an op again later where a server is unavailable; fail in a sentence where it refuses.

    Any other error fails it too: it would be met again.
    """
    try:
        with mongodb_errors():
            yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except Unavailable as error:
        context.log.warning(str(error))
        if context.retry_number >= RETRIES:
            raise failure(context.log, str(error)) from error
        raise retry_requested(context) from error
    except Refused as error:
        raise failure(context.log, str(error)) from error
    except Exception as error:
        raise failure(context.log, f"{type(error).__name__}: {error}") from error


def failure(
    log: logging.Logger,
    text: str,
    tables: Mapping[str, dg.MetadataValue[Any]] | None = None,
    short: str = "",
) -> dg.Failure:
    """Return what a step fails with: a sentence that the UI shows whole, and all else beside it.

    The text is logged too, where it is longer: `dagster asset materialize` prints no metadata.
    """
    short = short or headline(text)
    if short == text:
        return dg.Failure(text, metadata=tables, allow_retries=False)
    log.error(text)
    # The UI cuts off what is low: the text comes last.
    in_full = {IN_FULL: dg.MetadataValue.text(text)}
    return dg.Failure(short, metadata={**(tables or {}), **in_full}, allow_retries=False)


def headline(text: str) -> str:
    """Return how a text begins, without the asset that the step is named by."""
    if len(text) <= MAX_HEADLINE_CHARACTERS:
        return text
    begin = re.sub(r"^[a-z_]\w*: (?=.{9})", "", text)
    short = HEADLINE_ENDS.split(begin, maxsplit=1)[0]
    if len(short) <= MAX_HEADLINE_CHARACTERS:
        return short
    return f"{short[:MAX_HEADLINE_CHARACTERS].rpartition(' ')[0]} ..."


def retry_requested(context: dg.OpExecutionContext) -> dg.RetryRequested:
    """Return what an op raises for another attempt after a pause."""
    seconds = pause(context.retry_number, first=FIRST_PAUSE_SECONDS)
    return dg.RetryRequested(RETRIES, seconds_to_wait=seconds)


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Let a sensor's tick fail in one sentence where a server is away or refuses."""
    try:
        with mongodb_errors():
            yield
    except FanfoldError as error:
        raise dg.Failure(str(error)) from error


class StepError(NamedTuple):
    """A step that failed, and why."""

    step: str
    text: str


class FailedCheck(NamedTuple):
    """A check that did not pass, and what it says."""

    check: str
    text: str


def failed_checks(evaluations: Iterable[dg.AssetCheckEvaluation], asset: str) -> list[FailedCheck]:
    """Return an asset's checks that did not pass, each once for all partitions of a run.

    Without those that only warn, and without partitions for which the run itself fails.
    """
    texts: dict[str, list[str]] = {}
    for evaluation in _of_asset(evaluations, asset):
        is_error = evaluation.severity == dg.AssetCheckSeverity.ERROR
        if is_error and not evaluation.passed and OF_NOT_FOLDED not in evaluation.metadata:
            text = evaluation.description or "it did not pass"
            texts.setdefault(evaluation.check_name, []).append(text)

    checks = []
    for check, told in texts.items():
        more = f"; and {len(told) - MAX_TOLD:,} partitions more" if len(told) > MAX_TOLD else ""
        checks.append(FailedCheck(check, f"{'; '.join(told[:MAX_TOLD])}{more}"))
    return checks


def unusual_numbers(
    evaluations: Iterable[dg.AssetCheckEvaluation], asset: str
) -> dict[str, list[dict[str, Any]]]:
    """Return what an asset's check `as_usual` warns of, by partition."""
    numbers: dict[str, list[dict[str, Any]]] = {}
    for evaluation in _of_asset(evaluations, asset):
        table: Any = evaluation.metadata.get(UNUSUAL)
        if evaluation.check_name == "as_usual" and evaluation.partition and table:
            numbers[evaluation.partition] = [dict(record.data) for record in table.records]
    return numbers


def unusual_sentences(evaluations: Iterable[dg.AssetCheckEvaluation], asset: str) -> list[str]:
    """Return what an asset's check `as_usual` tells, in sentences."""
    evaluations = list(evaluations)
    fields = [
        str(evaluation.metadata[FIRST_FIELDS].value)
        for evaluation in _of_asset(evaluations, asset)
        if evaluation.check_name == "as_usual" and FIRST_FIELDS in evaluation.metadata
    ]
    numbers = unusual_numbers(evaluations, asset)
    return [*(f"{name}: {joined_texts(numbers[name])}" for name in numbers), *fields]


def joined_texts(numbers: Iterable[dict[str, Any]]) -> str:
    """Return the numbers of a partition that are not as usual, in a sentence."""
    return ", ".join(number["text"] for number in numbers)


def _of_asset(
    evaluations: Iterable[dg.AssetCheckEvaluation], asset: str
) -> list[dg.AssetCheckEvaluation]:
    """Return the evaluations of an asset's checks."""
    key = dg.AssetKey(asset)
    return [evaluation for evaluation in evaluations if evaluation.asset_key == key]


def was_stopped(run: dg.DagsterRun) -> bool:
    """Tell whether a run ended by a Ctrl-C or a SIGTERM, which each step calls its own error."""
    return run.tags.get(REASON_TAG) == STOPPED_REASON


def step_errors(events: Iterable[dg.DagsterEvent]) -> list[StepError]:
    """Return the steps that failed, each with its sentence; but for those that show batches."""
    errors = []
    for event in events:
        data = event.step_failure_data if event.is_step_failure else None
        if data is None or is_shown_only(data.user_failure_data):
            continue

        text = None
        if data.user_failure_data:
            in_full = data.user_failure_data.metadata.get(IN_FULL)
            text = str(in_full.value) if in_full else data.user_failure_data.description
        elif data.error:
            text = error_sentence(data.error)
        errors.append(StepError(str(event.step_key), (text or "failed").strip()))
    return errors


def is_shown_only(data: Any) -> bool:
    """Tell whether a step failed only for people to see what reconcile says of its batches."""
    return data is not None and data.label == FAILED_BATCHES


def run_error(events: Iterable[dg.DagsterEvent]) -> str:
    """Return why the run itself failed: it was lost, or did not even start."""
    text = "it failed, and its log does not say why"
    for event in events:
        if event.event_type != dg.DagsterEventType.RUN_FAILURE:
            continue

        data: Any = event.event_specific_data
        text = error_sentence(data.error) if data and data.error else event.message or text
    return text.strip()


def error_sentence(error: Any) -> str:
    """Return the text of the outermost error of ours, else of the deepest: Dagster wraps them."""
    while error.cause and error.cls_name not in OUR_ERRORS:
        error = error.cause

    if error.cls_name == "ChildProcessCrashException":
        return (
            f"its process was killed or crashed. {START_AGAIN}; do not execute this one again from "
            "its failure"
        )
    message: str = error.message
    return message.removeprefix(f"{FanfoldError.__module__}.{error.cls_name}: ")
