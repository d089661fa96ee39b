"""The rooms of the code: which may import which, what each says of itself, and the docs' words."""

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from workers.declare.versions import FRAMEWORK

PROJECT = Path(__file__).parent.parent

# Rooms and files of `workers`; each may import itself, and what stands in a tuple before its own.
# `tasks` and `web` stand aside: see ASIDE.
LAYERS = (
    ("errors", "settings", "values", "retry", "memory", "s3_errors", "store"),
    ("contributions",),
    ("declare",),
    ("isolation",),
    ("ledger",),
    ("sources",),
    (
        "batch",
        "planning",
        "folding",
        "watching",
        "recompute",
        "verify",
        "contributors",
        "explain",
        "progress",
        "rehearsal",
        "examples",
        "assets",
    ),
    ("small", "dealt", "giving_way"),
    ("share",),
    ("launched", "steps"),
    ("__main__", "on_lambda"),
)
# All that these two may import, beside themselves.
ASIDE = {"tasks": {"declare", "web", "values"}, "web": {"errors"}}
# The steps of a run know nothing of each other; these files look at what several of them do.
BESIDE = {"planning", "folding", "watching"}
# Words that code, tables and commands once had, and that HOUSE's table replaced.
OLD_WORDS = (
    "bury",
    "grain",
    "is_beyond",
    "is_current",
    "is_scheduled",
    "keep_open",
    "look_back",
    "master",
    "masters",
    "max_batches",
    "mendable",
    "mended",
    "notices",
    "notices_sensor",
    "pieces",
    "sighting",
    "sightings",
    "sinks",
    "spoils",
    "tolerated_count",
    "tolerated_rate",
    "unfit",
    "Union",
    "wording",
)
MAX_README_WORDS = 600
MAX_GLOSSARY_WORDS = 25

FILES = sorted(
    path.relative_to(PROJECT)
    for room in ("workers", "resources", "pipelines")
    for path in (PROJECT / room).rglob("*.py")
)
ROOMS = sorted(file.parent for file in FILES if file.name == "__init__.py")
BANS = sorted(
    path.relative_to(PROJECT)
    for room in ("workers", "resources", "pipelines")
    for path in (PROJECT / room).rglob("ruff.toml")
)
# The changelog also says what was.
DOCUMENTS = sorted(
    path.relative_to(PROJECT)
    for path in (*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"))
    if path.name != "CHANGELOG.md"
)


def module_of(file):
    """Return the name that a file is imported by."""
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file) for file in FILES}


def imports_of(file):
    """Return the modules that a file names in its imports, wherever these stand in it."""
    modules = set()
    for node in ast.walk(ast.parse((PROJECT / file).read_text())):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            inside = members & MODULES
            modules.update(inside or {node.module})
    return modules


def part_of(module):
    """Return the room or file of workers that a module is in; "" for one that is elsewhere."""
    room, _, rest = module.partition(".")
    return rest.partition(".")[0] if room == "workers" else ""


def allowed_for(part):
    """Return the parts of workers that one of them may import."""
    if part in ASIDE:
        return {part, *ASIDE[part]}
    layer = next(number for number, names in enumerate(LAYERS) if part in names)
    below = {name for names in LAYERS[:layer] for name in names}
    beside = {part} if part in BESIDE else set(LAYERS[layer])
    return below | beside | ({"tasks"} if part == "assets" else set())


PARTS = {name for names in LAYERS for name in names} | set(ASIDE)


def test_every_room_and_file_of_workers_has_a_layer():
    known = {part_of(module) for module in MODULES if part_of(module)}
    assert known <= PARTS


def test_what_counts_as_the_code_of_a_task_is_none_of_fanfolds_own():
    assert PARTS - set(ASIDE) - {"__main__"} == FRAMEWORK


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_go_down(file):
    room = file.parts[0]
    above = {"workers": ("dagster", "resources", "pipelines"), "resources": ("pipelines",)}
    modules = imports_of(file)
    assert not {name for name in modules if name.split(".")[0] in above.get(room, ())}
    part = part_of(module_of(file))
    if part:
        used = {part_of(module) for module in modules} - {""}
        assert used <= allowed_for(part), f"{part} may not import {used - allowed_for(part)}"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_alerts_are_imported_by_the_definitions_alone(file):
    is_inside = file.parts[:2] == ("pipelines", "alerts")
    if not is_inside and file.name != "definitions.py":
        assert not {name for name in imports_of(file) if name.startswith("pipelines.alerts")}


def test_no_imports_run_in_a_circle():
    graph = {module_of(file): imports_of(file) & MODULES for file in FILES}
    TopologicalSorter(graph).prepare()  # it raises CycleError, with the circle


@pytest.mark.parametrize(
    "part", sorted({"contributions", "declare", "ledger", "sources"} | BESIDE | set(ASIDE))
)
def test_lint_bans_in_each_room_what_it_may_not_import(part):
    text = (PROJECT / "workers" / part / "ruff.toml").read_text()
    bans = tomllib.loads(text)["lint"]["flake8-tidy-imports"]["banned-api"]
    forbidden = PARTS - allowed_for(part) - {"__main__"}
    expected = {"dagster", "resources", "pipelines"} | {f"workers.{name}" for name in forbidden}
    assert set(bans) == expected


@pytest.mark.parametrize("file", BANS, ids=str)
def test_each_ban_says_where_the_code_should_go(file):
    bans = tomllib.loads((PROJECT / file).read_text())["lint"]["flake8-tidy-imports"]["banned-api"]
    for name, ban in bans.items():
        assert "goes" in ban["msg"], name


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_each_room_has_a_charter_of_two_to_six_lines(room):
    charter = ast.get_docstring(ast.parse((PROJECT / room / "__init__.py").read_text()))
    lines = [line for line in charter.splitlines() if line.strip()]
    assert 2 <= len(lines) <= 6
    assert "Read: " in charter
    assert "belong" in charter


@pytest.mark.parametrize("room", [room for room in ROOMS if room.name != "tasks"], ids=str)
def test_a_charter_names_each_file_of_its_room(room):
    charter = ast.get_docstring(ast.parse((PROJECT / room / "__init__.py").read_text()))
    files = {file.stem for file in FILES if file.parent == room} - {"__init__", "__main__"}
    assert {name for name in files if not re.search(rf"\b{name}\b", charter)} == set()


def test_the_readme_has_at_most_600_words():
    assert len((PROJECT / "README.md").read_text().split()) <= MAX_README_WORDS


def test_the_glossary_has_at_most_25_words_each_in_a_line():
    text = (PROJECT / "docs/glossary.md").read_text()
    words = re.findall(r"^\| ([a-z ]+) \| .+ \|$", text, re.MULTILINE)[1:]  # without the heading
    assert 0 < len(words) <= MAX_GLOSSARY_WORDS
    assert len(set(words)) == len(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_documents_use_no_word_that_the_code_has_given_up(document):
    text = (PROJECT / document).read_text()
    code = "\n".join(re.findall(r"`[^`\n]+`", text) + re.findall(r"^    .+$", text, re.MULTILINE))
    words = set(re.findall(r"[A-Za-z_]+", code))
    assert not words & set(OLD_WORDS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_of_documents_lead_somewhere(document):
    text = (PROJECT / document).read_text()
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (PROJECT / document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_files_that_documents_name_exist(document):
    text = (PROJECT / document).read_text()
    named = set(re.findall(r"`((?:workers|resources|pipelines|tests)/[\w/]+(?:\.py|/))`", text))
    theirs = {"workers/tasks/customer_profiles.py"}  # what a document has its reader write
    assert {name for name in named - theirs if not (PROJECT / name).exists()} == set()
