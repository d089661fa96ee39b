"""What the documents have their reader type: the README's asset, and every command of `fanfold`."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pandas as pd
import pytest

from pipelines import variables
from pipelines.cli.main import cli
from tests.conftest import PROJECT
from tests.support.generated import PAGE, field_comments, is_group, written
from workers.declare.asset import Asset
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

# **Batches failed; 1,203 items, where Sundays have ...**, at the beginning of a paragraph.
PHRASES = [
    phrase.strip(" .,")
    for bold in re.findall(
        r"^\*\*(.+?)\*\*", (PROJECT / "docs/alerts.md").read_text(), re.MULTILINE
    )
    for phrase in re.split(r"\.\.\.|; ", bold.lower())
    if phrase.strip(" .") and not phrase[0].isdigit()
]
SENTENCES = re.sub(
    r'"\s*f?"',
    "",
    "".join(
        file.read_text().lower()
        for room in ("workers", "pipelines")
        for file in (PROJECT / room).rglob("*.py")
    ),
)


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
    assert list(said) == list(order_profiles.task.fields)
    assert said["spent_cents"]["value"].tolist() == [1290, 3450]
    assert said["products"]["key"].tolist() == ["tea", "cup"]


def test_the_asset_in_the_readme_passes_the_lint_of_the_project():
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", FILE, "-"]
        done = subprocess.run(
            ruff, cwd=PROJECT, input=ASSET, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_the_tables_of_settings_are_those_of_the_code():
    page = PAGE.read_text()
    assert page == written(page), "`make docs` writes them anew"


def test_each_field_of_the_declaration_has_a_comment_that_says_what_it_means():
    groups = [field.type for field in msgspec.structs.fields(Asset) if is_group(field.type)]
    names = {
        (kind.__name__, field.name)
        for kind in (Asset, *groups)
        for field in msgspec.structs.fields(kind)
        if not is_group(field.type)
    }
    assert {name for name in names if not field_comments()[name]} == set()


def test_the_variables_that_the_code_reads_are_the_documented_ones():
    code = "".join(
        file.read_text()
        for room in ("workers", "resources", "pipelines")
        for file in (PROJECT / room).rglob("*.py")
        if file != Path(variables.__file__)
    )
    read = set(re.findall(r"\bFANFOLD_[A-Z0-9_]+\b", code))
    assert read == {name for name in variables.names() if name.startswith(variables.OWN_PREFIX)}


def test_a_mistyped_variable_is_told_with_what_was_meant():
    environ = {"FANFOLD_BUKET": "b", "FANFOLD_BUCKET": "b", "HOME": "/"}
    (sentence,) = variables.unknown_variables(environ)
    assert (
        sentence == "FANFOLD_BUKET is set, and is no setting of Fanfold; is FANFOLD_BUCKET meant?"
    )


@pytest.mark.parametrize("phrase", PHRASES)
def test_messages_that_the_page_of_alerts_explains_are_of_the_code(phrase):
    assert phrase in SENTENCES


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_in_documents_exist_with_their_options(line):
    command = cli
    _, *words = line.split()
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0).rstrip(",")]
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= options
