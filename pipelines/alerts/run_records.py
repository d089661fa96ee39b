"""What Dagster's records say of a run: whether it is over, what it was to do, why it failed."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import dagster as dg

from pipelines.errors import (
    FAILURE_EVENTS,
    STOPPED_TEXT,
    failed_checks,
    run_error,
    step_errors,
    unusual_numbers,
    was_stopped,
)
from pipelines.lost_runs import process_tag
from pipelines.purposes import GENERATION_TAG, REDRIVE_TAG
from workers.declare.asset import Asset

MAX_RETRY_WAIT = timedelta(minutes=10)  # within which Dagster starts the retry of a failed run

RETRY_TAG = "dagster/auto_retry_run_id"
WILL_RETRY_TAG = "dagster/will_retry"


class RetryStatus(StrEnum):
    """Whether a run that ended is the last try at its partitions."""

    # No other one will come.
    OVER = "over"
    # Dagster has started another one.
    RETRIED = "retried"
    # Dagster may still start another one.
    UNDECIDED = "undecided"


class Command(StrEnum):
    """What a run was to do, which is also the command that does it again."""

    RUN = "run"
    REDRIVE = "redrive"
    REBUILD = "rebuild"


def ended_at(record: dg.RunRecord) -> datetime:
    """Return when a run ended."""
    if record.end_time is None:
        return record.update_timestamp
    return datetime.fromtimestamp(record.end_time, UTC)


def seconds_of(record: dg.RunRecord) -> float | None:
    """Return the seconds that a run was executed for; None where it did not start."""
    if not record.start_time:
        return None
    return ended_at(record).timestamp() - record.start_time


def retry_status(instance: dg.DagsterInstance, record: dg.RunRecord) -> RetryStatus:
    """Return whether a run that ended is the last try at its partitions.

    Dagster may try a failed run again, unless a command started it. It writes that it will just
    after the failure, and that it did when the retry starts; in between it may drop the retry
    without a word.
    """
    run = record.dagster_run
    if run.status != dg.DagsterRunStatus.FAILURE or not run.remote_job_origin:
        return RetryStatus.OVER
    if process_tag(run):
        return RetryStatus.OVER
    if run.tags.get(RETRY_TAG):
        return RetryStatus.RETRIED

    is_off = not instance.run_retries_enabled or run.tags.get(WILL_RETRY_TAG) == "false"
    is_old = datetime.now(UTC) - record.update_timestamp > MAX_RETRY_WAIT
    return RetryStatus.OVER if is_off or is_old else RetryStatus.UNDECIDED


def command_of(run: dg.DagsterRun) -> Command:
    """Return what a run was to do."""
    if REDRIVE_TAG in run.tags:
        return Command.REDRIVE
    return Command.REBUILD if GENERATION_TAG in run.tags else Command.RUN


def failures_of(asset: Asset, instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """Return why an asset failed in a failed run; nothing where only steps of others failed."""
    entries = instance.all_logs(run.run_id, of_type=FAILURE_EVENTS)
    events = [entry.dagster_event for entry in entries if entry.dagster_event]

    errors = step_errors(events)
    names = (asset.name, f"{asset.name}_checks")
    own = [error for error in errors if error.step.partition(".")[0] in names]
    if errors and not own:
        return []
    if was_stopped(run):
        return [STOPPED_TEXT]
    return [f"{error.step}: {error.text}" for error in own] or [run_error(events)]


def check_failures_of(asset: Asset, instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """Return the sentences of an asset's checks that did not pass; without those that warn."""
    failed = failed_checks(_evaluations(instance, run), asset.name)
    return [f"{check} did not pass: {text}" for check, text in failed]


def unusual_of(
    asset: Asset, instance: dg.DagsterInstance, run: dg.DagsterRun
) -> dict[str, list[dict[str, Any]]]:
    """Return which numbers of an asset's partitions are not as usual, by partition."""
    return unusual_numbers(_evaluations(instance, run), asset.name)


def _evaluations(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[dg.AssetCheckEvaluation]:
    check_events = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    entries = instance.all_logs(run.run_id, of_type=check_events)
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    return [event.asset_check_evaluation_data for event in events]
