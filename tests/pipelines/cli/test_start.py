"""What happens before a command is imported."""

import subprocess
import sys

import pytest

from pipelines.cli.start import starts_runs


@pytest.mark.parametrize("line", ["run user_profiles --partition 1998-04-01", "demo", "rebuild x"])
def test_commands_that_start_runs_have_their_fork_server_early(line):
    assert starts_runs(line.split())


@pytest.mark.parametrize("line", ["", "plan user_profiles", "run --help", "verify run"])
def test_other_commands_start_none(line):
    assert not starts_runs(line.split())


def test_nothing_large_is_imported_before_it():
    code = "import sys, pipelines.cli.start; print({'dagster', 'pandas'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
