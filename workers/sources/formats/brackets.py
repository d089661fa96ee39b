"""Where the objects and lists of JSON end, by their brackets and quotes alone."""

import re

from workers.errors import Malformed
from workers.values import Place

# A text is on one line: JSON knows no newline in it. The quantifiers never give back what they
# took, so no input makes them slow.
STRING = rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"'
FILL = rb'[^{}\[\]"]*+'
GAP = re.compile(rb"[\s,]*+")
TOKEN = re.compile(STRING + rb'|[{}\[\]]|"')
# An object or list with so many levels of others inside: nearly every item. Deeper ones are
# followed bracket by bracket, with the same answer.
NESTED = rb"[{\[]%b(?:%b%b)*+[}\]]" % (FILL, STRING, FILL)
for _ in range(4):
    NESTED = rb"[{\[]%b(?:(?:%b|%b)%b)*+[}\]]" % (FILL, STRING, NESTED, FILL)
BRACKETED = re.compile(NESTED)
OPENING = (b"{", b"[")
CLOSING = (b"}", b"]")
QUOTE = b'"'
UNCLOSED_TEXT = "a text of JSON has no closing quote on its line"


class Incomplete(Exception):
    """A value does not end in the bytes that are there."""


def value_end(text: bytes, start: int = 0) -> int | None:
    """Return where the object or list ends that starts in a text; None where it does not end.

    Malformed where its structure breaks.
    """
    try:
        return end_of(text, start, Place.rest(start))
    except Incomplete:
        return None


def end_of(text: bytes, start: int, rest: Place) -> int:
    """Return where the object or list ends that starts in a text; `rest` is its place."""
    if bracketed := BRACKETED.match(text, start):
        return bracketed.end()

    depth = 0
    for token in TOKEN.finditer(text, start):
        mark = token[0]
        if mark in OPENING:
            depth += 1
        elif mark in CLOSING:
            depth -= 1
            if not depth:
                return token.end()
        elif mark == QUOTE:
            check_quote(text, token.start(), rest)
    raise Incomplete


def check_quote(text: bytes, quote: int, rest: Place) -> None:
    """Refuse a quote that no other one on its line closes; its line may not have ended yet."""
    if text.find(b"\n", quote) >= 0:
        raise Malformed(UNCLOSED_TEXT, rest)
    raise Incomplete
