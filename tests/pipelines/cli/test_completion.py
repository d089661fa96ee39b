"""What a shell completes: assets by their files, partitions by the ledger; nothing is started."""

import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from pipelines.cli.main import cli
from tests.support.pipeline import DAY, event
from workers.assets import assets

NEXT = "1998-04-02"


def completed(*words):
    """Return what a shell may put in the place of the last word."""
    shell = ShellComplete(cli, {}, "fanfold", "_FANFOLD_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_commands_and_options_are_completed():
    assert completed("re") == ["rebuild", "redrive"]
    assert "--partition" in completed("run", "user_profiles", "--part")
    assert completed("dead-letters", "user_profiles", "--state", "re") == ["redriven"]


def test_assets_are_completed_by_the_names_of_their_files():
    assert completed("run", "") == sorted(assets())
    assert completed("dead-letters", "user") == ["user_profiles"]


def test_partitions_are_those_that_runs_have_planned(pipeline):
    pipeline.put([event()])
    pipeline.run(DAY, NEXT)
    assert completed("run", "user_profiles", "--partition", "1998-04") == [DAY, NEXT]
    assert completed("run", "user_profiles", "--partition", "1999") == []
    assert completed("run", "device_profiles", "--partition", "") == []


def test_a_range_is_completed_one_end_after_the_other(pipeline):
    pipeline.put([event()])
    pipeline.run(DAY, NEXT)
    call = ("run", "user_profiles", "--partitions")
    assert completed(*call, "1998") == [f"{DAY}...", f"{NEXT}..."]
    assert completed(*call, f"{NEXT}...") == [f"{NEXT}...{NEXT}"]


def test_where_no_server_runs_nothing_is_completed_and_nothing_started(monkeypatch, tmp_path):
    monkeypatch.setenv("FANFOLD_HOME", str(tmp_path / "none"))
    assert completed("run", "user_profiles", "--partition", "") == []
    assert not (tmp_path / "none").exists()


def test_a_server_that_does_not_answer_is_not_waited_for(monkeypatch, pipeline):
    monkeypatch.setattr("pipelines.cli.completion.ANSWER_SECONDS", 0.1)
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:9")
    assert completed("run", "user_profiles", "--partition", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_ask(fanfold, shell):
    code, out, _ = fanfold("completion", shell)
    assert code == 0
    assert f"_FANFOLD_COMPLETE={shell}_complete" in out


def test_assets_are_completed_before_anything_large_is_imported():
    code = """
import sys
from click.shell_completion import ShellComplete
from pipelines.cli.main import cli
ShellComplete(cli, {}, "fanfold", "_X").get_completions(["run"], "")
print({"dagster", "pandas", "pymongo"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
