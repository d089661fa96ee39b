"""`python -m workers`: batches and shares from the ledger, by settings alone."""

import json
import subprocess
import sys

import pytest

from tests.support.pipeline import event
from workers import steps

DAYS = ["1998-04-01", "1998-04-02", "1998-04-03"]


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "workers", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def queued(pipeline):
    for day in DAYS:
        pipeline.put([event("ann"), event(f"user of {day}")], day)
    listed = pipeline.list_blocks(*DAYS)
    sliced = [steps.slice_blocks(*pipeline.four, group) for group in listed.groups]
    return steps.queue_batches(*pipeline.four, "a-run", listed, sliced, 1)


def test_a_command_runs_many_batches_and_prints_an_outcome_a_line(pipeline, queued):
    batch_ids = queued.work.to_run
    done = command("--batch", *batch_ids)
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["batch"], each["used"]) for each in outcomes] == [(id_, 2) for id_ in batch_ids]


def test_a_batch_that_is_not_there_costs_the_others_nothing(pipeline, queued):
    first, *_ = queued.work.to_run
    done = command("--batch", "none", first)
    assert done.returncode == 2
    assert "batch none is not in the ledger" in done.stderr
    assert pipeline.ledger.batch(first).is_done


def test_a_command_runs_a_share_and_says_nothing_on_stdout(pipeline, queued):
    done = command("--run", "a-run", "--share", "0")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert all(pipeline.ledger.batch(batch_id).is_done for batch_id in queued.shares[0])
    (worker,) = pipeline.ledger.workers.of_run("a-run")
    assert worker.ended


def test_a_batch_that_fails_for_good_is_an_outcome_too(pipeline, queued):
    (block,) = pipeline.store.list(f"events/dt={DAYS[0]}/")
    pipeline.store.delete(block.key)
    assert command("--run", "a-run", "--share", "0").returncode == 0
    states = {pipeline.ledger.batch(batch_id).state for batch_id in queued.shares[0]}
    assert "failed" in states
    assert states <= {"done", "failed"}


@pytest.mark.parametrize("arguments", [("--run", "none", "--share", "0"), ("--run", "a-run"), ()])
def test_a_share_that_is_not_there_is_refused(pipeline, arguments):
    assert command(*arguments).returncode == 2


def test_a_share_whose_batches_a_later_run_has_dealt_anew_is_refused(pipeline, queued):
    pipeline.ledger.shares.deal("later", queued.shares)
    done = command("--run", "a-run", "--share", "0")
    assert done.returncode == 2
    assert "dealt them anew" in done.stderr
