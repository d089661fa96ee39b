"""What the processes of a run share: Dagster's home, and the server that ops are forked from.

It imports nothing large, so that a command can have the fork server import beside itself.
"""

import os
from multiprocessing import forkserver
from pathlib import Path

from workers.errors import Refused

# What the local executor's fork server imports; Dagster puts the first of them there by itself.
FORK_SERVER_MODULES = ["dagster._core.executor.multiprocess", "pipelines.preload"]

PROJECT = Path(__file__).parent.parent


def executor_name() -> str:
    """Return what FANFOLD_EXECUTOR says."""
    return os.environ.get("FANFOLD_EXECUTOR") or "local"


def enter_home() -> None:
    """Make sure that DAGSTER_HOME is set: to the project's folder, where it is not."""
    if "DAGSTER_HOME" in os.environ:
        return

    if not (PROJECT / "dagster.yaml").exists():
        raise Refused("DAGSTER_HOME is not set; set it to the folder of your dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(PROJECT)
    os.chdir(PROJECT)  # dagster.yaml names its folders from here


def workspace_file() -> Path:
    """Return the workspace.yaml beside the dagster.yaml in use, else the project's."""
    home = Path(os.environ.get("DAGSTER_HOME", PROJECT)) / "workspace.yaml"
    return home if home.exists() else PROJECT / "workspace.yaml"


def start_fork_server() -> None:
    """Start the local executor's fork server, unless it runs; else the first op would."""
    if executor_name() == "local":
        forkserver.set_forkserver_preload(FORK_SERVER_MODULES)
        forkserver.ensure_running()


def stop_fork_server() -> None:
    """Stop the fork server; else it outlives us for a moment."""
    forkserver._forkserver._stop()  # noqa: SLF001  Python has no public name for it
