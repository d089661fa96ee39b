"""What equal troubles have in common, though their numbers and ids differ."""

import re
from collections.abc import Sequence

from workers.values import digest

NUMBER = re.compile(r"(?<![\w-])(?<!ISO )\d+")
REASON_KEPT = 300  # characters of a reason


def cause_of(reason: str) -> str:
    """Return what reasons have in common that differ in their numbers alone."""
    return NUMBER.sub("N", reason)[:REASON_KEPT]


IDS = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?=\w*\d)[0-9a-f]{8,}\b")
NUMBERS = re.compile(r"\d([\d.,]*\d)?")
DETAILS = re.compile(r" ?\([^()]*\)|\[[^\[\]]*\]")


def fingerprint(said: Sequence[str]) -> str:
    """Return what equal troubles have in common; "" where there is none.

    They may differ in numbers, in ids, and in what stands in parentheses or brackets.
    """
    texts = {NUMBERS.sub("N", IDS.sub("ID", DETAILS.sub("", one))) for one in said}
    return digest(sorted(texts))[:20] if texts else ""
