"""Every asset goes through the same: run, verify, redrive, replay, and a kill in the middle."""

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from pipelines.jobs import redrive_job_name
from pipelines.runs import materialise
from tests.conftest import PROJECT
from tests.support.pipeline import Pipeline, event, lines
from tests.support.web import serving
from workers.assets import assets
from workers.declare.task import load_task

BAD = "bad"  # is in the id of the profile that a fragile task fails on


@dataclass(frozen=True)
class Scenario:
    """What an asset needs to be run once, with one profile whose id holds BAD."""

    partition: str
    # Puts its blocks, and whatever must be there before; gets the address of a web server.
    put: Callable[[Pipeline, str], None]
    # The column of what its task gets that names the profile.
    column: str
    # Whether another run says the same again; a page that is visited again was visited twice.
    repeats: bool = True


def put_events(pipeline: Pipeline, web: str) -> None:
    pipeline.put([event(f"user{n % 40}", author="user1", topics=["War"]) for n in range(400)])
    pipeline.put([event(BAD), b"no event"], name="b.jsonl.gz")


def put_profiles(pipeline: Pipeline, web: str) -> None:
    put_events(pipeline, web)
    replace(pipeline, asset=assets()["user_profiles"]).run()


def put_readings(pipeline: Pipeline, web: str) -> None:
    readings = [f"{device},temp,{n / 7},2013-01-02T{n:02}:00Z" for device in "ab" for n in range(9)]
    body = "\n".join(["device,metric,value,ts", *readings, "a,temp,NA,2013-01-02T10:00Z"])
    pipeline.store.put(
        "readings/dt=2013-01-02/a.csv", f"{body}\n{BAD},temp,1,1357084800\n".encode()
    )


def put_archive(pipeline: Pipeline, web: str) -> None:
    def starred(login: str) -> dict:
        return {
            "type": "WatchEvent",
            "actor": {"login": login},
            "repo": {"name": "owner/a.repo"},
            "created_at": "2015-06-01T05:00:00Z",
        }

    body = lines([starred(name) for name in ("ann", "bo", "ann", BAD)])
    pipeline.store.put("github/2015-06-01-5.json.gz", gzip.compress(body))


def put_urls(pipeline: Pipeline, web: str) -> None:
    urls = [f"{web}/page/{n}" for n in range(30)] + [f"{web}/{BAD}"]
    pipeline.store.put("pages/dt=2026-01-02/urls.txt", "\n".join(urls).encode())


SCENARIOS = {
    "device_profiles": Scenario("2013-01-02", put_readings, "device"),
    "github_profiles": Scenario("2015-06-01-05:00", put_archive, "actor"),
    "influence_scores": Scenario("1998-04-01", put_profiles, "id"),
    "page_profiles": Scenario("2026-01-02", put_urls, "url", repeats=False),
    "user_profiles": Scenario("1998-04-01", put_events, "user"),
}


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
    command = [sys.executable, "-m", "pipelines.cli.main", "run", name, "--json"]
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
