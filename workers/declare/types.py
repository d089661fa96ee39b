"""Text and numbers that an item's fields can be, beside Python's own types."""

import math
from decimal import Decimal
from typing import Annotated

import msgspec

from workers.contributions.exact import LARGEST

# An identifier: not empty, and short enough to be a key.
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
# Text that becomes a key inside a profile, which MongoDB bounds to 16 MB. It may be empty.
Key = Annotated[str, msgspec.Meta(max_length=10_000)]

# What files write where a number is missing.
MISSING_TEXTS = {"", "na", "nan", "null", "none"}


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
