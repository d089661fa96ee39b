"""A Python in which only what a worker's installation holds can be imported, for tests.

The tests' own environment holds all extras. A child gets a `sitecustomize` that hides those
packages that the base of the distribution does not need.
"""

import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parent.parent.parent
HIDE = """
import sys

HIDDEN = {names}


class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        is_hidden = name.partition(".")[0] in HIDDEN
        return None if is_hidden else self.finder.find_spec(name, path, target)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def hide_all_but_base(folder: Path) -> dict[str, str]:
    """Write what hides packages into a folder; return the variables that make a child use it."""
    (folder / "sitecustomize.py").write_text(HIDE.format(names=hidden_packages()))
    return {"PYTHONPATH": f"{folder}:{PROJECT}"}


def hidden_packages() -> set[str]:
    """Return the packages of this environment that a worker's installation does not have."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    base = closure(project["dependencies"])
    return {
        package
        for package, owners in metadata.packages_distributions().items()
        if not base.intersection(map(normalised, owners)) and "fanfold" not in owners
    }


def closure(requirements: Iterable[str]) -> set[str]:
    """Return the names of all distributions that are installed for some requirements."""
    names: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = normalised(requirement.name)
        if name not in names and is_wanted(requirement):
            names.add(name)
            waiting.extend(map(Requirement, metadata.requires(name) or []))
    return names


def is_wanted(requirement: Requirement) -> bool:
    """Tell whether a requirement without an extra holds on this machine."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
