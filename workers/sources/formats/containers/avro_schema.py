"""How records of Avro are read: by the writer's schema, with values as items take them.

A time is a datetime in UTC, a date its midnight, and bytes that are UTF-8 are text, unless the
item's own field wants dates or bytes, as arrow_values has it. For that the schema gets logical
types of our own, so that fastavro stays as it is for others in the process.
"""

import io
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import fastavro
from fastavro import _read_py
from fastavro.read import LOGICAL_READERS

from workers.errors import Malformed
from workers.sources.formats.containers.arrow_values import midnight, text_of
from workers.sources.formats.header import Columns

OWN = "fanfold-"  # how our own logical types begin
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Bytes that a value takes at least: text, lists and unions say how long they are, or which.
LEAST_BYTES = {"null": 0, "float": 4, "double": 8}
PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
Leaf = Callable[[dict[str, Any]], Any]


class AvroSchema(NamedTuple):
    """The schema of a file, made ready for some columns."""

    # The fields of a record, and those of them that are wanted.
    names: list[str]
    wanted: list[str]
    # What records are read by, and what skips one that has a value that Python does not have.
    values: Any
    bare: Any
    # Bytes that a record takes at least.
    least_bytes: int
    # Reads a record by one of both.
    read: Callable[[io.BytesIO, Any, None], Any]


def schema_of(declared: Any, columns: Columns) -> AvroSchema:
    """Return a writer's schema, ready to read the wanted columns; Malformed where it is none."""
    try:
        bare = fastavro.parse_schema(_rewritten(declared, _bare, _bare))
        names = [str(field["name"]) for field in declared["fields"]]
        wanted = [name for name in names if name in set(columns.names)]
        values = fastavro.parse_schema(_with_values(declared, columns))
        sizes = _Sizes()
        least_bytes = sizes.least(bare)
    except Exception as error:
        raise Malformed(f"its schema cannot be read: {error}") from error

    if any(sizes.least(item) == 0 for item in sizes.listed):
        raise Malformed("its schema has a list of nothing, which damage could make endless")
    # The reader in C ends the process where records lie in each other some thousand times.
    read = _read_py.schemaless_reader if sizes.is_recursive else fastavro.schemaless_reader
    return AvroSchema(names, wanted, values, bare, least_bytes, read)


def _with_values(declared: Any, columns: Columns) -> Any:
    """Return the schema of a record in which the wanted fields have our own logical types."""
    fields = []
    for field in declared["fields"]:
        name = field["name"]
        leaf = _verbatim if name in columns.verbatim else _own
        if name not in columns.names:
            leaf = _plain
        # Records may be shared, by fields that are wanted.
        kind = _rewritten(field["type"], leaf, _own if leaf is _plain else leaf)
        fields.append({"name": name, "type": kind})
    return _named(declared) | {"fields": fields}


def _rewritten(schema: Any, leaf: Leaf, leaf_of_record: Leaf) -> Any:
    """Return a schema of which every primitive type is rewritten, and all that is no type left."""
    if isinstance(schema, list):
        return [_rewritten(branch, leaf, leaf_of_record) for branch in schema]
    if isinstance(schema, str):
        return leaf({"type": schema}) if schema in PRIMITIVES else schema

    kind = schema["type"]
    if kind in ("record", "error"):
        fields = [
            {
                "name": field["name"],
                "type": _rewritten(field["type"], leaf_of_record, leaf_of_record),
            }
            for field in schema["fields"]
        ]
        return _named(schema) | {"type": "record", "fields": fields}

    if kind in ("array", "map"):
        part = "items" if kind == "array" else "values"
        return {"type": kind, part: _rewritten(schema[part], leaf, leaf_of_record)}
    if kind == "enum":
        return _named(schema) | {"symbols": schema["symbols"]}
    is_leaf = kind == "fixed" or kind in PRIMITIVES
    return leaf(schema) if is_leaf else _rewritten(kind, leaf, leaf_of_record)


def _named(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what gives a type its name."""
    return {key: schema[key] for key in ("type", "name", "namespace") if key in schema}


# What becomes of a primitive type


def _bare(schema: dict[str, Any]) -> Any:
    """Return it without a logical type, and as bytes where it is text, which may be none."""
    if schema["type"] == "fixed":
        return _named(schema) | {"size": schema["size"]}
    return "bytes" if schema["type"] == "string" else schema["type"]


def _plain(schema: dict[str, Any]) -> Any:
    """Return it without a logical type, unless it has a name, by which others may refer to it."""
    return _own(schema) if schema["type"] == "fixed" else schema["type"]


def _verbatim(schema: dict[str, Any]) -> Any:
    """Return it with our own logical type, but for dates and bytes."""
    is_verbatim = schema.get("logicalType") == "date" or f"{OWN}text" == _own_name(schema)
    return schema if is_verbatim else _own(schema)


def _own(schema: dict[str, Any]) -> Any:
    """Return it with our own logical type, where there is one."""
    name = _own_name(schema)
    return schema | {"logicalType": name} if name else schema


def _own_name(schema: Mapping[str, Any]) -> str:
    kind = schema["type"]
    logical = schema.get("logicalType")
    name = f"{OWN}{logical}"
    if f"{kind}-{name}" in READERS:
        return name
    is_binary = kind in ("bytes", "fixed") and f"{kind}-{logical}" not in LOGICAL_READERS
    return f"{OWN}text" if is_binary else ""


def _time_reader(unit: str, microseconds: int, parts: int = 1) -> Callable[..., datetime]:
    """Return what reads a time, of a unit that is so many microseconds, or a part of one."""

    def read(value: int, *_: Any) -> datetime:
        try:
            return EPOCH + timedelta(microseconds=value * microseconds // parts)
        except OverflowError:
            raise ValueError(f"a time of {value} {unit} is not in the years 1 to 9999") from None

    return read


def _date(value: int, *_: Any) -> datetime:
    try:
        return midnight(date.fromordinal(value + EPOCH.toordinal()))
    except (ValueError, OverflowError):
        raise ValueError(f"a date of {value} days is not in the years 1 to 9999") from None


def _text(value: bytes, *_: Any) -> str | bytes:
    return text_of(value)


def _uuid(value: bytes | str, *_: Any) -> str:
    return value if isinstance(value, str) else str(UUID(bytes=value))


READERS: dict[str, Callable[..., Any]] = {
    f"int-{OWN}date": _date,
    f"bytes-{OWN}text": _text,
    f"fixed-{OWN}text": _text,
    f"string-{OWN}uuid": _uuid,
    f"fixed-{OWN}uuid": _uuid,
}
for _zone in ("", "local-"):
    READERS[f"long-{OWN}{_zone}timestamp-millis"] = _time_reader("milliseconds", 1_000)
    READERS[f"long-{OWN}{_zone}timestamp-micros"] = _time_reader("microseconds", 1)
    READERS[f"long-{OWN}{_zone}timestamp-nanos"] = _time_reader("nanoseconds", 1, 1_000)
LOGICAL_READERS.update(READERS)


class _Sizes:
    """How many bytes values take at least, by a schema that fastavro has parsed."""

    def __init__(self) -> None:
        # What lists are made of, and the size of each named type; of one that is being looked at 0.
        self.listed: list[Any] = []
        self.is_recursive = False
        self._by_name: dict[str, int] = {}
        self._open: set[str] = set()

    def least(self, schema: Any) -> int:
        """Return the bytes that a value takes at least."""
        if isinstance(schema, list):
            return 1 + min(map(self.least, schema), default=0)
        if isinstance(schema, str):
            self.is_recursive |= schema in self._open
            return self._by_name.get(schema, LEAST_BYTES.get(schema, 1))

        kind = schema["type"]
        if kind == "record":
            return self._least_of_record(schema)
        if kind == "fixed":
            self._by_name[schema["name"]] = int(schema["size"])
            return int(schema["size"])

        if kind in ("array", "map"):
            part = schema["items" if kind == "array" else "values"]
            self.least(part)
            if kind == "array":
                self.listed.append(part)
            return 1
        return self.least(kind) if kind != "enum" else 1

    def _least_of_record(self, schema: Any) -> int:
        name = schema["name"]
        if name not in self._by_name:
            self._by_name[name] = 0
            self._open.add(name)
            self._by_name[name] = sum(self.least(field["type"]) for field in schema["fields"])
            self._open.discard(name)
        return self._by_name[name]
