"""What equal troubles have in common, though their numbers and ids differ."""

import re
from collections.abc import Sequence

from workers.values import digest

MAX_REASON_CHARACTERS = 300
# In a reason: a number that is no part of a name, nor that of ISO 8601.
NUMBER = re.compile(r"(?<![\w-])(?<!ISO )\d+")
# In a reason: the text that stood where something else was expected.
QUOTED = re.compile(r"(?<=got )(['\"]).*?\1")
# In a sentence: numbers of any form, ids (UUIDs and hexadecimal digests), what is in brackets.
NUMBERS = re.compile(r"\d([\d.,]*\d)?")
IDS = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?=\w*\d)[0-9a-f]{8,}\b")
DETAILS = re.compile(r" ?\([^()]*\)|\[[^\[\]]*\]")


def cause_of(reason: str) -> str:
    """Return a reason without what differs from item to item: numbers, and the text it quotes."""
    return NUMBER.sub("N", QUOTED.sub("'...'", reason))[:MAX_REASON_CHARACTERS]


def fingerprint(sentences: Sequence[str]) -> str:
    """Return a digest of what went wrong, equal for equal troubles; "" where nothing did.

    Sentences may differ in numbers, in ids, and in what stands in parentheses or brackets.
    """
    if not sentences:
        return ""

    causes = set()
    for sentence in sentences:
        without_details = DETAILS.sub("", sentence)
        without_ids = IDS.sub("ID", without_details)
        causes.add(NUMBERS.sub("N", without_ids))
    return digest(sorted(causes))[:20]
