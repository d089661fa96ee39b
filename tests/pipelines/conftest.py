"""The command line, called as a shell would."""

import json
import sys

import pytest

from pipelines import cli


@pytest.fixture
def fanfold(world, capsys, monkeypatch):
    """Call the command as a shell would; return (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["fanfold", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return call


def told(answer):
    """Return the one JSON document that a command printed."""
    code, out, _ = answer
    return code, json.loads(out)
