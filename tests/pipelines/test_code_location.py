"""Which code location `dagster asset materialize` loads: ours in our folder, else what is named."""

import os
import sys

import pytest

from tests.conftest import PROJECT

LINES = (PROJECT / "pipelines/dagster_code_location.pth").read_text().splitlines()
VARIABLE = "DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME"
SELECT = ("asset", "materialize", "--select", "user_profiles")


@pytest.fixture
def named(monkeypatch):
    """Return the module that a command in a folder finds named once Python has started."""

    def start(folder, *arguments):
        monkeypatch.setenv(VARIABLE, "")  # so that it is as before in the end
        monkeypatch.delenv(VARIABLE)
        monkeypatch.chdir(folder)
        # What Python has in front while it starts as `python -m dagster`.
        monkeypatch.setattr(sys, "argv", ["-m", *arguments])
        for line in LINES:
            if line.startswith("import"):
                exec(line, {})
        return os.environ.get(VARIABLE)

    return start


def test_in_the_projects_folder_it_is_the_projects(named):
    assert named(PROJECT, *SELECT, "--partition", "1998-04-01") == "pipelines.definitions"


@pytest.mark.parametrize("other", ["-f other.py", "-fother.py", "-m other", "--python-file=o.py"])
def test_a_command_that_names_another_has_that_one_alone(named, other):
    assert named(PROJECT, *SELECT, *other.split()) is None


def test_elsewhere_and_in_the_folder_of_another_workspace_none_is_named(named, tmp_path):
    assert named(tmp_path, *SELECT) is None
    (tmp_path / "workspace.yaml").write_text("load_from:\n  - python_module: theirs\n")
    assert named(tmp_path, *SELECT) is None


def test_other_commands_of_dagster_are_left_alone(named):
    assert named(PROJECT, "dev") is None
