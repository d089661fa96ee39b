"""How a block is written: as its asset declares, or as its key's suffixes say."""

from typing import Any, Literal

import msgspec

from workers.errors import Refused
from workers.sources.formats.compression import SUFFIXES

KINDS = {
    ".jsonl": "json",
    ".json": "json",
    ".ndjson": "json",
    ".txt": "text",
    ".csv": "csv",
    ".parquet": "parquet",
}


class Format(msgspec.Struct, frozen=True):
    """How a block is written."""

    # Of text each line is an item by itself: the first column of it.
    kind: Literal["json", "text", "csv", "parquet"] = "json"
    compression: str = ""
    delimiter: str = ","
    # Whether a quoted cell of CSV may hold a newline. Without any, plain CSV is cut like lines.
    multiline: bool = True

    @property
    def is_splittable(self) -> bool:
        """Whether ranges of a block can be read by themselves, wherever it is cut."""
        if self.kind == "parquet":
            return True
        return not self.compression and not (self.kind == "csv" and self.multiline)


def format_of(key: str, declared: str = "") -> Format:
    """Return the format of a block: as declared, or by the suffixes of its key; JSON lines else.

    A declaration is the kind and what differs, as in `csv delimiter=; multiline=no` or
    `json compression=gzip`; what it leaves out the key's suffixes say.
    """
    stem = key
    compression = ""
    for suffix, name in SUFFIXES.items():
        if key.endswith(suffix):
            stem = key.removesuffix(suffix)
            compression = name
    kind = next((kind for suffix, kind in KINDS.items() if stem.endswith(suffix)), "json")

    values: dict[str, Any] = {"kind": kind, "compression": compression}
    for word in declared.split():
        name, _, value = word.partition("=")
        if not value:
            values["kind"] = name
        elif name == "multiline":
            values[name] = value == "yes"
        else:
            values[name] = {"tab": "\t", "none": ""}.get(value, value)

    try:
        return msgspec.convert(values, Format)
    except msgspec.ValidationError as error:
        raise Refused(f"{declared!r} is no format: {error}") from error
