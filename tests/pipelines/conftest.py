"""The command line, called as a shell would, and those who hear of runs."""

import json
import sys
import threading

import pytest

from pipelines.cli.main import main
from tests.support.webhook import Hook, Watch


@pytest.fixture
def fanfold(pipeline, capsys, monkeypatch):
    """Call the command as a shell would; return (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["fanfold", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        output = capsys.readouterr()
        return exit_.value.code or 0, output.out, output.err

    return call


def told(answer):
    """Return the one JSON document that a command printed."""
    code, out, _ = answer
    return code, json.loads(out)


@pytest.fixture
def hook(monkeypatch):
    with Hook() as hook:
        threading.Thread(target=hook.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("FANFOLD_NOTIFY_WEBHOOK", hook.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield hook
        hook.shutdown()


@pytest.fixture
def watch(pipeline, monkeypatch):
    monkeypatch.setattr("workers.retry.uniform", lambda low, high: 0.0)  # retries come at once
    return Watch(pipeline)
