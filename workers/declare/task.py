"""A task: what an asset's items say about profiles. One lives in each file of workers/tasks/."""

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
from workers.declare.versions import Versions, versions_of
from workers.errors import Refused
from workers.values import Document

# What a chunk of items contributes: for each field, rows of profile, (key), (at), value.
Contributions = Mapping[str, pd.DataFrame]

FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Observe:
    """How a task observes the world (a web page, a price, the profile it made before).

    profile_id: from an item to the id of the profile that it is about.
    known_fields: the fields of that profile that `observe` gets, as readers see them.
    observation: the type of an observation; `contributions` gets a frame of observations, with
        columns as this type's fields, instead of the items.
    observe: from the items of a chunk, and what is known of the profile of each ({} where there
        is none), to an answer for each item, in their order: an observation; None where nothing
        is to be done (the item counts as skipped); or the exception with which it failed (the
        item becomes a dead letter). An exception that is raised fails the whole batch.
    """

    profile_id: Callable[[Any], str]
    known_fields: Sequence[str]
    observation: type[msgspec.Struct]
    observe: Callable[[Sequence[Any], Sequence[Document]], Sequence[Any]]


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
    by_item: whether each row of contributions is about one item, whatever others the frame holds,
        and has its index. Then small batches contribute in one call.
    example: optional; an item that stands for real ones: the line of a block, or its first lines,
        as text or bytes; a dict by column; or what contributions gets a row for. The task is tried
        on it when it loads; without one, on a made-up item that excuses much.
    """

    item: type[msgspec.Struct]
    fields: Fields
    contributions: Callable[[pd.DataFrame], Contributions]
    derive: Callable[[Document], Document] | None = None
    observe: Observe | None = None
    by_item: bool = False
    example: Any = None

    def __post_init__(self) -> None:
        if not (isinstance(self.item, type) and issubclass(self.item, msgspec.Struct)):
            raise TypeError(f"the item {self.item!r} is no msgspec.Struct")

        fields: Mapping[str, object] = self.fields
        for name, field in fields.items():
            if not FIELD_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot name a field: letters, digits and _ can")
            if not isinstance(field, Field):
                raise TypeError(f"the field {name!r} is {field!r}; write it like Sum() or Max(int)")

    @property
    def observation_type(self) -> type[msgspec.Struct]:
        """The type whose fields are the columns that `contributions` gets."""
        return self.observe.observation if self.observe else self.item

    @property
    def file(self) -> str:
        """The path of the task's file."""
        return str(sys.modules[self.contributions.__module__].__file__)

    @cached_property
    def versions(self) -> Versions:
        """The digests of its code, with those of its parts."""
        return versions_of(Path(self.file).read_text(encoding="utf-8"))

    @cached_property
    def version(self) -> str:
        """A digest of the code that decides what items say: with another, batches are new."""
        return self.versions.batches

    @cached_property
    def shown_version(self) -> str:
        """A digest of the code that decides what profiles show of what they hold."""
        return self.versions.profiles

    def contribute(self, items: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return the items' contributions by field; Refused where the task's answer is wrong."""
        answer: object = self.contributions(items)
        if not isinstance(answer, Mapping):
            kind = type(answer).__name__
            raise Refused(f"the task returns {kind}; it has to return rows for each field, a dict")

        contributions = {}
        for name, frame in answer.items():
            field = self._field(name)
            _check_columns(name, field, frame)
            if len(frame):
                contributions[name] = field.checked(frame, name)
        return contributions

    def _field(self, name: str) -> Field:
        if name not in self.fields:
            known = ", ".join(self.fields)
            raise Refused(f"the task contributes to {name!r}; its fields are {known}")
        return self.fields[name]


def _check_columns(name: str, field: Field, frame: object) -> None:
    """Refuse contributions to a field that are no frame of its columns."""
    expected = ["profile", *field.columns]
    if isinstance(frame, pd.DataFrame):
        if sorted(map(str, frame.columns)) == sorted(expected):
            return
        actual = f"the columns {', '.join(map(str, frame.columns))}"
    else:
        actual = type(frame).__name__

    raise Refused(
        f"contributions to {name!r} need the columns {', '.join(expected)} and have {actual}; "
        "`rows` makes them"
    )


def rows(profile: pd.Series, value: Any = 1, key: Any = None, at: Any = None) -> pd.DataFrame:
    """Return contributions: a row for each profile id, with a value and where needed key and at.

    Each argument is a column as long as `profile`, or one value for all rows. `at` is in
    milliseconds.
    """
    columns = {"profile": profile, "key": key, "at": at, "value": value}
    columns = {name: column for name, column in columns.items() if column is not None}

    others = [column.index for column in columns.values() if isinstance(column, pd.Series)]
    if not isinstance(profile, pd.Series) or not all(map(profile.index.equals, others)):
        return pd.DataFrame(columns)
    # To join an index with itself, and to copy columns that nobody writes to, takes half the time.
    return pd.DataFrame(columns, index=profile.index, copy=False)


def load_task(name: str) -> Task:
    """Return the `task` of workers/tasks/<name>.py; Refused where there is none."""
    task = getattr(load_module(name), "task", None)
    if not isinstance(task, Task):
        raise Refused(f"workers/tasks/{name}.py has no `task = Task(...)`")
    return task


def load_module(name: str) -> Any:
    """Return the module workers/tasks/<name>.py; Refused, with the reason, where it fails."""
    if not name.isidentifier():
        raise Refused(f"{name!r} cannot name a task")

    module = f"workers.tasks.{name}"
    file = f"workers/tasks/{name}.py"
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise Refused(f"there is no task {name!r}: {file} does not exist") from error

        reason = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        raise Refused(f"{file} cannot be loaded: {reason}") from error
