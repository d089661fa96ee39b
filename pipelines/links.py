"""Where people are sent: links into Dagster's UI, from a terminal and from messages."""

import os

DEFAULT_UI_URL = "http://127.0.0.1:3000"


def run_link(run_id: str) -> str:
    """Return where the UI shows a run."""
    ui = (os.environ.get("FANFOLD_UI_URL") or DEFAULT_UI_URL).rstrip("/")
    return f"{ui}/runs/{run_id}"
