"""The executor that hands a run's steps to `fanfold worker`, wherever that runs."""

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import StepDelegatingExecutor

from pipelines.celery.broker import Broker, queue_name
from pipelines.celery.handler import LEDGER_SECONDS, CeleryStepHandler
from resources.s3 import location_settings
from workers.errors import Unavailable
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database

EVENTS_SECONDS = 0.1  # between looks at what steps say
HEALTH_SECONDS = 3  # between looks at their workers


class CeleryExecutor(StepDelegatingExecutor):
    """Follows the events of steps, and takes those that count."""

    def __init__(self, handler: CeleryStepHandler) -> None:
        super().__init__(
            handler,
            retries=RetryMode.ENABLED,
            sleep_seconds=EVENTS_SECONDS,
            check_step_health_interval_seconds=HEALTH_SECONDS,
        )
        self.handler = handler
        # Of which nobody can tell yet whether they count.
        self._undecided: list[dg.DagsterEvent] = []

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Hand out the steps of a plan, and yield what they say."""
        try:
            yield from super().execute(plan_context, execution_plan)
        finally:
            self.handler.close()

    def _pop_events(
        self, instance: dg.DagsterInstance, run_id: str, seen_storage_ids: set[int]
    ) -> Sequence[dg.DagsterEvent]:
        is_resumed = self._event_cursor is None and not self.handler.attempts
        events = super()._pop_events(instance, run_id, seen_storage_ids)
        if is_resumed:  # by another process of the run, and these are all that it has been told
            return events

        undecided = [*self._undecided, *events]
        counted = []
        try:
            while undecided:
                if self.handler.counts(undecided[0]):
                    counted.append(undecided[0])
                undecided.pop(0)
        except Unavailable:  # they are looked at again
            if self.handler.ledger_away_seconds > LEDGER_SECONDS:
                raise
        self._undecided = undecided
        return counted


@dg.executor(name="celery", requirements=multiple_process_executor_requirements())
def celery(_context: dg.InitExecutorContext) -> CeleryExecutor:
    """Hand the steps of a run to the workers that take them from the broker."""
    settings = location_settings()
    ledger = Ledger(open_database(settings, patient=False))
    return CeleryExecutor(CeleryStepHandler(Broker(queue_name(settings)), ledger))
