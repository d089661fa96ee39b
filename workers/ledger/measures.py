"""The numbers of partitions that are held against those of others, and how each is compared."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from workers.declare.asset import Partitions
from workers.values import Document, Value


class Numbers(Value, frozen=True, kw_only=True):
    """What is compared of a folded partition; what is not known is None."""

    # What a plan's counts say.
    COUNTED: ClassVar = ("items", "bytes", "blocks", "dead", "profiles", "widest_gap")

    partition: str
    # Its blocks were listed after it had ended: before, it has less than others.
    is_over: bool
    items: int
    bytes: int
    blocks: int
    dead: int
    profiles: int | None = None
    widest_gap: float | None = None

    @classmethod
    def of_plan(cls, partitions: Partitions, plan: Document) -> "Numbers":
        """Return the numbers in a plan's document."""
        end = partitions.time(plan["partition"]) + partitions.step
        is_over = plan["listed"] >= end.timestamp()
        return cls.of({**plan["counts"], "partition": plan["partition"], "is_over": is_over})

    @property
    def dead_share(self) -> float:
        """The part of the items that are dead letters."""
        return self.dead / max(self.items, 1)


class Measure(NamedTuple):
    """One of the numbers, and how it is compared."""

    name: str
    value: Callable[[Numbers], float | None]
    # What it counts, or rests on: with few of them chance alone makes differences. None is nothing.
    counted: Callable[[Numbers], float | None]
    write: Callable[[float], str]
    # Added before a logarithm is taken: differences far below it are none.
    offset: float = 1.0
    # The least spread, whatever was seen.
    spread: float = 0.175
    tells_less: bool = True


def _count(noun: str) -> Callable[[float], str]:
    return lambda value: f"{value:,.0f} {noun}"


def _size(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f} bytes"


def _share(value: float) -> str:
    return f"{value:.1%} dead letters"


def _gap(value: float) -> str:
    if value < 120:
        return f"{value:,.0f} s without an item"
    if value < 7200:
        return f"{value / 60:,.0f} min without an item"
    return f"{value / 3600:,.1f} h without an item"


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("items", lambda each: each.items, lambda each: each.items, _count("items")),
        Measure("bytes", lambda each: each.bytes, lambda each: each.items, _size),
        Measure("blocks", lambda each: each.blocks, lambda each: each.blocks, _count("blocks")),
        Measure(
            "profiles", lambda each: each.profiles, lambda each: each.profiles, _count("profiles")
        ),
        Measure(
            "dead letters",
            lambda each: each.dead_share,
            lambda each: each.items * 0.005,
            _share,
            offset=0.002,
            spread=0.3,
            tells_less=False,
        ),
        Measure(
            "without an item",
            lambda each: each.widest_gap,
            lambda _each: None,
            _gap,
            offset=60.0,
            spread=0.25,
            tells_less=False,
        ),
    )
}
