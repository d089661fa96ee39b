"""Merging few rows: what `Field.reduce` does by columns, in plain Python.

A group-by of pandas costs a millisecond or more before it has seen a row. Partitions that hold a
dozen items have thousands of them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

FEW_ROWS = 500  # from about here on pandas is faster

# The columns that rows of one group agree in.
Group = tuple[Any, ...]
Merge = Callable[[Any, Any], Any]


def merge_few(rows: pd.DataFrame, by: Sequence[str], merge: Merge) -> pd.DataFrame:
    """Return one row for the rows that agree in the columns `by`, with their values merged."""
    merged: dict[Group, Any] = {}
    for group, value in zip(_groups(rows, by), rows["value"].tolist(), strict=True):
        merged[group] = merge(merged[group], value) if group in merged else value
    return frame_of(by, merged)


def sum_few(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return one row for the rows that agree in the columns `by`, with the sum of their values."""
    sums: dict[Group, Any] = {}
    for group, value in zip(_groups(rows, by), rows["value"].tolist(), strict=True):
        sums[group] = sums.get(group, 0) + value  # a sum of truth values is a number
    return frame_of(by, sums)


def latest_of_few(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return the row with the latest time, and of those the greatest value, of each group."""
    latest: dict[Group, tuple[Any, Any]] = {}
    pairs = zip(rows["at"].tolist(), rows["value"].tolist(), strict=True)
    for group, pair in zip(_groups(rows, by), pairs, strict=True):
        if group not in latest or latest[group] < pair:
            latest[group] = pair

    times = {group: at for group, (at, _) in latest.items()}
    values = [value for _, value in latest.values()]
    return frame_of(by, times, "at").assign(value=values)


def frame_of(by: Sequence[str], values: dict[Group, Any], name: str = "value") -> pd.DataFrame:
    """Return a frame with a row for each group: the columns `by`, then its value."""
    groups = list(zip(*values, strict=True)) or [()] * len(by)
    columns: dict[str, Sequence[Any]] = dict(zip(by, groups, strict=True))
    return pd.DataFrame({**columns, name: list(values.values())})


def _groups(rows: pd.DataFrame, by: Sequence[str]) -> Iterator[Group]:
    return zip(*(rows[name].tolist() for name in by), strict=True)
