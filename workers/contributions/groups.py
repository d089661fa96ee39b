"""Rows that belong together, by whole numbers: what each rule makes of a group, by columns.

A code is a whole number from 0 up that stands for what rows agree in. Nothing is sorted where codes
are close together: each has a cell of its own, and rows are merged into these in any order.
"""

from typing import NamedTuple

import numpy as np

CELLS_A_ROW = 8  # cells that codes may have for each row; beyond, sorting rows is faster
LARGEST_WHOLE = 2**63 - 1
LEAST_WHOLE = -(2**63)


class Groups(NamedTuple):
    """The groups that rows form."""

    # The code of each group, rising.
    codes: np.ndarray
    # The number of each row's group: where its code stands in `codes`.
    of_rows: np.ndarray

    @property
    def number(self) -> int:
        """How many groups there are."""
        return len(self.codes)


def groups_of(codes: np.ndarray, size: int) -> Groups:
    """Return the groups of rows with the same code; codes are less than `size`."""
    if size > CELLS_A_ROW * len(codes):
        different, of_rows = np.unique(codes, return_inverse=True)
        return Groups(different, of_rows)

    is_met = np.zeros(size, dtype=bool)
    is_met[codes] = True
    different = np.flatnonzero(is_met)
    if len(different) == size:
        return Groups(different, codes)

    numbers = np.empty(size, dtype="int32")
    numbers[different] = np.arange(len(different))
    return Groups(different, numbers[codes].astype("int64"))


def sums(groups: Groups, values: np.ndarray) -> np.ndarray:
    """Return the sum of each group's whole numbers: of 64 bits, or Python's where one is beyond."""
    if _may_wrap(values):
        totals = np.zeros(groups.number, dtype=object)
        np.add.at(totals, groups.of_rows, values.astype(object))
        is_held = all(LEAST_WHOLE <= total <= LARGEST_WHOLE for total in totals)
        return totals.astype("int64") if is_held else totals

    totals = np.zeros(groups.number, dtype="int64")
    np.add.at(totals, groups.of_rows, values)
    return totals


def _may_wrap(values: np.ndarray) -> bool:
    """Tell whether a sum of some of these whole numbers may need more than 64 bits."""
    if not len(values):
        return False
    largest = max(abs(int(values.max())), abs(int(values.min())))
    return largest * len(values) > LARGEST_WHOLE


def least(groups: Groups, values: np.ndarray) -> np.ndarray:
    """Return the least value of each group."""
    return _extremes(np.minimum, groups, values)


def greatest(groups: Groups, values: np.ndarray) -> np.ndarray:
    """Return the greatest value of each group."""
    return _extremes(np.maximum, groups, values)


def latest(groups: Groups, at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the latest time of each group, and the greatest of the values that it has then."""
    latest_at = greatest(groups, at)
    is_latest = at == latest_at[groups.of_rows]
    rows_then = groups._replace(of_rows=groups.of_rows[is_latest])
    return latest_at, greatest(rows_then, values[is_latest])


def _extremes(ufunc: np.ufunc, groups: Groups, values: np.ndarray) -> np.ndarray:
    extremes = np.empty(groups.number, dtype=values.dtype)
    extremes[groups.of_rows] = values  # any of a group's, to begin with
    ufunc.at(extremes, groups.of_rows, values)
    return extremes
