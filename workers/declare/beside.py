"""What lies beside data: objects that the tools which write data hide from those that read it."""

import re
from collections.abc import Iterable

# Hadoop's, Spark's and Hive's: `_SUCCESS`, `_temporary/`, `_delta_log/`, `.part-0.crc`, ...
HIDDEN_START = re.compile(r"(?:^|/)[_.]")
# Marks of folders, checksums, and copies that are under way.
HIDDEN_ENDS = ("_$folder$", ".crc", "._COPYING_")


def may_be_hidden(key: str) -> bool:
    """Tell whether a key needs a closer look; most do not."""
    return HIDDEN_START.search(key) is not None or key.endswith(HIDDEN_ENDS)


def has_hidden(names: Iterable[str]) -> bool:
    """Tell whether one of the names that make up a path is hidden.

    `_column=value` is a folder of data: its name begins as the column's does.
    """
    return any(name.startswith(".") or (name.startswith("_") and "=" not in name) for name in names)
