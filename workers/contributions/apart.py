"""Contributions of the items of several batches, told apart by the items that rows are about."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from workers.contributions.fields import Fields
from workers.contributions.results import Frames, Part, Parts, parts_of
from workers.contributions.texts import Coded, coded
from workers.errors import Refused

# Of a frame that several batches share. A task that makes an index of its own counts from 0, or
# takes values of items, and never gets as far.
FIRST_LABEL = 1 << 40


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose index tells in contributions which item a row is about."""
    return frame.set_axis(pd.RangeIndex(FIRST_LABEL, FIRST_LABEL + len(frame)))


def labels_of(frame: pd.DataFrame, items: int) -> np.ndarray:
    """Return the number of the item that each row of contributions is about.

    Refused where the index is not that of the items.
    """
    numbers = frame.index.to_numpy() - FIRST_LABEL if frame.index.dtype == "int64" else None
    if numbers is None or numbers.min(initial=0) < 0 or numbers.max(initial=0) >= items:
        raise Refused(
            "the task promises by_item, and a row of its contributions does not have the index of "
            "its item"
        )
    return numbers


def tell_apart(frames: Frames, fields: Fields, ends: Sequence[int]) -> list[Parts] | None:
    """Return contributions by batch; None where the index of a row is not that of an item.

    `ends` are the numbers of items up to the end of each batch.
    """
    by_batch: list[Parts] = [{} for _ in ends]
    together = parts_of(frames, fields)
    for name, frame in frames.items():
        rows_of_batches = _rows_of_batches(frame.index, ends)
        if rows_of_batches is None:
            return None
        for parts, rows in zip(by_batch, rows_of_batches, strict=True):
            if len(rows):
                parts[name] = _rows(together[name], rows)
    return by_batch


def _rows_of_batches(index: pd.Index, ends: Sequence[int]) -> list[np.ndarray] | None:
    """Return the numbers of the rows that are about the items of each batch."""
    if index.dtype != "int64":
        return None
    items = index.to_numpy() - FIRST_LABEL
    if items.min() < 0 or items.max() >= ends[-1]:
        return None

    batches = np.searchsorted(ends, items, side="right")
    order = np.argsort(batches, kind="stable")
    return np.split(order, np.searchsorted(batches[order], range(1, len(ends))))


def _rows(part: Part, rows: np.ndarray) -> Part:
    """Return some rows of a part, with no text that none of them has."""
    value = part.value
    return Part(
        profile=_texts(part.profile, rows),
        key=None if part.key is None else _texts(part.key, rows),
        at=None if part.at is None else part.at[rows],
        value=_texts(value, rows) if isinstance(value, Coded) else value[rows],
    )


def _texts(column: Coded, rows: np.ndarray) -> Coded:
    return coded(column.places[rows], column.dictionary)
