"""Try a task on an item before anything runs, so that a mistake is named when it loads.

An item that the author gives is a real one: all that goes wrong on it is a mistake. On a made-up
one only that counts which no item could excuse, and whatever else goes wrong says nothing: a right
parser refuses a line that nobody wrote.
"""

import traceback
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import bson
import msgspec
import pandas as pd

from workers.contributions.accumulators import (
    Accumulator,
    Contributed,
)
from workers.contributions.columns import WrongType
from workers.contributions.fields import Fields
from workers.contributions.readers import ProfileError, Readers
from workers.contributions.results import Frames, Merger
from workers.declare.task import FIELD_NAME, Task
from workers.errors import Refused
from workers.examples import given, made_up
from workers.ledger.dead_letters import task_lines
from workers.sources.items import ItemReader

UNIONS = (Union, UnionType)
# Types whose items all have values of the same kind in this column.
CERTAIN_TYPES = (str, int, float, bool)


def rehearse(task: Task, declared: str = "", key: str = "") -> None:
    """Try a task on one item; Refused where it uses or returns what is not declared.

    `declared` and `key` are the format of the asset's blocks, and a key that one of them may have:
    an example that is text is read as such a block.
    """
    _check_derived(task, {}, is_real=True)  # a profile about which nothing was said yet

    item = given(task, declared, key)
    is_real = item is not None
    if item is None:
        item = made_up(task.observation_type)
    if item is None:
        return

    contributions = _contributions(task, item, is_real)
    for accumulator in _accumulators(task.fields, contributions):
        _check_derived(task, accumulator, is_real)


def _contributions(task: Task, item: Any, is_real: bool) -> Frames:
    """Return what an item contributes; nothing where it fails and may be at fault itself."""
    items = ItemReader(task.observation_type).frame([item])
    try:
        return task.contribute(items)
    except Refused:
        raise
    except Exception as error:
        lines = task_lines(error, task.file)
        where = f"; {lines[0]}" if lines else ""
        mistake = _mistake(error, items, task.observation_type)
        if not mistake and is_real:
            mistake = f"contributions fails on the example, {type(error).__name__}: {error}"

        if mistake:
            raise Refused(f"{mistake}{where}") from error
        return {}


def _mistake(error: Exception, items: pd.DataFrame, item: type[msgspec.Struct]) -> str:
    """Return the mistake that an error shows, or "" where another item may do without it."""
    if isinstance(error, KeyError) and _is_asked_of_items(error, items):
        return f"contributions asks for {error}; the items have {', '.join(items.columns)}"
    if isinstance(error, AttributeError) and _is_unknown_name(error):
        return f"contributions fails, AttributeError: {error}"
    if isinstance(error, NameError) and not isinstance(error, UnboundLocalError):
        return f"contributions fails, {type(error).__name__}: {error}"
    if isinstance(error, WrongType) and _is_column_of_items(error.column, items, item):
        return str(error)
    return ""


def _is_asked_of_items(error: KeyError, items: pd.DataFrame) -> bool:
    """Tell whether pandas missed a name among the columns of items, or of some of these."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if "pandas" not in Path(frames[-1].f_code.co_filename).parts:
        return False  # a dict of the task's does not know it

    for frame in reversed(frames):
        for name in ("self", "obj"):
            asked = frame.f_locals.get(name)
            labels = asked.columns if isinstance(asked, pd.DataFrame) else asked
            if isinstance(labels, pd.Index):
                return len(labels) > 0 and set(labels) <= set(items.columns)
    return False


def _is_unknown_name(error: AttributeError) -> bool:
    """Tell whether a name is unknown to what is the same for each item."""
    owner = error.obj
    if isinstance(owner, pd.Series | pd.Index):  # an accessor fails on values that it is not for
        return not hasattr(type(owner), error.name or "")
    return isinstance(owner, pd.DataFrame | msgspec.Struct | ModuleType)


def _is_column_of_items(column: pd.Series, items: pd.DataFrame, item: type[msgspec.Struct]) -> bool:
    """Tell whether a column is pandas' own times, or as it stands in items, of whatever item."""
    if column.dtype.kind in "mM":
        return True

    fields = msgspec.structs.fields(item)
    kinds = [_kind(field.type) for field in fields if column.equals(items[field.name])]
    return bool(kinds) and all(
        isinstance(kind, type) and issubclass(kind, CERTAIN_TYPES) for kind in kinds
    )


def _kind(type_: Any) -> Any:
    """Return a type without its bounds, and without None."""
    if get_origin(type_) is Annotated:
        return _kind(get_args(type_)[0])
    others = [part for part in get_args(type_) if part is not type(None)]
    return _kind(others[0]) if len(others) == 1 and get_origin(type_) in UNIONS else type_


def _check_derived(task: Task, accumulator: Accumulator, is_real: bool) -> None:
    """Refuse a `derive` that fails on a profile, or whose answer MongoDB cannot hold."""
    try:
        profile = Readers(task.fields, task.derive).shown(accumulator)
    except ProfileError as error:
        if not is_real and not isinstance(error.__cause__, NameError):
            return  # the keys and values of a made-up item
        raise _refused(task, error) from error

    try:
        bson.encode(profile)
    except Exception as error:
        raise _refused(task, error) from error

    for name in profile:
        if not FIELD_NAME.fullmatch(name):
            raise Refused(
                f"derive makes {name!r}, which cannot name a field: letters, digits and _ can"
            )


def _refused(task: Task, error: Exception) -> Refused:
    return Refused(
        f"derive fails on a profile ({error}); it has to work for every one, empty maps and "
        f"None included. It gets {', '.join(task.fields)}"
    )


def _accumulators(fields: Fields, contributions: Frames) -> list[Accumulator]:
    """Return what contributions make of each profile."""
    merger = Merger(fields)
    merger.add(contributions)
    return list(Contributed(merger.merged()).all().values())
