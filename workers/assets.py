"""The assets that the files of workers/tasks/ declare, each tried once before anything runs."""

import pkgutil
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

import msgspec
import pandas as pd

from workers import tasks
from workers.errors import Refused
from workers.fields import Fields
from workers.items import ItemReader
from workers.model import Asset
from workers.results import to_table
from workers.states import State, build_states, view
from workers.task import Task, load, load_module


@cache
def assets() -> dict[str, Asset]:
    """Return the assets by name; Refused, naming the file and the mistake, where one is wrong."""
    found = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(tasks.__path__)):
        asset = getattr(load_module(module), "asset", None)
        if not isinstance(asset, Asset) or asset.name != module:
            said = f"names it {asset.name!r}" if isinstance(asset, Asset) else "has none"
            raise Refused(
                f"workers/tasks/{module}.py needs `asset = Asset(name={module!r}, ...)`, and {said}"
            )
        try:
            rehearse(load(asset.task))
        except Refused as error:
            raise Refused(f"workers/tasks/{asset.task}.py: {error}") from error
        found[module] = asset
    for asset in found.values():
        if asset.source and asset.source not in found:
            raise Refused(f"{asset.name}: its source {asset.source!r} is no asset")
    return found


def rehearse(task: Task) -> None:
    """Try a task on one made-up item; Refused where it asks for, or says, what is not declared.

    What else goes wrong may be the made-up item's fault; a real one's is told by its batch.
    """
    frame = ItemReader(task.seen).frame([example(task.seen)])
    try:
        said = task.contribute(frame)
    except KeyError as error:
        if error.args and error.args[0] in frame.columns:
            raise
        raise Refused(
            f"contributions asks for {error}; the items have {', '.join(frame.columns)}"
        ) from error
    except (ValueError, TypeError, ArithmeticError):
        said = {}
    for state in ({}, *_states(task.fields, said)):
        try:
            view(task, state)
        except Exception as error:
            raise Refused(
                f"derive fails on a profile ({type(error).__name__}: {error}); it has to work for "
                f"every one, empty maps and None included. It gets {', '.join(task.fields)}"
            ) from error


def _states(fields: Fields, said: Mapping[str, pd.DataFrame]) -> list[State]:
    """Return what contributions make of profiles; Refused where a value has a wrong type."""
    parts = {}
    for name, rows in said.items():
        field = fields[name]
        try:
            reduced = field.reduce(rows, ["profile"])
        except TypeError as error:
            raise Refused(f"contributions to {name!r} have a wrong type: {error}") from error
        to_table(name, reduced, field.column)
        parts[name] = reduced.assign(partition="")
    return [state[""] for state in build_states(parts, fields).values()]


def example(kind: Any) -> Any:
    """Return a value of a type, made up."""
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case None:
            return _of_type(kind)
        case origin if origin is Literal:
            return arguments[0]
        case origin if origin is dict:
            return {example(arguments[0]): example(arguments[1])}
        case origin if origin in (list, tuple, set):
            return origin([example(arguments[0])])
        case _:  # a union, or a type with bounds
            return example(next(one for one in arguments if one is not type(None)))


def _of_type(kind: Any) -> Any:
    if issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return kind(**{field.name: example(field.type) for field in fields})
    if issubclass(kind, datetime):
        return datetime(2001, 2, 3, tzinfo=UTC)
    simple: dict[type, Any] = {bool: True, int: 1, float: 1.0, str: "1"}
    return next((kind(one) for known, one in simple.items() if issubclass(kind, known)), None)
