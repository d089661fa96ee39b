"""Checks that the UI shows on each asset, by partition: lost, twice, tolerated, usual; up to date.

A run evaluates them for each of its partitions, those that it does not fold included. Executed by
themselves, without a partition, they look at the newest one that is folded.
"""

import logging
import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Target,
)
from dagster._core.events import (
    DagsterEvent,
    DagsterEventBatchMetadata,
    DagsterEventType,
    generate_event_batch_id,
)

from pipelines.checks.findings import (
    BY_PARTITION,
    Finding,
    nothing_lost,
    nothing_twice,
    of_refused,
    within_tolerance,
)
from pipelines.checks.up_to_date import UP_TO_DATE, up_to_date
from pipelines.checks.usual import as_usual
from pipelines.doors import Mongo, Store, after_a_crash
from pipelines.errors import FIRST_FIELDS, explained
from resources.event_log import BatchEventLog
from workers.declare.asset import Asset
from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.ledger.records import Plan, PlanState
from workers.store import BlockStore

DESCRIPTIONS = {
    "nothing_lost": "Items planned = items used + dead letters, and every letter is there.",
    "nothing_twice": "A sample of profiles says what the raw blocks of a partition say.",
    "within_tolerance": "Every item could be used; where not, warns with the reasons.",
    "as_usual": "A partition is like the same weekdays or hours around; where not, warns.",
}
OF_ASSET = "The newest partition that has ended is folded; where not, warns."


def fold_checks(
    asset: Asset, partitions: dg.TimeWindowPartitionsDefinition
) -> dg.AssetChecksDefinition:
    """Return the asset's checks: one step, after the partitions of a run are folded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # of checks by partition
        specs = [
            dg.AssetCheckSpec(
                name, asset=asset.name, description=DESCRIPTIONS[name], partitions_def=partitions
            )
            for name in BY_PARTITION
        ]
    specs.append(dg.AssetCheckSpec(UP_TO_DATE, asset=asset.name, description=OF_ASSET))

    @dg.multi_asset_check(
        name=f"{asset.name}_checks", specs=specs, can_subset=True, retry_policy=after_a_crash()
    )
    def checks(
        context: dg.AssetCheckExecutionContext, mongo: Mongo, store: Store
    ) -> Iterator[DagsterEvent | dg.Output[None]]:
        op = context.op_execution_context
        selected = {key.name for key in context.selected_asset_check_keys}
        partitions = op.partition_keys if op.has_partition_key_range or op.has_partition_key else []
        with explained(op):
            ledger = Ledger(mongo)
            findings = evaluate(asset, ledger, store, context.run.run_id, partitions, selected)
        yield from logged(op, asset, findings)
        for name in selected:
            yield dg.Output(None, f"{asset.name}_{name}")

    return checks


def evaluate(
    asset: Asset,
    ledger: Ledger,
    store: BlockStore,
    run: str,
    partitions: Sequence[str] = (),
    checks: Collection[str] = (*BY_PARTITION, UP_TO_DATE),
) -> list[Finding]:
    """Return what checks say of the partitions of a run, or of some others."""
    plans = checked_plans(asset, ledger, run, partitions)
    folded = [plan for plan in plans if plan.state is PlanState.FOLDED]
    refused = [plan for plan in plans if plan.state is not PlanState.FOLDED]

    found: list[list[Finding]] = []
    if "nothing_lost" in checks:
        found.append(nothing_lost(ledger, folded))
    if "nothing_twice" in checks:
        found.append(nothing_twice(asset, ledger, store, folded))
    if "within_tolerance" in checks:
        found.append(within_tolerance(asset, ledger, folded))
    if "as_usual" in checks:
        found.append(as_usual(asset, ledger, folded, run))
    if refused:
        found.append([each for each in of_refused(asset, ledger, refused) if each.check in checks])
    if UP_TO_DATE in checks:
        found.append([up_to_date(asset, ledger)])
    return list(chain.from_iterable(found))


def checked_plans(
    asset: Asset, ledger: Ledger, run: str, partitions: Sequence[str] = ()
) -> list[Plan]:
    """Return the plans that a run folded or refused, in their order.

    A run of checks alone has none: then those of these partitions, or that of the newest folded.
    """
    plans = [plan for plan in ledger.plans_of_run(run) if plan.asset == asset.name]
    if not plans and partitions:
        plans = list(ledger.newest_plans(asset.name, partitions).values())
    if not plans:
        generation = ledger.claims.generation(asset.name)
        newest = ledger.folded.newest_folded(asset.name, generation)
        if newest:
            plans = list(ledger.folded.newest_folds(asset.name, generation, newest).values())
    return sorted(filter(_is_decided, plans), key=lambda plan: plan.partition)


def _is_decided(plan: Plan) -> bool:
    return plan.state is PlanState.FOLDED or (bool(plan.why) and not plan.state.is_settled)


@contextmanager
def judged(context: dg.OpExecutionContext, asset: Asset, ledger: Ledger) -> Iterator[None]:
    """Let checks say of each partition why it is not folded, where none of a run is."""
    try:
        yield
    except Refused:
        plans = checked_plans(asset, ledger, context.run_id, context.partition_keys)
        refused = [plan for plan in plans if plan.state is not PlanState.FOLDED]
        findings = [*of_refused(asset, ledger, refused), up_to_date(asset, ledger)]
        for _ in logged(context, asset, findings):
            pass
        raise


def logged(
    context: dg.OpExecutionContext, asset: Asset, findings: Sequence[Finding]
) -> Iterator[DagsterEvent]:
    """Log what checks found; yield as events what the run's summary tells of it.

    Hundreds of partitions have a few findings each, so they take a short way into the event log,
    and in one transaction where it can.
    """
    instance, step = context.instance, context.get_step_execution_context()
    latest = _latest(instance, asset, findings)
    is_batch = isinstance(instance.event_log_storage, BatchEventLog)
    batch_id, now = generate_event_batch_id(), time.time()
    for number, finding in enumerate(findings, 1):
        event = DagsterEvent(
            event_type_value=DagsterEventType.ASSET_CHECK_EVALUATION.value,
            job_name=step.job_name,
            step_handle=step.step.handle,
            event_specific_data=_evaluation(asset, finding, latest, context.run_id, now),
            message=finding.description,
        )
        entry = dg.EventLogEntry(
            error_info=None,
            level=logging.DEBUG,
            user_message="",
            run_id=context.run_id,
            timestamp=now,
            step_key=event.step_key,
            job_name=event.job_name,
            dagster_event=event,
        )
        batch = DagsterEventBatchMetadata(batch_id, number == len(findings)) if is_batch else None
        instance.handle_new_event(entry, batch_metadata=batch)
        if not finding.passed or FIRST_FIELDS in finding.metadata:
            yield event


def _evaluation(
    asset: Asset, finding: Finding, latest: Mapping[str | None, int], run: str, now: float
) -> dg.AssetCheckEvaluation:
    """Return Dagster's form of a finding, about the latest materialisation."""
    target = None
    if finding.partition in latest:
        target = Target(storage_id=latest[finding.partition], run_id=run, timestamp=now)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset.name),
        check_name=finding.check,
        partition=finding.partition,
        passed=finding.passed,
        description=finding.description,
        metadata=finding.metadata,
        severity=finding.severity,
        target_materialization_data=target,
    )


def _latest(
    instance: dg.DagsterInstance, asset: Asset, findings: Sequence[Finding]
) -> dict[str | None, int]:
    """Return the latest materialisations of what findings are about: they hold for these alone."""
    key = dg.AssetKey(asset.name)
    storage = instance.event_log_storage
    partitions = {finding.partition for finding in findings if finding.partition}
    kind = DagsterEventType.ASSET_MATERIALIZATION
    ids: dict[str | None, int] = {}
    if partitions:
        ids |= storage.get_latest_storage_id_by_partition(key, kind, partitions)
    for record in instance.get_asset_records([key]):
        if (latest := record.asset_entry.last_materialization_storage_id) is not None:
            ids[None] = latest
    return ids
