"""Every asset goes through the same: run, verify, redrive, replay, and a kill in the middle."""

import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest

from pipelines.jobs import redrive_job_name
from pipelines.runs import materialise
from tests.conftest import PROJECT
from tests.support.command import FANFOLD
from tests.support.scenarios import BAD, SCENARIOS
from tests.support.web import serving
from workers.assets import assets
from workers.declare.task import load_task


@pytest.fixture(params=assets())
def name(request):
    return request.param


@pytest.fixture
def scenario(name):
    return SCENARIOS[name]


@pytest.fixture
def prepared(pipeline, name, scenario, monkeypatch):
    """The pipeline of one asset, with its blocks, and a web server for a task that visits one."""
    monkeypatch.setattr("workers.retry.uniform", lambda low, high: 0.0)
    monkeypatch.setenv("FANFOLD_ALLOWED_NETWORKS", "127.0.0.1/32")
    monkeypatch.setenv("FANFOLD_HOST_DELAY_SECONDS", "0")
    of_asset = replace(pipeline, asset=assets()[name])
    with serving() as web:
        scenario.put(of_asset, web.url(""))
        yield of_asset


def fragile(monkeypatch, name, column):
    """Let an asset's task fail on what is about the profile with BAD in its id."""
    real = load_task(name)

    def contributions(items):
        if any(BAD in str(value) for value in items[column]):
            raise ZeroDivisionError("by something bad")
        return real.contributions(items)

    changed = replace(real, contributions=contributions)
    changed.__dict__["version"] = real.version
    monkeypatch.setattr(f"workers.tasks.{name}.task", changed)


def test_a_bad_item_is_left_out_and_redriven_and_a_replay_changes_nothing(
    prepared, name, scenario, monkeypatch
):
    with monkeypatch.context() as patch:
        fragile(patch, name, scenario.column)
        first = materialise(prepared.asset, [scenario.partition])
        assert first["success"], first["errors"]
        malformed = first["dead_letters"] - 1
        assert first["items"] == first["items_used"] + first["dead_letters"]
        assert prepared.verify().match
    job = redrive_job_name(prepared.asset)
    redriven = materialise(prepared.asset, [scenario.partition], job)

    assert redriven["success"], redriven["errors"]
    assert (redriven["items_redriven"], redriven["dead_letters"]) == (1, malformed)
    assert prepared.verify().match
    assert prepared.profiles.count_documents({"_id": {"$regex": BAD}}) == 1

    digest = prepared.verify().digest
    again = materialise(prepared.asset, [scenario.partition])

    assert again["success"], again["errors"]
    verdict = prepared.verify()
    assert verdict.match
    assert (verdict.digest == digest) == scenario.repeats


def test_a_run_killed_in_the_middle_is_completed_by_the_next(prepared, name, scenario):
    command = [*FANFOLD, "run", name, "--json"]
    command += ["--partition", scenario.partition]
    killed = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not prepared.ledger.plans.count_documents({"asset": name}):
        assert time.monotonic() < deadline
        assert killed.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    folded = prepared.ledger.plans.count_documents({"asset": name, "state": "folded"})
    summary = materialise(prepared.asset, [scenario.partition])

    assert summary["success"], summary["errors"]
    assert folded == 0
    assert summary["profiles"] > 0
    assert prepared.verify().match
