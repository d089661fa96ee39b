"""What documents take from the code: the tables of docs/settings.md.

    python -m tests.support.generated

writes them anew; a test says where somebody forgot to.
"""

import io
import re
import tokenize
from pathlib import Path
from typing import Any

import msgspec

from pipelines.variables import NAME, VARIABLES
from tests.support.declared import PROJECT
from workers.declare import asset as declared
from workers.declare.asset import Asset
from workers.values import Value

PAGE = PROJECT / "docs/settings.md"
SOURCE = Path(declared.__file__)
CLASS = re.compile(r"^class (\w+)\(")
FIELD = re.compile(r"^    (\w+): ")
MEGABYTE = 1 << 20


def variables_table() -> str:
    """Return the table of the environment."""
    rows = [(NAME.sub(lambda name: f"`{name[0]}`", key), VARIABLES[key]) for key in VARIABLES]
    return table(("variable", "meaning (without it)"), rows)


def declaration_table() -> str:
    """Return the table of an asset's fields, as the comments over them say what they mean."""
    comments = field_comments()
    rows = []
    for field in msgspec.structs.fields(Asset):
        group = field.type if is_group(field.type) else None
        if group is None:
            rows.append((f"`{field.name}`", meaning(comments[Asset.__name__, field.name], field)))
            continue
        for each in msgspec.structs.fields(group):
            text = comments[group.__name__, each.name]
            rows.append((f"`{field.name}.{each.name}`", meaning(text, each)))
    return table(("field", "meaning (default)"), rows)


def is_group(kind: Any) -> bool:
    """Tell whether a field of the declaration is a group of fields."""
    return isinstance(kind, type) and issubclass(kind, Value)


def meaning(comment: str, field: msgspec.structs.FieldInfo) -> str:
    """Return a field's comment as a cell, with the field's default."""
    text = comment.rstrip(".").replace("|", "\\|")
    default = field.default
    if default is msgspec.NODEFAULT or default in ("", ()):
        return text
    return f"{text} ({shown(field.name, default)})"


def shown(name: str, default: Any) -> str:
    """Return a default as people write it."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if name.endswith("bytes"):
        return f"{default // MEGABYTE} MiB"
    return f"`{default}`" if isinstance(default, str) else f"{default:,}".removesuffix(".0")


def field_comments() -> dict[tuple[str, str], str]:
    """Return the comment over each field of the declaration's classes."""
    lines = SOURCE.read_text().splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(SOURCE.read_text()).readline)
    comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}

    found = {}
    name = ""
    for number, line in enumerate(lines, 1):
        if match := CLASS.match(line):
            name = match[1]
        if match := FIELD.match(line):
            above = []
            while (row := number - 1 - len(above)) in comments:
                above.insert(0, comments[row].removeprefix("# "))
            found[name, match[1]] = " ".join(above)
    return found


def table(heading: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    """Return a table in Markdown."""
    lines = [heading, ("---", "---"), *rows]
    return "\n".join(f"| {left} | {right} |" for left, right in lines)


def written(page: str) -> str:
    """Return the page with its tables as the code has them."""
    for name, made in (("variables", variables_table()), ("declaration", declaration_table())):
        place = re.search(rf"<!-- {name}: .*? -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
        assert place, f"docs/settings.md has no place for the table of {name}"
        page = page[: place.start(1)] + made + page[place.end(1) :]
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
