"""Exact arithmetic on floats, so that the order in which they come cannot matter.

A finite float is a whole number times a power of two, and so is any sum of floats. A sum is held
as text, the whole number in hexadecimal and the power behind a `p`: "-1a3p-3" is -0x1a3 / 8. The
whole number is odd, and zero is "0p0", so equal sums are equal texts. No sum of floats needs more
than about 550 characters.
"""

import math
from collections import defaultdict
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from workers.contributions.few import frame_of

LARGEST = 1e150  # a number up to this has a square, and a sum of many squares, that is a float

ZERO = "0p0"
FEW_ADDENDS = 2_000  # rows that are summed one by one sooner than by columns
MANTISSA_BITS = 53  # of a float
POWER_STEP = 8  # powers are multiples of it, so that numbers of like size share one
HALF_BITS = 30  # of the lower half of a mantissa, which has up to 53 + POWER_STEP - 1
SPLITTER = float((1 << 27) + 1)  # splits the 53 bits of a float into two halves


def write(whole: int, power: int) -> str:
    """Return the text of whole * 2**power."""
    if not whole:
        return ZERO
    spare = (whole & -whole).bit_length() - 1
    return f"{whole >> spare:x}p{power + spare}"


def read(text: str) -> tuple[int, int]:
    """Return (whole, power) of a text."""
    whole, _, power = text.partition("p")
    return int(whole, 16), int(power)


def add(first: str, second: str) -> str:
    """Return the sum of two sums, exactly."""
    first_whole, first_power = read(first)
    second_whole, second_power = read(second)
    power = min(first_power, second_power)

    whole = first_whole << (first_power - power)
    whole += second_whole << (second_power - power)
    return write(whole, power)


def to_fraction(text: str) -> Fraction:
    """Return a sum as it is."""
    whole, power = read(text)
    return Fraction(whole << power) if power > 0 else Fraction(whole, 1 << -power)


def to_float(text: str) -> float:
    """Return the float nearest to a sum; one beyond all floats is infinite, as IEEE 754 has it."""
    whole, power = read(text)
    try:
        return float(whole << power) if power > 0 else whole / (1 << -power)
    except OverflowError:
        return math.inf if whole > 0 else -math.inf


def root(value: Fraction) -> float:
    """Return the float nearest to the square root of a fraction that is not negative.

    64 bits or more of the root are cut off rather than rounded, and the last one is set where
    anything was left: then rounding to a float's 53 sees on which side of the middle the root
    lies (rounding to odd; Boldo and Melquiond, IEEE Transactions on Computers 57(4), 2008).
    """
    numerator = value.numerator
    denominator = value.denominator
    shift = max(0, 64 - (numerator.bit_length() - denominator.bit_length()) // 2)
    square, rest = divmod(numerator << 2 * shift, denominator)

    whole = math.isqrt(square)
    if rest or whole * whole != square:
        whole |= 1
    return whole / (1 << shift)


def squares(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return two columns of floats whose sum is the square of each value.

    The sum is exact for 0 and from 1e-145 to LARGEST, either way; of smaller values it is off by
    less than 1e-322. ValueError beyond LARGEST.
    The product of Dekker, with the splitting of Veltkamp: T. J. Dekker, "A floating-point technique
    for extending the available precision", Numerische Mathematik 18, 1971.
    """
    if len(values) and values.abs().max() > LARGEST:
        raise ValueError(f"numbers beyond {LARGEST:g} have no exact square")

    square = values * values
    scaled = values * SPLITTER
    head = scaled - (scaled - values)
    tail = values - head
    return square, ((head * head - square) + 2 * head * tail) + tail * tail


def totals(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return one row for the rows that agree in the columns `by`, with the text of their sum.

    The column `value` holds finite floats, texts of sums, or both.
    """
    if 0 < len(rows) <= FEW_ADDENDS:
        return _totals_of_few(rows, by)

    is_text = _are_texts(rows["value"])
    if not is_text.any():
        return _totals_of_floats(rows, by)

    of_floats = _totals_of_floats(rows[~is_text], by)
    parts = pd.concat([of_floats, rows.loc[is_text, [*by, "value"]]])
    group = parts.groupby(by, sort=False).ngroup()

    sums: dict[int, str] = {}
    for number, text in zip(group.tolist(), parts["value"].tolist(), strict=True):
        sums[number] = add(sums[number], text) if number in sums else text
    return _with_texts(group, parts[by], list(sums.values()))


def _totals_of_few(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return totals of few floats and texts, one by one."""
    parts: dict[tuple[Any, ...], dict[int, int]] = {}
    groups = zip(*(rows[name].tolist() for name in by), strict=True)
    for group, value in zip(groups, rows["value"].tolist(), strict=True):
        whole, power = read(value) if isinstance(value, str) else _parts_of(value)
        wholes = parts.setdefault(group, {})
        wholes[power] = wholes.get(power, 0) + whole

    texts = {}
    for group, wholes in parts.items():
        least_power = min(wholes)
        total = sum(whole << (power - least_power) for power, whole in wholes.items())
        texts[group] = write(total, least_power)
    return frame_of(by, texts)


def _parts_of(value: float) -> tuple[int, int]:
    """Return (whole, power) of a finite number."""
    numerator, denominator = value.as_integer_ratio()
    return numerator, 1 - denominator.bit_length()


def _are_texts(values: pd.Series) -> np.ndarray:
    if values.dtype.kind == "f":
        return np.zeros(len(values), dtype=bool)
    return np.fromiter((isinstance(value, str) for value in values.tolist()), bool, len(values))


def _totals_of_floats(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return totals of floats: by columns for those of like size, and then these few in Python.

    Halves of mantissas are summed in 64 bits, which 2**32 rows cannot wrap.
    """
    fraction, exponent = np.frexp(rows["value"].to_numpy("float64"))
    power = exponent.astype("int64") - MANTISSA_BITS
    shift = power % POWER_STEP
    whole = np.ldexp(fraction, MANTISSA_BITS).astype("int64") << shift

    high = whole >> HALF_BITS
    low = whole & ((1 << HALF_BITS) - 1)
    parts = rows[by].assign(power=power - shift, high=high, low=low)
    alike = parts.groupby([*by, "power"], sort=False)[["high", "low"]].sum().reset_index()

    group = alike.groupby(by, sort=False).ngroup()
    least_power = int(alike["power"].min()) if len(alike) else 0
    columns = (part.tolist() for part in (group, alike["high"], alike["low"], alike["power"]))
    sums: dict[int, int] = defaultdict(int)
    for number, upper, lower, own_power in zip(*columns, strict=True):
        sums[number] += ((upper << HALF_BITS) + lower) << (own_power - least_power)

    texts = [write(total, least_power) for total in sums.values()]
    return _with_texts(group, alike[by], texts)


def _with_texts(group: pd.Series, keys: pd.DataFrame, texts: list[str]) -> pd.DataFrame:
    """Return the keys of each group, in order of appearance, with its text."""
    first = keys[~group.duplicated().to_numpy()].reset_index(drop=True)
    return first.assign(value=pd.Series(texts, dtype="str"))
