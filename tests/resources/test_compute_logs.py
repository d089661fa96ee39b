"""What an op prints is kept for the UI, and shown on the console."""

import subprocess
import sys

from resources.compute_logs import FileComputeLogManager

PRINTS = """
import os, sys
from resources.compute_logs import FileComputeLogManager

with FileComputeLogManager(sys.argv[1]).capture_logs(["run", "op"]):
    print("said by Python")
    os.system("echo said by a child")
    print("complained", file=sys.stderr)
    if len(sys.argv) > 2:
        raise ValueError("out of luck")
print("after")
"""


def printed(folder, *more):
    """Run a program that prints under capture; return it, and what was kept."""
    command = [sys.executable, "-c", PRINTS, str(folder), *more]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    kept = FileComputeLogManager(str(folder)).get_log_data(["run", "op"])
    return process, kept


def test_what_an_op_prints_is_kept_and_shown_too(tmp_path):
    process, kept = printed(tmp_path)
    assert kept.stdout == b"said by Python\nsaid by a child\n"
    assert kept.stderr == b"complained\n"
    assert process.stdout == "said by Python\nsaid by a child\nafter\n"
    assert process.stderr == "complained\n"


def test_another_attempt_is_kept_behind_the_first_and_shown_by_itself(tmp_path):
    printed(tmp_path)
    process, kept = printed(tmp_path)
    assert kept.stderr == b"complained\n" * 2
    assert process.stderr == "complained\n"


def test_what_an_op_printed_before_it_failed_is_kept_and_shown(tmp_path):
    process, kept = printed(tmp_path, "fails")
    assert kept.stdout == b"said by Python\nsaid by a child\n"
    assert process.stdout == "said by Python\nsaid by a child\n"
    assert "out of luck" in process.stderr
