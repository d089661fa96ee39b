"""The assets that the files of workers/tasks/ declare, each tried once before anything runs."""

import pkgutil
import traceback
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import bson
import msgspec
import pandas as pd

from workers import tasks
from workers.errors import Refused
from workers.fields import Fields
from workers.formats import format_of
from workers.items import ItemReader
from workers.letters import frames
from workers.model import Asset
from workers.results import to_table
from workers.states import State, build_states, view
from workers.task import NAME, Task, load, load_module


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
            Asset.of(asset.to_json())  # msgspec checks the types of what it reads, not of arguments
            format_of("", asset.format)
            rehearse(load(asset.task))
        except (Refused, msgspec.ValidationError) as error:
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
    except Refused:
        raise
    except Exception as error:
        if mistake := _mistake(error, frame, task.file):
            raise Refused(mistake) from error
        said = {}
    for state in ({}, *_states(task.fields, said)):
        _check_shown(task, state)


def _mistake(error: Exception, frame: pd.DataFrame, file: str) -> str:
    """Return what the code did wrong, or "" where the made-up item may be at fault."""
    where = "".join(f"; {line}" for line in frames(error, file)[:1])
    is_in_pandas = "pandas" in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts
    if isinstance(error, KeyError) and is_in_pandas:  # else a dict of the task's does not know it
        return f"contributions asks for {error}; the items have {', '.join(frame.columns)}{where}"
    if isinstance(error, NameError | AttributeError):
        return f"contributions fails, {type(error).__name__}: {error}{where}"
    return ""


def _check_shown(task: Task, state: State) -> None:
    """Refuse a `derive` that fails on a profile, or whose answer MongoDB cannot hold."""
    try:
        shown = view(task, state)
        bson.encode(shown)
    except Exception as error:
        raise Refused(
            f"derive fails on a profile ({error}); it has to work for every one, empty maps and "
            f"None included. It gets {', '.join(task.fields)}"
        ) from error
    if wrong := [name for name in shown if not NAME.fullmatch(name)]:
        raise Refused(
            f"derive makes {wrong[0]!r}, which cannot name a field: letters, digits and _ can"
        )


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
    simple: dict[type, Any] = {bool: True, int: 1, float: 1.5, str: "1"}
    return next((kind(one) for known, one in simple.items() if issubclass(kind, known)), None)
