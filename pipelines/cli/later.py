"""What a command does is imported once it is called: help, completion and mistakes come at once."""

import gc
from collections.abc import Mapping
from importlib import import_module
from typing import Any


def do(page: str, name: str, given: Mapping[str, Any]) -> Any:
    """Call a function of a page of this room with what a person gave; return its answer.

    What is imported stays, and looking for garbage in it is a quarter of the time.
    """
    gc.disable()
    try:
        function = getattr(import_module(f"pipelines.cli.{page}"), name)
        gc.freeze()
    finally:
        gc.enable()
    return function(**given)
