"""Items to try a task on: the one that its author gives, or one made up from its type."""

import io
import typing
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from workers.declare.task import Task
from workers.declare.times import Time
from workers.errors import Malformed, Refused
from workers.sources.formats.format import Format
from workers.sources.formats.look import look
from workers.sources.formats.reader import read_range
from workers.sources.formats.rows import Rows
from workers.sources.items import ItemReader
from workers.store import Bytes
from workers.values import ByteRange, PlaceKind

EXAMPLE_TIME = datetime(2001, 2, 3, tzinfo=UTC)
# The made-up value of each type; of a type derived from one of them, it is made from this.
VALUES: dict[type, Any] = {
    Time: round(EXAMPLE_TIME.timestamp() * 1000),
    bool: True,
    int: 1,
    float: 1.0,  # which is whole: a float may be
    str: "1",
    bytes: b"1",
}
FIXED_VALUES: dict[type, Any] = {
    datetime: EXAMPLE_TIME,
    date: EXAMPLE_TIME.date(),
    time: EXAMPLE_TIME.time(),
    timedelta: timedelta(seconds=1),
    Decimal: Decimal(1),
    UUID: UUID(int=1),
    list: [],
    dict: {},
    set: set(),
    tuple: (),
}


def given(task: Task, declared: str, key: str) -> Any:
    """Return the item that a task's author gives to contributions, or None where there is none.

    The format of a text is that of a block with this key. Refused where it is no item. Where the
    task observes the world, an item says nothing of its observations, so None.
    """
    example = task.example
    if example is None or isinstance(example, task.observation_type):
        return example

    items: Sequence[Any] = []
    reasons: list[str] = []
    if isinstance(example, task.item):
        items = [example]
    elif isinstance(example, dict):
        row = Rows([example], PlaceKind.ROW, [0], is_text=_is_text(example))
        items = ItemReader(task.item).items(row, lambda *bad: reasons.append(bad[2])).items
    elif isinstance(example, str | bytes):
        body = example.encode() if isinstance(example, str) else example
        items = _read(task, body, declared, key, reasons)
    else:
        reasons = [f"it is {type(example).__name__}"]

    if not items:
        why = "; ".join(reasons) or "it holds no item"
        raise Refused(f"the example of the task cannot be read as {task.item.__name__}: {why}")
    return None if task.observe else items[0]


def _is_text(row: dict[str, Any]) -> bool:
    return all(isinstance(value, str) for value in row.values())


def _read(task: Task, body: bytes, declared: str, key: str, reasons: list[str]) -> list[Any]:
    """Return the items of a block with this beginning; `reasons` gets why others are none."""
    reader = ItemReader(task.item)
    block = Beginning(body)
    whole = ByteRange(key=key, etag="", size=len(body), start=0, end=len(body), items=1)

    items: list[Any] = []
    try:
        form = look(body, True, key, declared, reader.columns) or Format()
        for run in read_range(block, whole, form, reader.columns):
            items += reader.items(run, lambda *bad: reasons.append(bad[2])).items
    except Malformed as error:
        reasons.append(error.reason)
    return items


class Beginning:
    """The beginning of a block, as text that an author wrote down."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def open(self, key: str, etag: str, start: int, end: int) -> Bytes:
        """Open bytes of it, as a store does."""
        del key, etag
        return io.BytesIO(self.body[start:end])

    def open_whole(self, key: str) -> Bytes:
        """Open all of it."""
        del key
        return io.BytesIO(self.body)


def made_up(item: type[msgspec.Struct]) -> Any:
    """Return a made-up item, or None where the type wants more than its fields' types say."""
    try:
        return _value(item)
    except Exception:  # noqa: BLE001  the type's own: a validation in __post_init__, for one
        return None


def _value(kind: Any) -> Any:
    """Return a made-up value of a type; any exception where that is not simple."""
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case None:
            return _value_of_class(kind)

        case origin if origin is Literal:
            return arguments[0]

        case origin if origin is Annotated:
            return _value_within(arguments[0], arguments[1:], kind)

        case origin if origin is dict:
            return {_value(arguments[0]): _value(arguments[1])}

        case origin if origin in (list, tuple, set, frozenset):
            return origin([_value(part) for part in arguments if part is not Ellipsis])

        case _:  # a union
            return _value(next(part for part in arguments if part is not type(None)))


def _value_within(base: Any, bounds: tuple[Any, ...], kind: Any) -> Any:
    """Return a made-up value of a type with bounds; msgspec.ValidationError where none fits."""
    value = _value(base)
    for bound in bounds:
        if not isinstance(bound, msgspec.Meta):
            continue
        if bound.min_length and len(value) < bound.min_length:
            value = value * bound.min_length
        if bound.ge is not None or bound.gt is not None:
            least = bound.ge if bound.ge is not None else (bound.gt or 0) + 1
            value = max(value, type(value)(least))
        elif bound.le is not None or bound.lt is not None:
            greatest = bound.le if bound.le is not None else (bound.lt or 0) - 1
            value = min(value, type(value)(greatest))

    if isinstance(value, str | int | float | bytes | list | dict):
        msgspec.convert(msgspec.to_builtins(value), kind)
    return value


def _value_of_class(kind: type) -> Any:
    if issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return kind(**{field.name: _value(field.type) for field in fields})

    if issubclass(kind, Enum):
        return next(iter(kind))
    if kind in FIXED_VALUES:
        return FIXED_VALUES[kind]
    for known, value in VALUES.items():
        if issubclass(kind, known):
            derived: Any = kind
            return derived(value)
    raise TypeError(f"no made-up {kind.__name__}")
