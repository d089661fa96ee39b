"""What a person is told before anything is done: help, examples, the version; and how quickly."""

import re
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pipelines.cli.main import SECTIONS, cli
from workers import __version__

LARGE = {"dagster", "pandas", "pyarrow", "numpy", "boto3", "pymongo"}


def commands_of(group, path=()):
    """Return what is typed for each command, those that have commands of their own too."""
    found = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands_of(command, (*path, name))
    return found


COMMANDS = commands_of(cli)


def help_of(path):
    return CliRunner().invoke(cli, [*path, "--help"], prog_name="fanfold", terminal_width=80).output


def test_help_of_all_commands_is_there_before_anything_large_is_imported():
    calls = [["--help"], ["--version"], *([*path, "--help"] for path in COMMANDS)]
    code = f"""
import sys
from click.testing import CliRunner
import pipelines.cli.start
from pipelines.cli.main import cli
codes = {{CliRunner().invoke(cli, call).exit_code for call in {calls!r}}}
print(codes, {LARGE!r} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{0} set()\n"


def test_what_only_looks_at_the_ledger_does_without_dagster():
    code = "import sys, pipelines.cli.status, pipelines.cli.dead_letters, resources.door as door\n"
    code += "print(door.arguments_of_location(), 'dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{} False\n"


@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
def test_help_fits_80_columns(path):
    assert max(map(len, help_of(path).splitlines())) <= 80


@pytest.mark.parametrize("path", [(), ("sample",)], ids=" ".join)
def test_no_line_of_a_list_of_commands_is_cut_off(path):
    assert "...\n" not in help_of(path).partition("Options:")[2]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_command_has_examples_that_it_takes(path):
    text = help_of(path)
    shown = " ".join(("fanfold", *path))
    examples = re.findall(rf".*({shown}\b[^#|)\n]*)", text.partition("Examples:")[2])
    assert examples
    for example in examples:
        words = shlex.split(example.rstrip('"'))[1:]
        command = cli
        while isinstance(command, click.Group) and words:
            command = command.commands[words.pop(0)]
        with click.Context(command, resilient_parsing=False) as context:
            _, left, _ = command.make_parser(context).parse_args(words)
        assert not left


def test_every_command_stands_in_one_section_of_the_list():
    listed = [command.name for commands in SECTIONS.values() for command in commands]
    assert sorted(listed) == sorted(cli.commands)


def test_the_version_is_told(fanfold):
    code, out, _ = fanfold("--version")
    assert (code, out) == (0, f"fanfold {__version__}\n")
