"""What workers leave that ended without a word: the op goes on, and reconcile has the rest run."""

from types import SimpleNamespace

import pytest

from pipelines.launchers import attempt
from pipelines.launchers.inline import launch_inline
from pipelines.runs import materialise
from tests.support.pipeline import DAY, event
from workers.launched import SOME_OPEN
from workers.ledger.shares import MAX_PLAIN


@pytest.fixture
def launches(pipeline, monkeypatch):
    """The launches of a run whose first workers end without a word."""
    made = []

    def launch(launched):
        made.append(launched)
        if len(made) > launches_that_end:
            return launch_inline(launched)
        launched.ledger.begin(launched.batches[0])
        return SOME_OPEN

    launches_that_end = attempt.RETRIES
    monkeypatch.setattr("pipelines.errors.pause", lambda *_, **__: 0)
    monkeypatch.setattr(attempt, "launcher_of", lambda _: SimpleNamespace(launch=launch))
    pipeline.put([event("ann")])
    return made


def test_what_ends_worker_after_worker_is_run_before_the_outcomes_are_held_against_the_plans(
    pipeline, launches
):
    summary = materialise(pipeline.asset, [DAY])
    assert summary["success"], summary["errors"]
    assert pipeline.verify().match

    *ended, rest = launches
    assert len(ended) == attempt.RETRIES
    assert (rest.reference.number, rest.batches) == (1, ended[0].batches)


def test_after_two_workers_the_third_calls_the_task_in_processes_apart(pipeline, launches):
    materialise(pipeline.asset, [DAY])
    *ended, rest = (launched.reference.is_isolated for launched in launches)
    assert ended == [False] * MAX_PLAIN + [True] * (attempt.RETRIES - MAX_PLAIN)
    assert rest
