"""Nothing is lost and nothing counted twice while workers, runs and servers are killed."""

import subprocess
import sys

from tests.proofs.chaos_processes import PROJECT

SECONDS = 600  # many times what it takes; a machine that does other things is slow


def test_six_kills_lose_nothing_and_count_nothing_twice(servers):
    """A short run of tests/proofs/chaos.py, which has servers of its own."""
    command = [sys.executable, "-m", "tests.proofs.chaos"]
    command += ["--kills", "6", "--days", "2", "--seed", "4", "--pause", "0.01"]
    chaos = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)

    try:
        report, _ = chaos.communicate(timeout=SECONDS)
    finally:
        if chaos.poll() is None:
            chaos.terminate()  # it stops its servers then
            chaos.wait(SECONDS)

    assert chaos.returncode == 0, report
