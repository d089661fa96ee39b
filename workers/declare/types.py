"""The types that an item's fields can have beside Python's own."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from workers.contributions.exact import LARGEST

# An identifier: not empty, and short enough to be a key.
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
# Text that becomes a key inside a profile, which MongoDB bounds to 16 MB. It may be empty.
Key = Annotated[str, msgspec.Meta(max_length=10_000)]

FIRST_SECOND = datetime(1, 1, 1, tzinfo=UTC).timestamp()
LAST_SECOND = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
# What files write where a number is missing.
MISSING_TEXTS = {"", "na", "nan", "null", "none"}


class Time(int):
    """Milliseconds since 1970 (UTC), read from ISO 8601 or epoch seconds; no zone means UTC."""

    @classmethod
    def read(cls, value: object) -> "Time":
        """Return the time that a value means; ValueError or TypeError where it is none."""
        if isinstance(value, str):
            value = _read_time(value)
        if isinstance(value, datetime):
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()

        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError("Expected ISO 8601 or epoch seconds")
        if not FIRST_SECOND <= value < LAST_SECOND:
            raise ValueError("Expected a time in the years 1 to 9999, in seconds")
        return cls(math.floor(value * 1000 + 0.5))


def _read_time(text: str) -> datetime | float:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    try:
        return float(text)  # a column of text may hold epoch seconds
    except ValueError:
        raise ValueError("Expected ISO 8601 or epoch seconds") from None  # not all of the text


class Number(float):
    """A number of at most 1e150 either way, or NaN where it is missing: null, empty, NA, NaN."""

    @classmethod
    def read(cls, value: object) -> "Number":
        """Return the number that a value means; ValueError or TypeError where it is none."""
        if isinstance(value, str):
            value = _read_number(value)
        if value is None:
            return cls(math.nan)
        if isinstance(value, Decimal):  # of Parquet
            value = float(value)

        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError("Expected a number or NA")
        if abs(value) > LARGEST:
            raise ValueError(f"Expected a number of at most {LARGEST:g} either way")
        return cls(value)


def _read_number(text: str) -> float | None:
    if text.strip().lower() in MISSING_TEXTS:
        return None
    try:
        if text.isascii() and "_" not in text:  # Python's own notation, and no sensor's
            return float(text)
    except ValueError:
        pass
    raise ValueError("Expected a number or NA")
