"""A task: what an asset's items say about profiles. One lives in each file of workers/tasks/."""

import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from workers.errors import Refused
from workers.fields import Fields

# What a chunk of items contributes: for each field, rows of profile, (key), (at), value.
Contributions = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Task:
    """The declaration of a task.

    item: the type of one item; a line that does not fit it is a dead letter.
    fields: what a profile holds.
    contributions: from a frame of items (columns as the item's fields) to rows for each field;
        pure, and vectorised. Where it raises, its items are tried in halves, then one by one.
    derive: optional; from a profile's fields, as readers see them but with plain keys, to more
        fields.
    """

    item: type[msgspec.Struct]
    fields: Fields
    contributions: Callable[[pd.DataFrame], Contributions]
    derive: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        for name in self.fields:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} cannot name a field: letters, digits and _ can")

    @property
    def file(self) -> str:
        """The task's source."""
        return str(sys.modules[self.contributions.__module__].__file__)

    @cached_property
    def version(self) -> str:
        """A digest of the task's file: any change of it is new code, and makes new batches."""
        return hashlib.sha256(Path(self.file).read_bytes()).hexdigest()[:12]

    def contribute(self, items: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return the items' contributions; Refused where the task's answer is wrong."""
        checked = {}
        for name, rows in self.contributions(items).items():
            if name not in self.fields:
                known = ", ".join(self.fields)
                raise Refused(f"the task contributes to {name!r}; its fields are {known}")
            field = self.fields[name]
            expected = ["profile", *field.columns]
            if not isinstance(rows, pd.DataFrame) or set(rows.columns) != set(expected):
                raise Refused(f"contributions to {name!r} need the columns {', '.join(expected)}")
            if rows.isna().any(axis=None):
                raise ValueError(f"a contribution to {name!r} lacks a profile, a key or a value")
            if len(rows):
                checked[name] = rows
        return checked


def rows(profile: pd.Series, value: Any = 1, key: Any = None, at: Any = None) -> pd.DataFrame:
    """Return contributions: a row for each profile id, with a value and where needed key and at.

    Each argument is a column as long as `profile`, or one value for all rows. `at` is in
    milliseconds.
    """
    columns = {"profile": profile, "key": key, "at": at, "value": value}
    return pd.DataFrame({name: part for name, part in columns.items() if part is not None})


def load(name: str) -> Task:
    """Return the `task` of workers/tasks/<name>.py."""
    if not name.isidentifier():
        raise Refused(f"{name!r} cannot name a task")
    try:
        module = importlib.import_module(f"workers.tasks.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"workers.tasks.{name}":
            raise
        raise Refused(
            f"there is no task {name!r}: workers/tasks/{name}.py does not exist"
        ) from error
    task: Task = module.task
    return task
