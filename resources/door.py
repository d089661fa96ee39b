"""The settings of this code location, read without Dagster where its door to S3 adds nothing.

Importing Dagster takes two seconds, and a command that only looks at the ledger needs none of it.
"""

import ast
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from resources.embedded import running_settings
from workers.settings import Settings

PAGE = Path(__file__).with_name("s3.py")  # where a project says what its S3 is
SILENT = "SettingsS3Resource()"  # the resource that leaves all to the environment


def arguments_of_location(page: Path = PAGE) -> dict[str, Any]:
    """Return what this code location says of S3, as arguments of boto3's client."""
    if "resources.s3" not in sys.modules and is_silent(page):
        return {}
    s3 = import_module("resources.s3")
    arguments: dict[str, Any] = s3.arguments_of(s3.S3)
    return arguments


def location_settings() -> Settings:
    """Return the settings of this code location, with servers running where none are given."""
    return running_settings(s3=arguments_of_location())


def is_silent(page: Path) -> bool:
    """Tell whether a file says nothing of S3 beyond what the environment does."""
    for node in ast.parse(page.read_text()).body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(target, ast.Name) and target.id == "S3" for target in targets):
            value = getattr(node, "value", None)
            return value is not None and ast.unparse(value) == SILENT
    return False
