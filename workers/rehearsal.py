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
from workers.declare.task import FIELD_NAME, Task
from workers.errors import Refused
from workers.ledger.dead_letters import task_lines
from workers.sources.items import ItemReader

# The made-up value of each type; a time is EXAMPLE_TIME.
EXAMPLES: dict[type, Any] = {bool: True, int: 1, float: 1.5, str: "1"}
EXAMPLE_TIME = datetime(2001, 2, 3, tzinfo=UTC)


def rehearse(task: Task) -> None:
    """Try a task on one made-up item; Refused where it uses or returns what is not declared.

    What else goes wrong may be the made-up item's fault; a real one's is told by its batch.
    """
    item = example(task.observation_type)
    items = ItemReader(task.observation_type).frame([item])

    try:
        contributions = task.contribute(items)
    except Refused:
        raise
    except Exception as error:
        mistake = _mistake(error, items, task.file)
        if mistake:
            raise Refused(mistake) from error
        contributions = {}

    _check_derived(task, {})  # a profile about which nothing was said yet
    for accumulator in _accumulators(task.fields, contributions):
        _check_derived(task, accumulator)


def _mistake(error: Exception, items: pd.DataFrame, file: str) -> str:
    """Return what the code did wrong, or "" where the made-up item may be at fault."""
    lines = task_lines(error, file)
    where = f"; {lines[0]}" if lines else ""

    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    is_in_pandas = "pandas" in raised_in.parts
    if isinstance(error, KeyError) and is_in_pandas:  # else a dict of the task's does not know it
        return f"contributions asks for {error}; the items have {', '.join(items.columns)}{where}"

    if isinstance(error, NameError | AttributeError):
        return f"contributions fails, {type(error).__name__}: {error}{where}"
    return ""


def _check_derived(task: Task, accumulator: Accumulator) -> None:
    """Refuse a `derive` that fails on a profile, or whose answer MongoDB cannot hold."""
    try:
        profile = to_reader(task.fields, task.derive, accumulator)
        bson.encode(profile)
    except Exception as error:
        raise Refused(
            f"derive fails on a profile ({error}); it has to work for every one, empty maps and "
            f"None included. It gets {', '.join(task.fields)}"
        ) from error

    for name in profile:
        if not FIELD_NAME.fullmatch(name):
            raise Refused(
                f"derive makes {name!r}, which cannot name a field: letters, digits and _ can"
            )


def _accumulators(fields: Fields, contributions: Mapping[str, pd.DataFrame]) -> list[Accumulator]:
    """Return what contributions make of each profile; Refused where a value has a wrong type."""
    parts = {}
    for name, rows in contributions.items():
        field = fields[name]
        try:
            reduced = field.reduce(rows, ["profile"])
        except TypeError as error:
            raise Refused(f"contributions to {name!r} have a wrong type: {error}") from error

        to_table(name, reduced, field.column)
        parts[name] = reduced.assign(partition="")

    profiles = build_accumulators(parts, fields)
    return [by_partition[""] for by_partition in profiles.values()]


def example(kind: Any) -> Any:
    """Return a made-up value of a type."""
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case None:
            return _example_of_class(kind)

        case origin if origin is Literal:
            return arguments[0]

        case origin if origin is dict:
            return {example(arguments[0]): example(arguments[1])}

        case origin if origin in (list, tuple, set):
            return origin([example(arguments[0])])

        case _:  # a union, or a type with bounds
            return example(next(part for part in arguments if part is not type(None)))


def _example_of_class(kind: Any) -> Any:
    if issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return kind(**{field.name: example(field.type) for field in fields})

    if issubclass(kind, datetime):
        return EXAMPLE_TIME

    for known, value in EXAMPLES.items():
        if issubclass(kind, known):
            return kind(value)
    return None
