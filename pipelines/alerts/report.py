"""What became of an asset in a run that is over, from Dagster's records and the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import dagster as dg

from pipelines.alerts.run_records import (
    Command,
    check_failures_of,
    command_of,
    ended_at,
    failures_of,
    seconds_of,
    unusual_of,
)
from pipelines.errors import joined_texts
from pipelines.requested import requested_partitions
from pipelines.summaries import Summary, adoption_text
from resources.io_manager import summary_key
from resources.run_queue import steps_of
from workers.declare.asset import Asset
from workers.errors import FanfoldError, Refused
from workers.ledger.counts import count_plan, exceeds_tolerance
from workers.ledger.fingerprint import fingerprint
from workers.ledger.ledger import Ledger
from workers.ledger.losses import can_be_redriven, frequent_reasons
from workers.ledger.records import Plan, PlanState
from workers.store import BlockStore
from workers.values import Counts, digest

CAUSE_CHARACTERS = 20  # of a digest


class RunOutcome(StrEnum):
    """What became of an asset in a run."""

    # Its partitions are folded.
    FINISHED = "finished"
    # A step failed, or the run did not get as far as its steps.
    FAILED = "failed"
    # A person stopped the run in the UI.
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What became of an asset with the partitions of one run."""

    asset: Asset
    run: str
    ended: datetime
    outcome: RunOutcome
    command: Command
    partitions: list[str]
    # Those of them that are folded although others are not; empty where all are, or none.
    folded: list[str]
    # From the start of its execution to its end; None where it did not start.
    seconds: float | None
    # Why steps failed, or which checks did not pass. Where some partitions are folded, why others,
    # that do not lack more than is tolerated, are not.
    sentences: list[str]
    # Of each partition, as far as it was planned.
    counts: list[Counts]
    # Those of them with items that could not be used, and those of these that have more than is
    # tolerated, so that nothing was folded.
    incomplete: list[Counts]
    intolerable: list[Counts]
    # Partitions of which running the same bytes again may mend what they lack.
    redrivable: list[str]
    # The most frequent reasons, with items.
    reasons: list[tuple[str, int]]
    # Profiles that the run folded; None where it folded none, or its summary cannot be read.
    profiles: int | None
    # What the run did to documents of others, in a sentence; "" where it met none.
    adopted: str
    # The partitions whose numbers are not as usual, with these.
    unusual: dict[str, str]
    # What is wrong with each partition: equal texts are the same trouble. "" where nothing is.
    causes: dict[str, str]


class Checked(NamedTuple):
    """What checks say of a run's partitions."""

    # Those that did not pass, in sentences.
    failed: list[str]
    # By partition, the numbers that are not as usual.
    unusual: Mapping[str, list[dict[str, Any]]]


def report_run(
    asset: Asset,
    ledger: Ledger,
    store: BlockStore,
    instance: dg.DagsterInstance,
    record: dg.RunRecord,
) -> RunReport | None:
    """Return what became of an asset in a run; None where the run did not come to it."""
    run = record.dagster_run
    plans = _plans(asset, ledger, instance, run)

    outcome = RunOutcome.FINISHED
    sentences = []
    if run.status == dg.DagsterRunStatus.CANCELED:
        outcome = RunOutcome.CANCELLED
    elif run.status == dg.DagsterRunStatus.FAILURE:
        sentences = failures_of(asset, instance, run)
        if sentences:
            outcome = RunOutcome.FAILED
        elif not plans or not all(plan.state.is_settled for plan in plans):
            return None  # another asset's failure came before, and is told with that asset

    checked = Checked([], {})
    if outcome is RunOutcome.FINISHED or _folded(plans):
        failed = check_failures_of(asset, instance, run)
        checked = Checked(failed, unusual_of(asset, instance, run))
    return _report(asset, ledger, store, record, plans, outcome, sentences, checked)


def _folded(plans: Sequence[Plan]) -> list[str]:
    """Return the folded partitions of a run that left others out; none of a run that broke off."""
    others = [plan for plan in plans if not plan.state.is_settled]
    if not others or not all(plan.why for plan in others):
        return []
    return [plan.partition for plan in plans if plan.state.is_settled]


def _plans(
    asset: Asset, ledger: Ledger, instance: dg.DagsterInstance, run: dg.DagsterRun
) -> list[Plan]:
    """Return an asset's plans; a run from another's failure on has those of the other."""
    plans = [plan for plan in ledger.plans_of_run(run.run_id) if plan.asset == asset.name]
    if plans or not run.parent_run_id:
        return plans

    parent = instance.get_run_by_id(run.parent_run_id)
    if parent is None or f"{asset.name}.queue_batches" in steps_of(instance, run):
        return plans
    return _plans(asset, ledger, instance, parent)


def _report(
    asset: Asset,
    ledger: Ledger,
    store: BlockStore,
    record: dg.RunRecord,
    plans: Sequence[Plan],
    outcome: RunOutcome,
    failures: list[str],
    checked: Checked,
) -> RunReport:
    """Return the report of an asset whose outcome is known."""
    checks_failed, unusual = checked
    run = record.dagster_run
    partitions = requested_partitions(asset, run) or sorted(plan.partition for plan in plans)

    by_id = {plan.id: plan for plan in plans}
    counts = _counts(ledger, plans)
    incomplete = [each for each in counts if each.unused]
    intolerable = _intolerable(asset, by_id, incomplete)

    folded = _folded(plans) if outcome is RunOutcome.FAILED else []
    causes = dict.fromkeys(partitions or [""], fingerprint(failures or checks_failed))
    sentences = [*failures, *checks_failed]
    if folded:
        whys = _other_whys(plans, intolerable)
        causes |= dict.fromkeys(folded, fingerprint(checks_failed))
        causes |= {partition: fingerprint([why]) for partition, why in whys.items()}
        sentences = [*dict.fromkeys(whys.values()), *checks_failed]

    for each in incomplete:
        is_folded = outcome is not RunOutcome.FAILED or each.partition in folded
        if is_folded or each in intolerable:
            plan = by_id[each.plan]
            causes[each.partition] = _cause(ledger, plan, each, is_folded, checks_failed)

    for partition, numbers in unusual.items():
        measures = [number["measure"] for number in numbers]
        causes[partition] = digest([causes.get(partition, ""), measures])[:CAUSE_CHARACTERS]

    has_summary = outcome is RunOutcome.FINISHED or bool(folded)
    summary = _summary(asset, store, run.run_id) if has_summary else {}
    return RunReport(
        asset=asset,
        run=run.run_id,
        ended=ended_at(record),
        outcome=outcome,
        command=command_of(run),
        partitions=partitions,
        folded=folded,
        seconds=seconds_of(record),
        sentences=sentences,
        counts=counts,
        incomplete=incomplete,
        intolerable=intolerable,
        redrivable=[
            each.partition
            for each in incomplete
            if can_be_redriven(ledger, ledger.batches_of(by_id[each.plan]))
        ],
        reasons=frequent_reasons(ledger, [by_id[each.plan] for each in incomplete]),
        profiles=summary.get("profiles"),
        adopted=adoption_text(summary),
        unusual={partition: joined_texts(numbers) for partition, numbers in unusual.items()},
        causes=causes,
    )


def _counts(ledger: Ledger, plans: Sequence[Plan]) -> list[Counts]:
    """Return the counts of plans, whether they were folded or not."""
    every = []
    for plan in plans:
        if plan.counts:
            every.append(plan.counts)
            continue
        try:
            every.append(count_plan(ledger, plan, ledger.batches_of(plan)))
        except Refused:  # a batch does not add up: the run failed for it, and says so
            continue
    return every


def _intolerable(
    asset: Asset, plans: Mapping[str, Plan], incomplete: Sequence[Counts]
) -> list[Counts]:
    """Return the counts of partitions that were not folded, as too many items were not used."""
    refused = [each for each in incomplete if plans[each.plan].state is PlanState.REFUSED]
    return [each for each in refused if exceeds_tolerance(asset, each)]


def _other_whys(plans: Sequence[Plan], intolerable: Sequence[Counts]) -> dict[str, str]:
    """Return by partition why it is not folded, but for those that lack too much."""
    at_fault = {each.plan for each in intolerable}
    return {
        plan.partition: plan.why
        for plan in plans
        if not plan.state.is_settled and plan.id not in at_fault
    }


def _cause(
    ledger: Ledger, plan: Plan, counts: Counts, is_folded: bool, checks_failed: list[str]
) -> str:
    """Return why items of a partition were not used.

    A failure with other numbers is the same; a warning is not.
    """
    ranked = frequent_reasons(ledger, [plan])
    reasons = fingerprint([reason for reason, _ in ranked])

    numbers: list[int | str] = []
    if is_folded:
        numbers = [counts.dead, counts.discarded, counts.failed, fingerprint(checks_failed)]
    return digest([reasons, numbers])[:CAUSE_CHARACTERS]


def _summary(asset: Asset, store: BlockStore, run: str) -> Summary:
    """Return the summary that a run published; an empty one where it cannot be read."""
    impatient = BlockStore(store.client, store.bucket, patience=0)
    try:
        summary: Summary = impatient.get_json(summary_key(run, asset.name))
    except FanfoldError:  # that S3 is away is to be told, not waited for
        return {}
    return summary
