"""Doors to servers: settings in, the objects that workers take out.

The work behind the doors belongs in workers; what uses them, and when, in pipelines.

Read: servers (the command line of each embedded one), embedded (which are needed, and run), s3,
blocks and mongo (Dagster's resources), door (S3 without Dagster), io_manager (what crosses between
ops), run_queue (which run is next), sqlite and event_log (Dagster's own storage in SQLite),
compute_logs (what ops print).
"""

from importlib.util import find_spec

# Asked for, and not imported: that takes a second.
if find_spec("dagster") is None:
    raise ModuleNotFoundError(
        "Dagster is not installed here, and all but a worker (`python -m workers`) needs it: "
        "pip install 'fanfold[dagster]'",
        name="dagster",
    )
