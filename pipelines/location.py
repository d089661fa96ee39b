"""Where Dagster's UI looks for a run: at a job of the code location that workspace.yaml names.

A run without that stands neither on its home page nor under its jobs.
"""

from pathlib import Path

import yaml
from dagster._core.errors import DagsterError
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths

from pipelines.processes import workspace_file

REPOSITORY = "__repository__"  # what Dagster calls definitions without a name of their own


def job_origin(job: str, workspace: Path | None = None) -> RemoteJobOrigin | None:
    """Return where the UI finds a job; None where no workspace.yaml says."""
    path = workspace or workspace_file()
    try:
        origins = location_origins_from_yaml_paths([str(path)])
    except (OSError, yaml.YAMLError, DagsterError):
        return None  # the run is as good without it
    if not origins:
        return None
    return RemoteRepositoryOrigin(origins[0], REPOSITORY).get_job_origin(job)
