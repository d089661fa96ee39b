"""What a figure needs to be compared with: the machine, the versions and the commit."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from benchmarks.surroundings import CORES, PROJECT

PACKAGES = ("dagster", "pandas", "pyarrow", "pymongo", "polars", "celery", "distributed", "prefect")


def environment() -> dict[str, Any]:
    """Return what is known of the machine and of the code."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": CORES,
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "commit": commit(),
        "versions": {name: found for name in PACKAGES if (found := version_of(name))},
    }


def version_of(package: str) -> str:
    """Return the version of a package that is installed; "" for another."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def commit() -> str:
    """Return the commit that is checked out, with a + where files differ; "" outside of git."""
    git = ["git", "-C", str(PROJECT), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
