"""docs/your-own-asset.md, followed word by word in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import PROJECT
from workers.declare import Tolerance
from workers.declare.asset import Asset, Partitions, Sizes
from workers.sources.formats.format import format_of

DOCUMENT = (PROJECT / "docs/your-own-asset.md").read_text()
FILE = "workers/tasks/customer_profiles.py"
# ```language file
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
TYPED = next(body for _, file, body in BLOCKS if file == FILE)
DERIVED = next(body for language, file, body in BLOCKS if language == "python" and not file)


# | a block | its template | its partitions |
LAYOUTS = re.findall(
    r"^\| `(orders\S+)` \| `(\S+)` \| (?:`(.+)`|the same) \|$", DOCUMENT, re.MULTILINE
)


def with_derive():
    """Return the file as the document changes it later on."""
    found = TYPED.replace("import Asset, Partitions", "import Asset, Document, Partitions")
    return re.sub(r"^task = .*\n", lambda _: f"\n\n{DERIVED}", found, flags=re.MULTILINE)


def script():
    """Return all that the reader types, as one script that names the commands which fail."""
    parts = ["trap 'echo \"failed: $BASH_COMMAND\"' ERR"]
    for language, file, body in BLOCKS:
        if language == "sh":
            parts.append(body)
        elif file:
            parts.append(f"cat > {file} <<'END'\n{body}END")
        elif language == "python":
            parts.append(f"cat > {FILE} <<'END'\n{with_derive()}END")
    return "\n".join(parts)


@pytest.fixture
def project(tmp_path):
    """A copy of the project, set up as `make setup` would."""
    for room in ("workers", "resources", "pipelines"):
        shutil.copytree(PROJECT / room, tmp_path / room)
    for file in ("pyproject.toml", "workspace.yaml", "dagster.yaml"):
        shutil.copy(PROJECT / file, tmp_path)
    (tmp_path / FILE).unlink(missing_ok=True)
    binaries = tmp_path / ".venv/bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").touch()
    for name, command in {
        "make": "true",
        "python": f'exec {sys.executable} "$@"',
        "fanfold": f'exec {sys.executable} -m pipelines.cli "$@"',
    }.items():
        (binaries / name).write_text(f"#!/bin/sh\n{command}\n")
        (binaries / name).chmod(0o700)
    return tmp_path


def test_the_reader_types_at_most_40_lines_of_python():
    assert len(TYPED.splitlines()) <= 40
    assert sum(bool(line.strip()) for line in with_derive().splitlines()) <= 40


@pytest.mark.parametrize("text", [TYPED, with_derive()], ids=["typed", "with derive"])
def test_the_files_pass_the_lint_of_the_project(project, text):
    (project / "workers/tasks/customer_profiles.py").write_text(text)
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", FILE]
        done = subprocess.run(ruff, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_layout_of_the_document_finds_its_block():
    partitions, formats = "", []
    for block, template, said in LAYOUTS:
        partitions = said or partitions
        made = Asset(
            name="orders",
            description="",
            partitions=eval(partitions, {"Partitions": Partitions}),
            template=template,
        )
        hour = "-09:00" if made.partitions.every == "hour" else ""
        assert made.partition_of(block) == f"2024-05-01{hour}"
        formats.append(format_of(block))
    assert [one.kind for one in formats] == ["csv", "json", "parquet"]


def test_the_settings_of_the_document_can_be_typed_as_they_stand():
    typed = re.findall(r"`((?:format|sizes|tolerance)=[^`]+)`", DOCUMENT)
    assert len(typed) == 3
    made = eval(TYPED[TYPED.index("Asset(\n") :].replace("(", f"({', '.join(typed)}, ", 1))
    assert format_of("a.csv", made.format).delimiter == ";"
    assert made.tolerance == Tolerance(count=20, rate=0.01)
    assert made.sizes == Sizes(min_items=10_000, max_items=250_000, seconds_per_item=0.000_01)


def test_the_defaults_that_the_document_names_are_so():
    for default in (120, 20, "1,000"):
        assert f"({default})" in DOCUMENT
    assert Sizes() == Sizes(target_seconds=120, min_items=20, max_items=1_000)


def test_what_the_document_says_is_what_happens(project, store, database):
    done = subprocess.run(
        ["bash", "-c", script()],
        cwd=project,
        env=os.environ | {"PATH": f"{project}/.venv/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    assert failed == ["failed: fanfold run customer_profiles --partition 2024-05-02"], told
    for language, _, body in BLOCKS:
        if language == "text":
            assert body in done.stdout
    for said in (
        "2 profiles match 3 items in the raw blocks",
        "3 profiles match 5 items in the raw blocks",
        "Expected `float`, got `str` - at `$.price`",
        "'average_cents': 2370",
    ):
        assert said in DOCUMENT
        assert said in done.stdout
    assert "1 of 2 items" in done.stdout, told
    assert "Traceback" not in told, told
    profiles = {one["_id"]: one for one in database["customer_profiles"].find()}
    assert {name: one["spent_cents"] for name, one in profiles.items()} == {
        "ann": 4740,
        "bo": 4740,
        "cy": 3450,
    }
    assert profiles["bo"]["products"] == {"Teapot": 1, "Green tea": 1}
