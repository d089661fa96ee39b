"""Which runs Dagster calls in progress; a page of its own, as it imports Dagster."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from pipelines.lost_runs import is_lost
from pipelines.processes import enter_home


def in_progress(run_ids: Sequence[str]) -> set[str]:
    """Return those of these runs that are in progress, and whose process is not gone."""
    enter_home()
    which = dg.RunsFilter(run_ids=list(run_ids), statuses=IN_PROGRESS_RUN_STATUSES)
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(which)
        return {run.run_id for run in runs if not is_lost(instance, run)}
