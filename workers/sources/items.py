"""From lines and rows to items of the type that a task declares, and to what they contribute."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import cache, partial
from typing import Any, NamedTuple, Protocol, get_args, get_origin

import msgspec
import pandas as pd
import pyarrow as pa

from workers.contributions.results import Frames
from workers.declare.times import Time
from workers.declare.types import Number
from workers.errors import FanfoldError
from workers.memory import collection_paused
from workers.sources.columns.batches import Batches
from workers.sources.columns.frames import Items, item_columns, readable_columns, to_frame
from workers.sources.columns.json_lines import MIN_BYTES, JsonLines
from workers.sources.columns.text import without_zeros
from workers.sources.formats.header import Columns
from workers.sources.formats.lines import BOM, TOO_LONG, Lines
from workers.sources.formats.rows import Rows
from workers.sources.formats.values import separate
from workers.sources.taken import Taken
from workers.values import Place, learn

TRAILING = "trailing characters"  # what msgspec says of a line with more than one value
# What hears of a bad item: its place, the item as it stands, and the reason.
Reject = Callable[[Place, bytes, str], None]
JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
# What Python and JavaScript write though no JSON has it, where a value stands.
NO_JSON = re.compile(r"[\[:,]\s*([+-]?(?:NaN|nan|Infinity|inf|undefined|None))\b")
HIGH_SURROGATE = rb"\\u[dD][89abAB]\w\w"
LOW_SURROGATE = rb"\\u[dD][c-fC-F]\w\w"
LONE_SURROGATE = re.compile(
    rb"%b(?!%b)|(?<!%b)%b" % (HIGH_SURROGATE, LOW_SURROGATE, HIGH_SURROGATE, LOW_SURROGATE)
)
BAD_ITEM = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def columns_of(item: type[msgspec.Struct]) -> Columns:
    """Return the columns that items of a type have."""
    fields = msgspec.structs.fields(item)
    return Columns(
        names=tuple(field.encode_name for field in fields),
        required=frozenset(field.encode_name for field in fields if field.required),
        is_array=item.__struct_config__.array_like,
        verbatim=frozenset(field.encode_name for field in fields if _is_verbatim(field.type)),
        tag=item.__struct_config__.tag_field or "",
    )


class ItemReader:
    """Makes items of one type from lines of JSON and from rows, and columns from items.

    With `by_columns`, what surely reads alike gives columns at once, and no object for each item.
    """

    def __init__(self, item: type[msgspec.Struct], by_columns: bool = False) -> None:
        learn(item)
        self._item = item
        self._decode = msgspec.json.Decoder(item, dec_hook=_custom).decode
        readable = readable_columns(item) if by_columns else []
        self._json_lines = JsonLines(readable, self._decode) if readable else None
        self._batches = Batches(readable) if readable else None
        self.columns = columns_of(item)
        self._frame_columns = item_columns(item)

        fields = msgspec.structs.fields(item)
        self._types = {field.encode_name: field.type for field in fields}
        self._wholes = [
            field.encode_name for field in fields if int in (field.type, *get_args(field.type))
        ]
        self._lists = [field.encode_name for field in fields if _is_list(field.type)]
        self._numbers = {field.encode_name for field in fields if _is_number(field.type)}

    def items(self, run: Lines | Rows, reject: Reject) -> Taken:
        """Return the items of a run; `reject` hears of every other one.

        Blank lines are no items. A run whose lines have several values each comes back with a line
        for each of them.
        """
        batch = self._by_columns(run)
        if batch is not None:
            return Taken(run, batch, range(len(batch)))

        path = self._path_values(run.path) if run.path else {}
        if isinstance(run, Rows):
            numbers: Sequence[int] = range(len(run.rows))
            return _each(run, numbers, lambda number: self._from_row(run, number, path), reject)
        if run.is_cut:
            reject(run.place(0), run.raw(0), TOO_LONG)
            return Taken(run, [], [])

        if run.start == 0 and run.lines and run.lines[0].startswith(BOM):
            lines = [run.lines[0].removeprefix(BOM), *run.lines[1:]]
        else:
            lines = run.lines
        numbers = [i for i, line in enumerate(lines) if line and not line.isspace()]

        decode = partial(self._with_path, path) if path else self._decode
        try:
            with collection_paused():
                return Taken(run, [decode(lines[number]) for number in numbers], numbers)
        except BAD_ITEM as error:
            separated = separate(run) if TRAILING in str(error) else run
            if len(separated.lines) > len(run.lines):
                return self.items(separated, reject)
            return _each(run, numbers, lambda number: decode(lines[number]), reject)

    def _by_columns(self, run: Lines | Rows) -> pa.RecordBatch | None:
        """Return the items of a run as columns; None where they are to be read one by one."""
        if run.path:
            return None
        if isinstance(run, Rows):
            if not self._batches or not isinstance(run.content, pa.RecordBatch):
                return None
            return self._batches.read(run.content, run.is_text)
        if not isinstance(run.content, bytes) or len(run.content) < MIN_BYTES:
            return None
        return self._json_lines.read(run.content) if self._json_lines else None

    def _path_values(self, path: dict[str, str | None]) -> dict[str, Any]:
        """Return what a key says, as the types of the fields want it; what they refuse stays text.

        Numbers and truth values only: other types are read from text.
        """
        values: dict[str, Any] = {}
        for name, text in path.items():
            if text is None:
                continue
            try:
                value = msgspec.convert(text, self._types[name], strict=False, dec_hook=_custom)
            except BAD_ITEM:
                value = text
            values[name] = value if type(value) in (int, float, bool) else text
        return values

    def _with_path(self, path: dict[str, Any], line: bytes) -> Any:
        """Return the item of a line, with what the block's key says where the line does not."""
        value = msgspec.json.decode(line)
        if isinstance(value, dict):
            value = path | value
        return msgspec.convert(value, self._item, dec_hook=_custom)

    def _from_row(self, run: Rows, number: int, path: dict[str, Any]) -> Any:
        row = run.rows[number]
        if isinstance(row, str):
            raise msgspec.ValidationError(row)

        row = path | row if path else row
        if run.is_text:
            # An empty cell says nothing, but of a number it says that it is missing.
            row = {name: text for name, text in row.items() if text or name in self._numbers}
            for name in self._lists:
                if name in row:
                    row[name] = _as_list(row[name])
            for name in self._wholes:
                if name in row:
                    row[name] = without_zeros(row[name])
        return msgspec.convert(row, self._item, strict=not run.is_text, dec_hook=_custom)

    def frame(self, items: Items) -> pd.DataFrame:
        """Return items as columns named as the type's fields."""
        return to_frame(self._frame_columns, items)


def _each(
    run: Lines | Rows, numbers: Sequence[int], read: Callable[[int], Any], reject: Reject
) -> Taken:
    """Return the items that can be read; `reject` hears of the others."""
    items = []
    good_numbers = []
    for number in numbers:
        try:
            items.append(read(number))
            good_numbers.append(number)
        except BAD_ITEM as error:
            raw = run.raw(number)
            reject(run.place(number), raw, reason(error, raw))
    return Taken(run, items, good_numbers)


@cache
def reader_of(item: type[msgspec.Struct], by_columns: bool) -> ItemReader:
    """Return the reader of a type's items, made once: it costs as much as a dozen of them."""
    return ItemReader(item, by_columns)


class Contribution(NamedTuple):
    """What the items from `first` to `last` (exclusive) contribute, or why they cannot."""

    first: int
    last: int
    frames: Frames | Exception


class Contributing(Protocol):
    """What makes contributions of items: a task, or one with a condition."""

    def contribute(self, items: pd.DataFrame) -> Frames: ...


def contribute(
    task: Contributing, reader: ItemReader, items: Items, first: int = 0
) -> Iterator[Contribution]:
    """Yield the contributions of items that work together.

    Where the task raises, halves are tried until the item at fault stands alone; it is yielded
    with its exception. One bad item among n costs at most 2 log2 n + 1 calls.
    """
    if not items:
        return

    try:
        frames = task.contribute(reader.frame(items))
    except (FanfoldError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  the task's own: whatever it is, it concerns these items
        if len(items) == 1:
            yield Contribution(first, first + 1, error)
            return
        half = len(items) // 2
        yield from contribute(task, reader, items[:half], first)
        yield from contribute(task, reader, items[half:], first + half)
        return
    yield Contribution(first, first + len(items), frames)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list or any(_is_list(part) for part in getattr(kind, "__args__", ()))


def _is_number(kind: Any) -> bool:
    return Number in (kind, *get_args(kind))


def _is_verbatim(kind: Any) -> bool:
    """Tell whether a type, or a part of it, is a date or bytes."""
    return kind in (date, bytes) or any(_is_verbatim(part) for part in get_args(kind))


def _as_list(text: str) -> Any:
    """Read a list from one cell: a JSON array, or parts between bars."""
    return msgspec.json.decode(text) if text.startswith("[") else text.split("|")


def _custom(kind: type, value: object) -> object:
    if issubclass(kind, Time):
        return kind.read(value)
    if kind is Number:
        return Number.read(value)
    raise NotImplementedError(f"no rule to read a {kind.__name__}")


def reason(error: Exception, item: bytes = b"") -> str:
    """Return one line that says what is wrong with an item, from its bytes where these tell."""
    if isinstance(error, RecursionError):
        return "JSON is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8: {error.reason}"
    if isinstance(error, msgspec.ValidationError):
        return str(error)

    outside_texts = JSON_TEXT.sub('""', item.decode(errors="replace"))
    if token := NO_JSON.search(outside_texts):
        return f"{token[1]} is no JSON; a value that is missing is null, or left out"
    if LONE_SURROGATE.search(item):
        return "half of a surrogate pair, such as \\ud83d, is no text"
    return str(error)
