"""Fields of items that their type does not know, as the first items of some blocks show them.

Such a field is read by nobody: it may be a typo, or what a producer has added.
"""

from itertools import islice
from typing import Any

import msgspec

from workers.errors import Malformed
from workers.sources.formats.containers.parquet import open_parquet
from workers.sources.formats.csv_records import records
from workers.sources.formats.format import Format
from workers.sources.formats.header import Columns
from workers.sources.formats.lines import split_lines
from workers.sources.formats.values import split_values
from workers.sources.heads import Head
from workers.values import UnknownField

LOOKED_ITEMS = 5  # of a block
MAX_FIELDS = 20  # of a block
MAX_EXAMPLE_CHARACTERS = 40  # since values may be about people
MAX_NAME_CHARACTERS = 60


def unknown_fields(head: Head, form: Format, text: bytes, columns: Columns) -> list[UnknownField]:
    """Return the fields of a block's first items that no item has; `text` is its beginning."""
    if columns.is_array or not columns.names:
        return []

    examples: dict[str, str] = {}
    for item in _first_items(head, form, text):
        for name, value in item.items():
            if name not in columns.names and name != columns.tag and len(examples) < MAX_FIELDS:
                examples.setdefault(name[:MAX_NAME_CHARACTERS], _example(value))
    key = head.block.key
    return [UnknownField(name=name, example=examples[name], block=key) for name in examples]


def _first_items(head: Head, form: Format, text: bytes) -> list[dict[str, Any]]:
    """Return items as far as they can be read; what cannot is for its reader to say."""
    try:
        if form.kind == "parquet":
            schema = open_parquet(head, head.block).file.schema_arrow
            return [{field.name: f"a column of {field.type}" for field in schema}]
        if form.kind == "csv" and not form.columns:
            rows = records(split_lines(iter([text]), 0, None), form)
            header, *firsts = (record.cells for record in islice(rows, 2))
            first = firsts[0] if firsts else [""] * len(header)
            return [dict(zip(header, first, strict=False))]
        if form.kind == "json":
            return _objects(form, text)
    except (Malformed, ValueError, TypeError):
        pass
    return []


def _objects(form: Format, text: bytes) -> list[dict[str, Any]]:
    """Return the first objects of a JSON text."""
    lines = text.split(b"\n", LOOKED_ITEMS)[:LOOKED_ITEMS]
    if form.is_in_values:
        run = next(split_values(iter([text]), form), None)
        lines = run.lines[:LOOKED_ITEMS] if run else []

    objects = []
    for line in lines:
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(value, dict):
            objects.append(value)
    return objects


def _example(value: object) -> str:
    """Return a value as a person is shown it."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_EXAMPLE_CHARACTERS else f"{text[: MAX_EXAMPLE_CHARACTERS - 1]}…"
