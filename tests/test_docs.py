"""What the documents have their reader type: the README's asset, and every command of `fanfold`."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest

from pipelines.cli.main import cli
from tests.conftest import PROJECT
from workers.rehearsal import rehearse

DOCUMENTS = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
# ```python workers/tasks/order_profiles.py
FILE, ASSET = re.search(
    r"^```python (\S+)\n(.*?)^```$", DOCUMENTS[0].read_text(), re.DOTALL | re.MULTILINE
).groups()


def commands_in(document):
    """Return the calls of `fanfold` that a document shows: indented, in shell blocks or in text."""
    text = document.read_text()
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    lines = re.findall(r"^ {4}(fanfold .+)$", text, re.MULTILINE)
    lines += re.findall(r"^(fanfold .+)$", blocks, re.MULTILINE)
    lines += re.findall(r"`(fanfold [^`\n]+)`", text)
    return sorted({line.split("#")[0].strip() for line in lines})


COMMANDS = [
    pytest.param(line, id=f"{document.stem}: {line}")
    for document in DOCUMENTS
    for line in commands_in(document)
]


@pytest.fixture
def order_profiles(tmp_path, monkeypatch):
    """The module that the README's file makes."""
    path = tmp_path / "order_profiles.py"
    path.write_text(ASSET)
    spec = importlib.util.spec_from_file_location("order_profiles", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "order_profiles", module)
    spec.loader.exec_module(module)
    return module


def test_the_asset_in_the_readme_passes_the_trial_of_every_asset(order_profiles):
    rehearse(order_profiles.task)
    assert order_profiles.asset.name == Path(FILE).stem
    assert order_profiles.asset.prefixes("2024-05-01") == ["orders/dt=2024-05-01/"]


def test_the_asset_in_the_readme_says_what_each_order_adds(order_profiles):
    orders = {"customer": ["ann", "ann"], "product": ["tea", "cup"], "cents": [1290, 3450]}
    said = order_profiles.task.contribute(pd.DataFrame(orders))
    assert list(said) == list(order_profiles.FIELDS)
    assert said["spent_cents"]["value"].tolist() == [1290, 3450]
    assert said["products"]["key"].tolist() == ["tea", "cup"]


def test_the_asset_in_the_readme_passes_the_lint_of_the_project():
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", FILE, "-"]
        done = subprocess.run(
            ruff, cwd=PROJECT, input=ASSET, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_in_documents_exist_with_their_options(line):
    command = cli
    _, *words = line.split()
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0).rstrip(",")]
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= options
