"""How a block is written: what its asset declares, and what the suffixes of its key say."""

from typing import Any, Literal

import msgspec

from workers.errors import Refused
from workers.sources.formats.plain.compression import SUFFIXES
from workers.values import learn

Kind = Literal["json", "text", "csv", "w3c", "parquet", "orc", "avro", "arrow"]
KINDS: dict[str, Kind] = {
    ".jsonl": "json",
    ".json": "json",
    ".ndjson": "json",
    ".txt": "text",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".orc": "orc",
    ".avro": "avro",
    ".arrow": "arrow",
    ".feather": "arrow",
}
# Kinds that say by themselves where rows begin, and which columns there are.
CONTAINERS: frozenset[Kind] = frozenset({"parquet", "orc", "avro", "arrow"})
SPOKEN_VALUES = {"tab": "\t", "none": ""}


class Format(msgspec.Struct, frozen=True):
    """How a block is written."""

    # Of text each line is an item by itself: the first column of it, or the groups of a pattern.
    kind: Kind = "json"
    compression: str = ""
    # The encoding of text; empty where it is UTF-8.
    encoding: str = ""

    # JSON: a value a line; values behind one another, of many lines or of none; a list of them.
    shape: Literal["lines", "values", "array"] = "lines"
    # JSON: the field of each value that holds the items, a list.
    records: str = ""

    # CSV
    delimiter: str = ","
    # What a cell stands between that has delimiters in it; where empty, quotes are plain text.
    quote: Literal['"', ""] = '"'
    # Whether a quoted cell may hold a newline. Without any, plain CSV is cut like lines.
    multiline: bool = True
    # What escapes a quote, where that is not a second quote.
    escape: str = ""
    # The names of the columns, where blocks have no header.
    columns: tuple[str, ...] = ()
    # Texts that mean a missing value, beside the empty one.
    nulls: tuple[str, ...] = ()

    # Text: a regular expression with named groups, or the name of a ready one.
    pattern: str = ""

    @property
    def is_in_values(self) -> bool:
        """Whether items are JSON values that are not one to a line."""
        return self.kind == "json" and (self.shape != "lines" or bool(self.records))

    @property
    def is_splittable(self) -> bool:
        """Whether ranges of a block can be read by themselves, wherever it is cut."""
        if self.kind in CONTAINERS:
            return True
        if self.compression or self.encoding:
            return False
        if self.kind in ("json", "text"):
            return not self.is_in_values
        return self.kind == "csv" and not self.multiline


def format_of(key: str, declared: str = "") -> Format:
    """Return the format of a block: as declared, or by the suffixes of its key; JSON lines else.

    A declaration is the kind and what differs, as in `csv delimiter=; multiline=no`,
    `json compression=gzip` or `text pattern=^(?P<url>.*)$` (a pattern comes last); what it leaves
    out the key's suffixes say.
    """
    values = suffix_values(key) | declared_values(declared)
    learn(Format)
    try:
        return msgspec.convert({"kind": "json"} | values, Format)
    except msgspec.ValidationError as error:
        raise Refused(f"{declared!r} is no format: {error}") from error


def suffix_values(key: str) -> dict[str, Any]:
    """Return what the suffixes of a key, of any case, say of its format."""
    stem = key.lower()
    values: dict[str, Any] = {}
    for suffix, name in SUFFIXES.items():
        if stem.endswith(suffix):
            values["compression"] = name
            stem = stem.removesuffix(suffix)
            break

    for suffix, kind in KINDS.items():
        if stem.endswith(suffix):
            values["kind"] = kind
    if stem.endswith(".tsv"):
        values["delimiter"] = "\t"
    return values


def declared_values(declared: str) -> dict[str, Any]:
    """Return what a declaration says of a format, by the fields of Format."""
    words, is_pattern, pattern = declared.partition("pattern=")
    values: dict[str, Any] = {"pattern": pattern.strip()} if is_pattern else {}

    for word in words.split():
        name, is_option, value = word.partition("=")
        if not is_option:
            values["kind"] = name
        elif name == "multiline":
            values[name] = value == "yes"
        elif name in ("columns", "nulls"):
            values[name] = value.split(",")
        else:
            values[name] = SPOKEN_VALUES.get(value, value)

    if values.get("quote") == "":
        values.setdefault("multiline", False)
    return values
