"""docs/your-own-asset.md, followed word by word in a copy of the project."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys

import pytest

from tests.conftest import PROJECT
from tests.support.command import FANFOLD
from workers.declare import Asset, Partitions, Sizes, Tolerance
from workers.sources.formats.format import format_of

DOCUMENT = (PROJECT / "docs/your-own-asset.md").read_text()
FILE = "workers/tasks/customer_profiles.py"
OBSERVING_FILE = "workers/tasks/product_prices.py"
SUPPLIER_PORT = "8123"
# ```language file
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
TYPED = next(body for _, file, body in BLOCKS if file == FILE)
OBSERVING = next(body for _, file, body in BLOCKS if file == OBSERVING_FILE)
DERIVED = next(body for language, file, body in BLOCKS if language == "python" and not file)


# | a block | its template | its partitions |
LAYOUTS = re.findall(
    r"^\| `(orders\S+)` \| `(\S+)` \| (?:`(.+)`|the same) \|$", DOCUMENT, re.MULTILINE
)


def with_derive():
    """Return the first file as the document changes it later on."""
    text = TYPED.replace("import Asset, Max", "import Asset, Document, Max")
    return re.sub(r"^task = .*\n", lambda _: f"\n\n{DERIVED}", text, flags=re.MULTILINE)


def script(supplier_port):
    """Return all that the reader types, as one script that names the commands which fail."""
    parts = ["trap 'echo \"failed: $BASH_COMMAND\"' ERR"]
    for language, file, body in BLOCKS:
        if language == "sh":
            parts.append(body)
        elif file:
            parts.append(f"cat > {file} <<'END'\n{body}END")
        elif language == "python":
            parts.append(f"cat > {FILE} <<'END'\n{with_derive()}END")
    return "\n".join(parts).replace(SUPPLIER_PORT, str(supplier_port))


@pytest.fixture
def project(tmp_path):
    """A copy of the project, set up as `make setup` would."""
    for room in ("workers", "resources", "pipelines"):
        shutil.copytree(PROJECT / room, tmp_path / room)
    for file in ("fanfold.py", "pyproject.toml", "workspace.yaml", "dagster.yaml"):
        shutil.copy(PROJECT / file, tmp_path)
    for file in (FILE, OBSERVING_FILE):
        (tmp_path / file).unlink(missing_ok=True)

    binaries = tmp_path / ".venv/bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").touch()
    for name, command in {
        "make": "true",
        "python": f'exec {sys.executable} "$@"',
        "fanfold": f'exec {shlex.join(FANFOLD)} "$@"',
    }.items():
        (binaries / name).write_text(f"#!/bin/sh\n{command}\n")
        (binaries / name).chmod(0o700)
    return tmp_path


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_the_reader_types_at_most_40_lines_of_python():
    assert len(TYPED.splitlines()) <= 40
    assert sum(bool(line.strip()) for line in with_derive().splitlines()) <= 40


@pytest.mark.parametrize(
    ("file", "text"),
    [(FILE, TYPED), (FILE, with_derive()), (OBSERVING_FILE, OBSERVING)],
    ids=["typed", "with derive", "observing"],
)
def test_the_files_pass_the_lint_of_the_project(project, file, text):
    (project / file).write_text(text)
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", file]
        done = subprocess.run(ruff, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_layout_of_the_document_finds_its_block():
    partitions = ""
    kinds = []
    for block, template, typed in LAYOUTS:
        partitions = typed or partitions  # "the same" as in the line above
        asset = Asset(
            name="orders",
            description="",
            partitions=eval(partitions, {"Partitions": Partitions}),
            template=template,
        )
        hour = "-09:00" if asset.partitions.every == "hour" else ""
        assert asset.partition_of(block) == f"2024-05-01{hour}"
        kinds.append(format_of(block).kind)
    assert kinds == ["csv", "json", "parquet"]


def test_the_settings_of_the_document_can_be_typed_as_they_stand():
    settings = re.findall(r"`((?:format|sizes|tolerance)=[^`]+)`", DOCUMENT)
    assert len(settings) == 3

    declaration = TYPED[TYPED.index("Asset(\n") :]
    asset = eval(declaration.replace("(", f"({', '.join(settings)}, ", 1))
    assert format_of("a.csv", asset.format).delimiter == ";"
    assert asset.tolerance == Tolerance(count=20, rate=0.01)
    assert asset.sizes == Sizes(min_items=10_000, max_items=250_000, seconds_per_item=0.000_01)


def test_the_defaults_that_the_document_names_are_so():
    for default in (120, 20, "1,000"):
        assert f"({default})" in DOCUMENT
    assert Sizes() == Sizes(target_seconds=120, min_items=20, max_items=1_000)


def test_the_commands_of_the_document_do_what_it_says(project, store, database, free_port):
    done = subprocess.run(
        ["bash", "-c", script(free_port)],
        cwd=project,
        env=os.environ | {"PATH": f"{project}/.venv/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    assert failed == ["failed: fanfold run customer_profiles --partition 2024-05-02"], output
    assert "Traceback" not in output, output

    for language, _, body in BLOCKS:
        if language == "text":
            assert body in done.stdout
    for text in (
        "2 profiles match 3 items in the raw blocks",
        "3 profiles match 5 items in the raw blocks",
        "Expected `float`, got `str` - at `$.price`",
        "'average_cents': 2370",
        "LookupError in the task: the supplier answers 404",
    ):
        assert text in DOCUMENT
        assert text in done.stdout, output
    assert "1 of 2 items" in done.stdout, output

    profiles = {profile["_id"]: profile for profile in database["customer_profiles"].find()}
    spent = {customer: profile["spent_cents"] for customer, profile in profiles.items()}
    assert spent == {"ann": 4740, "bo": 4740, "cy": 3450}
    assert profiles["bo"]["products"] == {"Teapot": 1, "Green tea": 1}

    prices = {profile["_id"]: profile["cents"] for profile in database["product_prices"].find()}
    assert prices == {"Green tea": 790, "Teapot": 2150, "Samovar": 12900}
    # The redrive asked for the samovar, the run after it for all three, in the order of the list.
    asked = re.findall(r'"GET /(\w+)\S* HTTP', (project / "supplier.log").read_text())
    assert asked == ["Green", "Teapot", "Samovar", "Samovar", "Green", "Teapot", "Samovar"]
    last = max(database["plans"].find({"asset": "product_prices"}), key=lambda plan: plan["round"])
    assert (last["counts"]["items"], last["counts"]["skipped"]) == (3, 2)
