"""A task: what an asset's items say about profiles. One lives in each file of workers/tasks/."""

import ast
import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from workers.contributions.fields import Field, Fields
from workers.errors import Refused
from workers.values import Document

# What a chunk of items contributes: for each field, rows of profile, (key), (at), value.
Contributions = Mapping[str, pd.DataFrame]
# What can name a field of a profile.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Observe:
    """How a task looks at the world (a web page, the profile it made before) for each item.

    of: from an item to the id of the profile it is about.
    known: fields of that profile that `look` wants to know, as readers see them.
    makes: the type of an observation; `contributions` gets a frame of them instead of the items.
    look: from the items of a chunk, and what is known of each ({} where there is no profile), to
        an observation for each; None where nothing is to be done (the item counts as skipped), an
        exception where it failed (the item becomes a dead letter).
    """

    of: Callable[[Any], str]
    known: Sequence[str]
    makes: type[msgspec.Struct]
    look: Callable[[Sequence[Any], Sequence[Document]], Sequence[Any]]


@dataclass(frozen=True)
class Task:
    """The declaration of a task.

    item: the type of one item; a line that does not fit it is a dead letter.
    fields: what a profile holds.
    contributions: from a frame of items (columns as the item's fields) to rows for each field;
        pure, and vectorised. Where it raises, its items are tried in halves, then one by one.
    derive: optional; from a profile's fields, as readers see them but with plain keys, to more
        fields.
    observe: optional; for a task whose answer depends on more than its items.
    """

    item: type[msgspec.Struct]
    fields: Fields
    contributions: Callable[[pd.DataFrame], Contributions]
    derive: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    observe: Observe | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.item, type) and issubclass(self.item, msgspec.Struct)):
            raise TypeError(f"the item {self.item!r} is no msgspec.Struct")
        fields: Mapping[str, object] = self.fields
        for name, field in fields.items():
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot name a field: letters, digits and _ can")
            if not isinstance(field, Field):
                raise TypeError(f"the field {name!r} is {field!r}; write it like Sum() or Max(int)")

    @property
    def seen(self) -> type[msgspec.Struct]:
        """The type whose fields are the columns that `contributions` gets."""
        return self.observe.makes if self.observe else self.item

    @property
    def file(self) -> str:
        """The task's source."""
        return str(sys.modules[self.contributions.__module__].__file__)

    @cached_property
    def version(self) -> str:
        """A digest of the task's file: any change of it is new code, and makes new batches."""
        return hashlib.sha256(code_of(Path(self.file).read_text()).encode()).hexdigest()[:12]

    def contribute(self, items: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return the items' contributions; Refused where the task's answer is wrong."""
        said: object = self.contributions(items)
        checked = {}
        if not isinstance(said, Mapping):
            kind = type(said).__name__
            raise Refused(f"the task returns {kind}; it has to return rows for each field, a dict")
        for name, rows in said.items():
            if name not in self.fields:
                known = ", ".join(self.fields)
                raise Refused(f"the task contributes to {name!r}; its fields are {known}")
            field = self.fields[name]
            expected = ["profile", *field.columns]
            if not isinstance(rows, pd.DataFrame) or set(rows.columns) != set(expected):
                got = (
                    f"the columns {', '.join(map(str, rows.columns))}"
                    if isinstance(rows, pd.DataFrame)
                    else type(rows).__name__
                )
                raise Refused(
                    f"contributions to {name!r} need the columns {', '.join(expected)} and have "
                    f"{got}; `rows` makes them"
                )
            if len(rows):
                checked[name] = field.checked(rows, name)
        return checked


def code_of(source: str) -> str:
    """Return a task's source without the declaration of its asset, which changes no result."""
    lines = source.splitlines(keepends=True)
    for statement in reversed(ast.parse(source).body):
        if isinstance(statement, ast.Assign):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            if names == ["asset"]:
                del lines[statement.lineno - 1 : statement.end_lineno]
    return "".join(lines)


def rows(profile: pd.Series, value: Any = 1, key: Any = None, at: Any = None) -> pd.DataFrame:
    """Return contributions: a row for each profile id, with a value and where needed key and at.

    Each argument is a column as long as `profile`, or one value for all rows. `at` is in
    milliseconds.
    """
    columns = {"profile": profile, "key": key, "at": at, "value": value}
    return pd.DataFrame({name: part for name, part in columns.items() if part is not None})


def load_task(name: str) -> Task:
    """Return the `task` of workers/tasks/<name>.py."""
    task = getattr(load_module(name), "task", None)
    if not isinstance(task, Task):
        raise Refused(f"workers/tasks/{name}.py has no `task = Task(...)`")
    return task


def load_module(name: str) -> Any:
    """Return the module workers/tasks/<name>.py; Refused, with the reason, where it fails."""
    if not name.isidentifier():
        raise Refused(f"{name!r} cannot name a task")
    try:
        return importlib.import_module(f"workers.tasks.{name}")
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == f"workers.tasks.{name}":
            why = f"there is no task {name!r}: workers/tasks/{name}.py does not exist"
        else:
            said = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
            why = f"workers/tasks/{name}.py cannot be loaded: {said}"
        raise Refused(why) from error
