"""Columns of text, as CSV has them, to the types of an item's fields: as each value reads alone."""

from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from workers.declare.types import Number
from workers.sources.columns.frames import Column


def of_text(column: Column, texts: pa.Array) -> pa.Array | None:
    """Return texts as the type of a column, times and numbers as texts; null where one is empty.

    None where texts are to be read one by one.
    """
    if column.kind is Number and not column.is_list:
        return texts  # an empty one says that the number is missing
    is_empty = pc.equal(texts, "")
    if pc.any(is_empty).as_py():
        if column.is_required:
            return None
        texts = pc.if_else(is_empty, None, texts)

    if column.is_list:
        return _lists(column, texts)
    if column.kind is str or column.is_time:
        return texts
    return _converted(column, texts)


def _lists(column: Column, texts: pa.Array) -> pa.Array | None:
    """Return lists of the parts between bars; None where parts are no text, or one is of JSON."""
    if column.kind is not str or pc.any(pc.starts_with(texts, "[")).as_py():
        return None
    return pc.split_pattern(texts, "|").cast(column.type)


def _converted(column: Column, texts: pa.Array) -> pa.Array | None:
    """Return numbers and truth values; None where a text is none, or is too large a number."""
    if texts.null_count and not column.is_nullable:
        return None
    values = texts.to_pylist()
    if column.kind is int and pc.any(pc.starts_with(texts, "0")).as_py():
        values = [without_zeros(value) for value in values]

    kind: Any = column.kind | None if column.is_nullable else column.kind
    try:
        return pa.array(msgspec.convert(values, list[kind], strict=False), column.type)
    except (msgspec.ValidationError, OverflowError):
        return None


def without_zeros(text: Any) -> Any:
    """Return a whole number without the zeros that pad it, as logs and registers write some."""
    is_padded = isinstance(text, str) and text.startswith("0") and text.isdecimal()
    return text.lstrip("0") or "0" if is_padded else text
