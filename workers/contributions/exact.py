"""Exact arithmetic on floats, so that the order in which they come cannot matter.

A finite float is a whole number times a power of two, and so is any sum of floats. A sum is held
as text, the whole number in hexadecimal and the power behind a `p`: "-1a3p-3" is -0x1a3 / 8. The
whole number is odd, and zero is "0p0", so equal sums are equal texts. No sum of floats needs more
than about 550 characters.
"""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain

import numpy as np
import pandas as pd

from workers.contributions.groups import Groups, groups_of, sums

LARGEST = 1e150  # a number up to this has a square, and a sum of many squares, that is a float

ZERO = "0p0"
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
    return write(*_add(read(first), read(second)))


def _add(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """Return the sum of two sums, each given as (whole, power)."""
    first_whole, first_power = first
    second_whole, second_power = second
    power = min(first_power, second_power)

    whole = first_whole << (first_power - power)
    whole += second_whole << (second_power - power)
    return whole, power


def negative(text: str) -> str:
    """Return a sum with the other sign."""
    if text == ZERO:
        return text
    return text.removeprefix("-") if text.startswith("-") else f"-{text}"


def of_float(value: float) -> str:
    """Return the sum that is one finite float; ValueError of any other."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    whole, denominator = value.as_integer_ratio()
    return write(whole, 1 - denominator.bit_length())


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


def totals(groups: Groups, values: np.ndarray) -> np.ndarray:
    """Return the text of the sum of each group's values: finite floats, texts of sums, or both."""
    texts = np.empty(groups.number, dtype=object)
    if values.dtype.kind == "f":
        _fill(texts, _sums_of_floats(groups.of_rows, values))
        return texts

    is_text = np.fromiter((isinstance(value, str) for value in values), bool, len(values))
    is_alone = is_text & (np.bincount(groups.of_rows)[groups.of_rows] == 1)
    texts[groups.of_rows[is_alone]] = values[is_alone]

    floats = _sums_of_floats(groups.of_rows[~is_text], values[~is_text].astype("float64"))
    others = is_text & ~is_alone
    parts = zip(groups.of_rows[others].tolist(), map(read, values[others]), strict=True)
    _fill(texts, chain(floats, parts))
    return texts


def _fill(texts: np.ndarray, addends: Iterable[tuple[int, tuple[int, int]]]) -> None:
    """Set the texts of the groups that have addends, given as the group's number and the sum."""
    sums_by_group: dict[int, tuple[int, int]] = {}
    for number, addend in addends:
        earlier = sums_by_group.get(number)
        sums_by_group[number] = _add(earlier, addend) if earlier else addend
    for number, total in sums_by_group.items():
        texts[number] = write(*total)


def _sums_of_floats(
    of_rows: np.ndarray, values: np.ndarray
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield exact sums of floats of one group and of like size: the group's number, and the sum.

    Halves of mantissas are summed in 64 bits, which 2**32 rows cannot wrap.
    """
    if not len(values):
        return

    fraction, exponent = np.frexp(values)
    power = exponent.astype("int64") - MANTISSA_BITS
    shift = power % POWER_STEP
    whole = np.ldexp(fraction, MANTISSA_BITS).astype("int64") << shift

    step = (power - shift) // POWER_STEP
    least_step = int(step.min())
    steps = int(step.max()) - least_step + 1
    size = (int(of_rows.max()) + 1) * steps
    alike = groups_of(of_rows * steps + (step - least_step), size)

    high = sums(alike, whole >> HALF_BITS).tolist()
    low = sums(alike, whole & ((1 << HALF_BITS) - 1)).tolist()
    numbers, steps_above = np.divmod(alike.codes, steps)
    powers = ((steps_above + least_step) * POWER_STEP).tolist()
    for number, upper, lower, own_power in zip(numbers.tolist(), high, low, powers, strict=True):
        yield number, ((upper << HALF_BITS) + lower, own_power)
