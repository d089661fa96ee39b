"""Columns of contributions as they can be merged: text, whole numbers of 64 bits, finite floats.

Whatever can be wrong with a contribution shows here, while its items can still be told apart: one
of a wrong type is found by halves, like an exception of the task.
"""

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

LARGEST_WHOLE = 2**63 - 1
LEAST_WHOLE = -(2**63)
TEXT = pd.StringDtype("pyarrow", na_value=np.nan)  # pandas' own choice for text; it holds UTF-8
MAX_SHOWN_CHARACTERS = 60  # of a value, in an error


class WrongType(TypeError):
    """A contribution holds what its field cannot; `column` is the one at fault."""

    def __init__(self, what: str, value: object, column: pd.Series) -> None:
        value = value.item() if isinstance(value, np.generic) else value
        super().__init__(f"{what}, not {repr(value)[:MAX_SHOWN_CHARACTERS]}")
        self.column = column


def has_missing(column: pd.Series) -> bool:
    """Tell whether a column lacks a value: None, NaN, or what else pandas takes for missing."""
    if column.dtype == TEXT:
        return bool(column.array.__arrow_array__().null_count)
    is_whole = isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub"
    return not is_whole and column.hasnans


def as_text(column: pd.Series, what: str) -> pd.Series:
    """Return a column of text; WrongType, which begins with `what`, where one is something else."""
    if column.dtype == TEXT:
        return column

    if column.dtype.type is not str and infer_dtype(column, skipna=False) != "string":
        for value in column.tolist():
            if not isinstance(value, str):
                raise WrongType(what, value, column)
    try:
        return column.astype(TEXT)
    except UnicodeEncodeError as error:  # half of a surrogate pair, which UTF-8 cannot write
        raise WrongType(what, error.object, column) from error


def as_whole_numbers(column: pd.Series, what: str) -> pd.Series:
    """Return a column of int64; WrongType, which begins with `what`, where one is no such number.

    Floats and Decimals that are whole count, and truth values as 0 and 1.
    """
    kind = column.dtype.kind
    if kind in "ib":
        return column if column.dtype == "int64" else column.astype("int64")

    if kind == "f":
        floats = column.to_numpy("float64")
        is_whole = (floats == np.floor(floats)) & (floats >= LEAST_WHOLE) & (floats < 2.0**63)
        if is_whole.all():
            return column.astype("int64")

    whole = []
    for value in column.tolist():
        number = _whole(value)
        if number is None or not LEAST_WHOLE <= number <= LARGEST_WHOLE:
            raise WrongType(what, value, column)
        whole.append(number)
    return pd.Series(whole, index=column.index, dtype="int64")


def _whole(value: Any) -> int | None:
    """Return a whole number as Python's own, and None for anything else."""
    if isinstance(value, int | np.integer | np.bool_):
        return int(value)
    if not isinstance(value, float | np.floating | Decimal) or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else None


def as_floats(column: pd.Series, what: str) -> pd.Series:
    """Return a column of finite float64; WrongType, which begins with `what`, where one is none.

    Whole numbers and Decimals become the nearest float. -0.0 becomes 0.0: these are equal but
    print differently, so which of them stays would show the order.
    """
    floats = column
    if column.dtype.kind not in "iuf":
        numbers = []
        for value in column.tolist():
            number = _float(value)
            if number is None:
                raise WrongType(what, value, column)
            numbers.append(number)
        floats = pd.Series(numbers, index=column.index, dtype="float64")

    floats = floats.astype("float64") + 0.0
    is_finite = np.isfinite(floats.to_numpy())
    if not is_finite.all():
        raise WrongType(what, column[~is_finite].iloc[0], column)
    return floats


def _float(value: Any) -> float | None:
    """Return a number as a float, and None for anything else."""
    is_number = isinstance(value, int | float | Decimal | np.number)
    if not is_number or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats
        return None
