"""A worker whose batches failed for good, in the run's chart: its step counts as failed.

While the run is on its way the step succeeds, or Dagster would leave out all that is behind it.
What failed for good is known in reconcile, which then writes into the run's log that the step did.
"""

import logging
import re
from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.dependency import NodeHandle
from dagster._core.events import DagsterEvent
from dagster._core.execution.plan.handle import ResolvedFromDynamicStepHandle
from dagster._core.execution.plan.objects import ErrorSource, StepFailureData, UserFailureData

from pipelines.errors import FAILED_BATCHES
from pipelines.pages.tables import failed_batches, to_mend
from pipelines.summaries import counted
from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch

MAX_SHOWN = 20  # workers of a run
STEP_OF_SHARE = re.compile(r"^(.+)\[(\w+__(\d+))\]$")  # how queue_batches names a worker's step


def show_failed(context: dg.OpExecutionContext, asset: Asset, ledger: Ledger) -> None:
    """Write that the steps of workers failed whose batches did, each with its batches and why.

    Not for a redrive: where it failed, dead letters are as they were, and the run may succeed.
    """
    failed = ledger.shares.failed(asset.name, context.run_id)
    if not failed:
        return

    steps = {}
    for key in context.get_step_execution_context().step.get_execution_dependency_keys():
        if match := STEP_OF_SHARE.match(key):
            node, mapping_key, number = match.groups()
            handle = NodeHandle.from_string(node)
            steps[int(number)] = ResolvedFromDynamicStepHandle(handle, mapping_key)

    numbers = [number for number in sorted(failed) if number in steps]
    for number in numbers[:MAX_SHOWN]:
        batches = list(ledger.batches_by_id(failed[number]).values())
        event = DagsterEvent(
            event_type_value=dg.DagsterEventType.STEP_FAILURE.value,
            job_name=context.job_name,
            step_handle=steps[number],
            event_specific_data=failure_of_batches(asset, ledger, batches),
            message=f"{counted(len(batches), 'batch')} of this worker failed.",
        )
        context.instance.report_dagster_event(event, context.run_id, logging.ERROR)


def failure_of_batches(asset: Asset, ledger: Ledger, batches: Sequence[Batch]) -> StepFailureData:
    """Return what the step of a worker failed with, given its failed batches."""
    tables = failed_batches(batches) | to_mend(asset, ledger, batches)
    data = UserFailureData(FAILED_BATCHES, f"{counted(len(batches), 'batch')} failed", tables)
    return StepFailureData(None, data, ErrorSource.USER_CODE_ERROR)
