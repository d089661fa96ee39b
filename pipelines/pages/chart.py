"""A small picture of a partition's batches: seconds by batch, as SVG that Markdown draws in place.

Dagster's UI draws Markdown in place below 1,000 characters, so the picture is terse and its bars
are few. It has a background of its own, for the dark theme.
"""

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from statistics import median
from typing import NamedTuple
from urllib.parse import quote

WIDTH, HEIGHT = 280, 84
TOP, BOTTOM = 26, 76  # between which bars stand
MAX_CHARACTERS = 1_000  # of Markdown that is drawn in place
MAX_BARS = (22, 14, 8)  # as many as fit; with more batches, a bar stands for several
STRAGGLES = 3.0  # times the median from which a batch straggles; and it takes a second or more
SAFE = "/:,='"  # what a data URI in Markdown may have as it stands
NEAR = 4  # a target more times as high as the highest bar is only named


class Kind(StrEnum):
    """What became of a batch, in the order of how much it matters."""

    FAILED = "failed"
    STRAGGLER = "straggler"
    RETRIED = "retried"
    FINE = "fine"


class Bar(NamedTuple):
    """A batch, or some of them: their longest seconds."""

    seconds: float
    kind: Kind


def bars(seconds: Sequence[float], attempts: Sequence[int], failed: Sequence[bool]) -> list[Bar]:
    """Return a bar for each batch, in their order."""
    limit = max(median(seconds) * STRAGGLES, 1.0) if seconds else 0.0
    return [
        Bar(own, _kind(own > limit, tries, is_failed))
        for own, tries, is_failed in zip(seconds, attempts, failed, strict=True)
    ]


def _kind(is_slow: bool, attempts: int, is_failed: bool) -> Kind:
    if is_failed:
        return Kind.FAILED
    if is_slow:
        return Kind.STRAGGLER
    return Kind.RETRIED if attempts > 1 else Kind.FINE


def chart(batches: Sequence[Bar], target: float) -> str:
    """Return Markdown of a picture of batches, with what it shows as its alternative text."""
    alternative = describe(batches, target)
    for most in MAX_BARS:
        picture = quote(_svg(_binned(batches, most), target), safe=SAFE)
        markdown = f"![{alternative}](data:image/svg+xml,{picture})"
        if len(markdown) < MAX_CHARACTERS:
            break
    return markdown


def _svg(drawn: Sequence[Bar], target: float) -> str:
    highest = max(bar.seconds for bar in drawn)
    is_near = target <= highest * NEAR
    top = max(highest, target if is_near else 0.0, 1e-6)

    parts = [f"<rect width='{WIDTH}' height='{HEIGHT}' rx='4' fill='#f4f4f1'/>"]
    parts.append(_text(11, f"longest {in_seconds(highest)}, target {in_seconds(target)}"))
    step = min(WIDTH / len(drawn), 40)
    width = round(step * 0.7)
    by_kind: dict[Kind, str] = {}
    for number, bar in enumerate(drawn):
        middle = round(step * (number + 0.5))
        height = max(round((BOTTOM - TOP) * bar.seconds / top), 1)
        by_kind[bar.kind] = by_kind.get(bar.kind, "") + _mark(bar.kind, middle, height)

    if is_near:
        line = round(BOTTOM - (BOTTOM - TOP) * target / top)
        parts.append(f"<path stroke='#a40' stroke-dasharray='6' d='M0,{line}h{WIDTH}'/>")
    parts += [_path(kind, shape, width) for kind, shape in by_kind.items()]

    body = "".join(parts)
    return f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}'>{body}</svg>"


def describe(batches: Sequence[Bar], target: float) -> str:
    """Return what the picture of batches shows, in words."""
    seconds = [bar.seconds for bar in batches]
    text = f"{len(batches):,} batch{'es' * (len(batches) > 1)} of {in_seconds(min(seconds))}"
    if len(batches) > 1:
        text += f" to {in_seconds(max(seconds))}"
    text += f", target {in_seconds(target)}"
    for kind, said in SAID.items():
        if number := sum(bar.kind is kind for bar in batches):
            text += f"; {number:,} {said}"
    return text


# How the alternative text says it, with the mark that a bar has.
SAID = {
    Kind.FAILED: "failed (cross)",
    Kind.STRAGGLER: "far slower than most (triangle)",
    Kind.RETRIED: "tried again (stripes)",
}


def _binned(batches: Sequence[Bar], most: int) -> list[Bar]:
    """Return at most so many bars; of several batches the longest, and what matters most."""
    if len(batches) <= most:
        return list(batches)
    order = list(Kind)
    edges = [len(batches) * number // most for number in range(most + 1)]
    drawn = []
    for first, last in pairwise(edges):
        some = batches[first:last]
        kind = min((bar.kind for bar in some), key=order.index)
        drawn.append(Bar(max(bar.seconds for bar in some), kind))
    return drawn


def _mark(kind: Kind, middle: int, height: int) -> str:
    """Return the shape of a bar, as part of the path of its kind."""
    bar = f"M{middle},{BOTTOM}v-{height}"
    if kind is Kind.FAILED:
        return f"M{middle - 4},{BOTTOM - 9}l8,8m0,-8l-8,8"
    if kind is Kind.STRAGGLER:
        return f"{bar}m-4,-8h8l-4,6z"
    return bar


def _path(kind: Kind, shape: str, width: int) -> str:
    looks = {
        Kind.FINE: f"#47a' stroke-width='{width}",
        Kind.RETRIED: f"#47a' stroke-dasharray='2' stroke-width='{width}",
        Kind.STRAGGLER: f"#a40' stroke-width='{min(width, 4)}",
        Kind.FAILED: "#b22' stroke-width='3",
    }
    return f"<path fill='none' stroke='{looks[kind]}' d='{shape}'/>"


def _text(y: int, text: str) -> str:
    return f"<text x='4' y='{y + 4}' font-size='11' font-family='Arial' fill='#333'>{text}</text>"


def in_seconds(seconds: float) -> str:
    """Return seconds as people read them."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    return f"{seconds:,.0f} s"
