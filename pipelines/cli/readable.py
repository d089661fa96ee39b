"""Values of profiles as people read them, within the width of a terminal."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipelines.cli.console import out

COLUMNS = 80  # of a page in a file or a pipe
MAX_ELEMENTS = 10  # of a map or a list that are shown
EXPONENTS = 1e15  # from which a number is written with an exponent
MAX_NAME = 24  # characters of a field's name that its column is made for


def page_width() -> int:
    """Return how many characters a line of a page may have."""
    return out.width if out.is_terminal else COLUMNS


def field_lines(fields: Mapping[str, Any], indent: str = "  ") -> Iterator[str]:
    """Yield fields by lines, the names in a column of their own."""
    width = min(max(map(len, fields), default=0), MAX_NAME)
    for name, value in fields.items():
        label = f"{indent}{cut(name, width):<{width}}  "
        yield from wrapped(text_of(value), label, " " * (len(indent) + width + 2))


def wrapped(text: str, first: str, then: str) -> list[str]:
    """Return text in lines that fit the page; a word that does not is cut."""
    lines = textwrap.wrap(
        text,
        page_width(),
        initial_indent=first,
        subsequent_indent=then,
        break_on_hyphens=False,
    )
    return lines or [first.rstrip()]


def cut(text: str, width: int) -> str:
    """Return one line of text that is no longer than a width."""
    line = "".join(character if character.isprintable() else " " for character in text).strip()
    return line if len(line) <= width else line[: max(width - 3, 0)] + "..."


def text_of(value: Any) -> str:
    """Return a value as a person reads it; of a long map or list the first, and how many more."""
    if isinstance(value, Mapping):
        parts = [f"{from_name(key)} {text_of(value[key])}" for key in _in_order(value)]
        return _listed(parts, ", ")
    if isinstance(value, list | tuple):  # of texts such as "American President, The"
        return _listed([text_of(element) for element in value], "; ")
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    return _plain_text(value)


def _plain_text(value: Any) -> str:
    """Return a single value; of a number what matters of its digits, as --json has all."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        is_usual = 1 <= abs(value) < EXPONENTS
        return f"{value:,.4f}".rstrip("0").rstrip(".") if is_usual else f"{value:.4g}"
    return "-" if value is None else str(value)


def from_name(key: str) -> str:
    """Return a key of a map as it was before MongoDB held it."""
    from workers.contributions.fields import from_key  # noqa: PLC0415  help needs no pandas

    return from_key(key)


def _in_order(mapping: Mapping[str, Any]) -> list[str]:
    """Return the keys of a map: by value, the largest first, where all are numbers."""
    are_numbers = all(type(value) in (int, float) for value in mapping.values())
    if not are_numbers:
        return list(mapping)
    return sorted(mapping, key=lambda key: (-mapping[key], key))


def _listed(parts: Sequence[str], between: str) -> str:
    more = len(parts) - MAX_ELEMENTS
    shown = between.join(parts[:MAX_ELEMENTS]) or "-"
    return f"{shown} and {more:,} more" if more > 0 else shown


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        out.print(line, markup=False)
