"""A run whose items end its workers: they cost themselves alone, and the run goes on."""

import json
import subprocess
import sys

import pytest

from tests.support.declared import PROJECT, declaring
from tests.support.pipeline import DAY, event


@pytest.fixture
def run_deadly(pipeline, monkeypatch):
    """Runs the day by the local executor, in processes in which some items are deadly."""
    for name, value in declaring("deadly").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FANFOLD_EXECUTOR", "local")

    def run(*words):
        pipeline.put([event(f"u{n}", item=f"i{n}") for n in range(200)])
        for number, word in enumerate(words):
            items = [event(f"v{n}", item=f"i{n}") for n in range(9)]
            pipeline.put([*items, event("bob", item=word)], name=f"{number}.jsonl")
        command = [sys.executable, "-m", "pipelines.cli.main", "run", "user_profiles"]
        command += ["--partition", DAY, "--json"]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    return run


def test_a_run_goes_on_without_the_items_that_end_its_workers(pipeline, run_deadly):
    ended = run_deadly("kill", "hang")
    assert ended.returncode == 0, ended.stderr
    summary = json.loads(ended.stdout)
    assert (summary["items"], summary["items_used"], summary["dead_letters"]) == (220, 218, 2)

    letters = pipeline.ledger.dead_letters.find("user_profiles", DAY)
    assert {(letter.kind, letter.reason, letter.place.position > 0) for letter in letters} == {
        ("killed", "ended the worker with signal 9", True),
        ("stuck", "took longer than 10 s", True),
    }
