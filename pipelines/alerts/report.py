"""What became of the coarse units of a run that is over, from Dagster's records and the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import dagster as dg

from pipelines.errors import FAILURE_EVENTS, STOPPED_TEXT, run_error, step_errors, was_stopped
from pipelines.fanout import GENERATION_TAG, REDRIVE_TAG
from resources.io_manager import summary_key
from workers.assets import assets
from workers.declare.asset import Asset
from workers.errors import FanfoldError, Refused
from workers.ledger.claims import DONE
from workers.ledger.counts import Counts, count_plan, exceeds_tolerance, frequent_reasons
from workers.ledger.fingerprint import fingerprint
from workers.ledger.ledger import Ledger
from workers.store import BlockStore
from workers.values import Document, digest

RETRY_COMES = timedelta(minutes=10)  # within which Dagster starts the retry of a failed run

RetryStatus = Literal["over", "retried", "undecided"]
Outcome = Literal["finished", "failed", "cancelled"]
Job = Literal["run", "redrive", "rebuild"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What became of an asset with the partitions of one run."""

    asset: Asset
    run: str
    ended: datetime
    outcome: Outcome
    # What it was to do, which is also the command that does it again.
    job: Job
    partitions: list[str]
    # From the start of its execution to its end; None where it did not start.
    seconds: float | None
    # Sentences: of steps that failed, or of checks that did not pass.
    said: list[str]
    # Of each partition, as far as it was planned; those with items not used; those of them that
    # have more than is tolerated, so that nothing was folded.
    counts: list[Counts]
    bad: list[Counts]
    beyond: list[Counts]
    # The most frequent reasons, with items.
    reasons: list[tuple[str, int]]
    # Of a unit that finished; None where the run's summary cannot be read.
    profiles: int | None
    # What is wrong with each partition: equal texts are the same trouble. "" where nothing is.
    causes: dict[str, str]


def ended_at(record: dg.RunRecord) -> datetime:
    """Return when a run ended."""
    if record.end_time is None:
        return record.update_timestamp
    return datetime.fromtimestamp(record.end_time, UTC)


def retry_status(instance: dg.DagsterInstance, record: dg.RunRecord) -> RetryStatus:
    """Tell whether a run that ended is the last try at its units.

    Dagster may try a failed run again, unless a command started it. It writes that it will just
    after the failure, and that it did when the retry starts; in between it may drop the retry
    without a word.
    """
    run = record.dagster_run
    if run.status != dg.DagsterRunStatus.FAILURE or not run.remote_job_origin:
        return "over"
    if run.tags.get("dagster/auto_retry_run_id"):
        return "retried"
    is_off = not instance.run_retries_enabled or run.tags.get("dagster/will_retry") == "false"
    is_old = datetime.now(UTC) - record.update_timestamp > RETRY_COMES
    return "over" if is_off or is_old else "undecided"


def assets_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[Asset]:
    """Return those of our assets that a run was to materialise; none where it only checks them.

    From its steps: not every way to start a run leaves a selection of assets with it.
    """
    names = {step.partition(".")[0] for step in _steps(instance, run)}
    return [asset for name, asset in assets().items() if name in names]


def report_of(
    instance: dg.DagsterInstance,
    ledger: Ledger,
    blocks: BlockStore,
    record: dg.RunRecord,
    asset: Asset,
) -> RunReport | None:
    """Return what became of an asset in a run; None where the run did not come to it."""
    run = record.dagster_run
    plans = _plans(instance, ledger, run, asset)
    entries = instance.all_logs(run.run_id, of_type=FAILURE_EVENTS)
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    steps = step_errors(events)
    said = [f"{step}: {text}" for step, text in steps if _is_of(asset, step)]
    outcome: Outcome = "finished"
    if run.status == dg.DagsterRunStatus.CANCELED:
        outcome = "cancelled"
    elif run.status == dg.DagsterRunStatus.FAILURE:
        if said or not steps:
            outcome, said = "failed", said or [run_error(events)]
            said = [STOPPED_TEXT] if was_stopped(run) else said
        elif not plans or any(plan["state"] not in DONE for plan in plans):
            return None  # another asset's failure came before, and is told with that asset
    if outcome == "finished":
        said = _failed_checks(instance, run.run_id, asset)
    return _unit(ledger, blocks, record, asset, plans, outcome, said)


def _unit(
    ledger: Ledger,
    blocks: BlockStore,
    record: dg.RunRecord,
    asset: Asset,
    plans: Sequence[Document],
    outcome: Outcome,
    said: list[str],
) -> RunReport:
    run, ended = record.dagster_run, ended_at(record)
    by_id = {plan["_id"]: plan for plan in plans}
    found = _counted(ledger, plans)
    bad = [one for one in found if one.bad and not one.unchanged_since]
    refused = [one for one in bad if by_id[one.plan]["state"] == "refused"]
    beyond = [one for one in refused if exceeds_tolerance(asset, one)]
    partitions, alike = _partitions(asset, run, plans), fingerprint(said)
    at_fault = beyond if outcome == "failed" else bad
    return RunReport(
        asset=asset,
        run=run.run_id,
        ended=ended,
        outcome=outcome,
        job=_job(run),
        partitions=partitions,
        seconds=ended.timestamp() - record.start_time if record.start_time else None,
        said=said,
        counts=found,
        bad=bad,
        beyond=beyond,
        reasons=frequent_reasons(ledger, [by_id[one.plan] for one in bad]),
        profiles=_profiles(blocks, run.run_id, asset) if outcome == "finished" else None,
        causes=dict.fromkeys(partitions or [""], alike)
        | _causes(ledger, by_id, at_fault, outcome, alike),
    )


def _causes(
    ledger: Ledger,
    plans: Mapping[str, Document],
    of: Sequence[Counts],
    outcome: Outcome,
    said: str,
) -> dict[str, str]:
    """Return the causes of partitions whose items are at fault.

    A failure with other numbers is the same; a warning is not.
    """
    causes = {}
    for one in of:
        reasons = fingerprint([reason for reason, _ in frequent_reasons(ledger, [plans[one.plan]])])
        numbers = [] if outcome == "failed" else [one.dead, one.discarded, one.failed, said]
        causes[one.partition] = digest([reasons, numbers])[:20]
    return causes


def _steps(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Sequence[str]:
    """Return the steps that a run was to execute; of mapped ones the step that they are made of."""
    at = run.execution_plan_snapshot_id
    return instance.get_execution_plan_snapshot(at).step_keys_to_execute if at else []


def _plans(
    instance: dg.DagsterInstance, ledger: Ledger, run: dg.DagsterRun, asset: Asset
) -> list[Document]:
    """Return an asset's plans; a run from another's failure on has those of the other."""
    plans = [plan for plan in ledger.plans_of_run(run.run_id) if plan["asset"] == asset.name]
    before = instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    if plans or before is None or f"{asset.name}.queue_batches" in _steps(instance, run):
        return plans
    return _plans(instance, ledger, before, asset)


def _partitions(asset: Asset, run: dg.DagsterRun, plans: Sequence[Document]) -> list[str]:
    """Return what the run was asked for, or else what it planned."""
    if first := run.tags.get("dagster/asset_partition_range_start"):
        return asset.partitions.between(first, run.tags["dagster/asset_partition_range_end"])
    if one := run.tags.get("dagster/partition"):
        return [one]
    return sorted(plan["partition"] for plan in plans)


def _job(run: dg.DagsterRun) -> Job:
    if REDRIVE_TAG in run.tags:
        return "redrive"
    return "rebuild" if GENERATION_TAG in run.tags else "run"


def _is_of(asset: Asset, step: str) -> bool:
    return step.partition(".")[0] in (asset.name, f"{asset.name}_checks")


def _failed_checks(instance: dg.DagsterInstance, run: str, asset: Asset) -> list[str]:
    """Return what checks say that found more than a reason for a warning."""
    entries = instance.all_logs(run, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [e.dagster_event.asset_check_evaluation_data for e in entries if e.dagster_event]
    return [
        f"{one.check_name} did not pass: {one.description}"
        for one in found
        if one.asset_key == dg.AssetKey(asset.name)
        and not one.passed
        and one.severity == dg.AssetCheckSeverity.ERROR
    ]


def _counted(ledger: Ledger, plans: Sequence[Document]) -> list[Counts]:
    found = []
    for plan in plans:
        if "counts" in plan:
            found.append(Counts.of(plan["counts"]))
            continue
        try:
            found.append(count_plan(ledger, plan, ledger.batches_of(plan)))
        except Refused:  # a batch does not add up: the run failed for it, and says so
            continue
    return found


def _profiles(blocks: BlockStore, run: str, asset: Asset) -> int | None:
    once = BlockStore(blocks.client, blocks.bucket, patience=0)
    try:
        summary = once.get_json(summary_key(run, asset.name))
    except FanfoldError:  # that S3 is away is to be told, not waited for
        return None
    profiles: int = summary["profiles"]
    return profiles
