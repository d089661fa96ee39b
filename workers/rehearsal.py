"""Try a task on a made-up item before anything runs, so that a mistake is named when it loads."""

import traceback
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import bson
import msgspec
import pandas as pd

from workers.contributions.accumulators import Accumulator, build_accumulators, to_reader
from workers.contributions.fields import Fields
from workers.contributions.results import to_table
from workers.declare.task import NAME, Task
from workers.errors import Refused
from workers.ledger.dead_letters import task_lines
from workers.sources.items import ItemReader


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
    where = "".join(f"; {line}" for line in task_lines(error, file)[:1])
    is_in_pandas = "pandas" in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts
    if isinstance(error, KeyError) and is_in_pandas:  # else a dict of the task's does not know it
        return f"contributions asks for {error}; the items have {', '.join(frame.columns)}{where}"
    if isinstance(error, NameError | AttributeError):
        return f"contributions fails, {type(error).__name__}: {error}{where}"
    return ""


def _check_shown(task: Task, state: Accumulator) -> None:
    """Refuse a `derive` that fails on a profile, or whose answer MongoDB cannot hold."""
    try:
        shown = to_reader(task, state)
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


def _states(fields: Fields, said: Mapping[str, pd.DataFrame]) -> list[Accumulator]:
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
    return [state[""] for state in build_accumulators(parts, fields).values()]


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
