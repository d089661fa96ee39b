"""What a command does is imported once it is called: help, completion and mistakes come at once."""

import gc
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any


def do(page: str, name: str, given: Mapping[str, Any]) -> Any:
    """Call a function of a page of this room with what a person gave; return its answer."""
    module = f"pipelines.cli.{page}"
    if module not in sys.modules:
        _import(module)
    return getattr(sys.modules[module], name)(**given)


def _import(module: str) -> None:
    """Import a page, which stays: looking for garbage in it is a quarter of the time."""
    gc.disable()
    try:
        import_module(module)
        gc.freeze()
    finally:
        gc.enable()
