"""The environment of processes in which `user_profiles` is declared otherwise."""

import os
from pathlib import Path

PROJECT = Path(__file__).parents[2]
DECLARES = PROJECT / "tests/support/declares"


def declaring(*names: str) -> dict[str, str]:
    """Return the variables of processes with these declarations: see declares/sitecustomize.py."""
    path = f"{DECLARES}{os.pathsep}{PROJECT}"
    return {"PYTHONPATH": path, "TESTS_DECLARE": ",".join(names)} if names else {}
