"""What a profile's fields hold and how two values merge.

Every rule is commutative and associative, with ties broken by value, so the order of batches
never matters. A field knows its rule three times over: on columns (`reduce`), on two states
(`merge`), and for readers (`to_reader`). Sums of floats are exact too: see `exact`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from workers.contributions.columns import (
    WrongType,
    as_floats,
    as_text,
    as_whole_numbers,
    has_missing,
)
from workers.contributions.exact import ZERO, add, of_float, to_float, to_fraction, totals
from workers.contributions.groups import Groups, greatest, latest, least, sums

Rule = Literal["sum", "min", "max", "latest"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
# The times that there are: the years 1 to 9999.
FIRST_MILLISECOND = -62_135_596_800_000
LAST_MILLISECOND = 253_402_300_799_999

# The column of a result that holds a value of this type. Times are milliseconds since 1970.
COLUMNS: dict[type, str] = {
    int: "number",
    bool: "number",
    datetime: "number",
    float: "real",
    str: "text",
}


@dataclass(frozen=True)
class Field:
    """A field of a profile: one value, or (`keyed`) a map of values."""

    type: type = int
    # What becomes of the value of a document that was there before: it gives way, or the profile
    # begins with it.
    adopt: Literal["replace", "begin"] = "replace"
    rule: ClassVar[Rule]
    keyed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.type not in COLUMNS:
            raise TypeError(f"{self}: a field holds int, bool, datetime, float or str")
        if self.adopt not in ("replace", "begin"):
            raise TypeError(f"{self}: adopt is 'replace' or 'begin'")

    @property
    def columns(self) -> list[str]:
        """The columns that contributions to this field have, beside the profile's id."""
        return ["key"] * self.keyed + ["at"] * (self.rule == "latest") + ["value"]

    @cached_property
    def is_sum_of_floats(self) -> bool:
        """Whether states are texts of `exact`: those of sums of floats."""
        return self.rule == "sum" and self.type is float

    @cached_property
    def is_shown_whole(self) -> bool:
        """Whether the state can be told from what readers see."""
        return self.rule != "latest" and not self.is_sum_of_floats

    @cached_property
    def is_shown_as_it_is(self) -> bool:
        """Whether readers see the state itself."""
        return self.is_shown_whole and self.type not in (datetime, bool)

    @property
    def column(self) -> str:
        """The column of a result that holds the field's values."""
        return "text" if self.is_sum_of_floats else COLUMNS[self.type]

    def checked(self, rows: pd.DataFrame, name: str) -> pd.DataFrame:
        """Return contributions to this field, called `name`, as they can be merged: see `columns`.

        ValueError where something is missing, WrongType where it is of a kind that the field
        cannot hold; both concern items.
        """
        columns = {column: rows[column] for column in ("profile", *self.columns)}
        if any(has_missing(column) for column in columns.values()):
            raise ValueError(f"a contribution to {name!r} lacks a profile, a key or a value")

        what = f"contributions to {name!r} need"
        checked = {"profile": as_text(columns["profile"], f"{what} text as profiles")}
        if self.keyed:
            checked["key"] = as_text(columns["key"], f"{what} text as keys")
        if self.rule == "latest":
            checked["at"] = as_whole_numbers(
                columns["at"], f"{what} the milliseconds of a Time as at"
            )
        checked["value"] = self._checked_values(columns["value"], what)

        changed = {
            column: checked[column] for column in columns if checked[column] is not columns[column]
        }
        return rows.assign(**changed) if changed else rows

    def _checked_values(self, values: pd.Series, what: str) -> pd.Series:
        """Return a column of this field's values; `what` begins the sentence of a WrongType."""
        if self.type is str:
            return as_text(values, f"{what} text as values")
        if self.type is float:
            return as_floats(values, f"{what} finite numbers as values")
        if self.type is not datetime:
            return as_whole_numbers(values, f"{what} whole numbers (of 64 bits) as values")

        what = f"{what} the milliseconds of a Time as values"
        times = as_whole_numbers(values, what)
        milliseconds = times.to_numpy()
        if (
            milliseconds.min(initial=0) < FIRST_MILLISECOND
            or milliseconds.max(initial=0) > LAST_MILLISECOND
        ):
            is_within = times.between(FIRST_MILLISECOND, LAST_MILLISECOND)
            raise WrongType(what, times[~is_within].iloc[0], values)
        return times

    def reduce(
        self, groups: Groups, at: np.ndarray | None, values: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Return the time, where the field has one, and the value of each group of rows."""
        if at is not None:
            return latest(groups, at, values)
        if self.is_sum_of_floats:
            return None, totals(groups, values)
        merge = {"sum": sums, "min": least, "max": greatest}[self.rule]
        return None, merge(groups, values)

    def merge(self, first: Any, second: Any) -> Any:
        """Return two states, merged: what `reduce` does, on what profiles hold."""
        if not self.keyed:
            return self.merge_values(first, second)
        merged = dict(first)
        for key, value in second.items():
            merged[key] = self.merge_values(merged[key], value) if key in merged else value
        return merged

    def is_zero(self, value: Any) -> bool:
        """Tell whether a sum is zero."""
        return bool(value == (ZERO if self.is_sum_of_floats else 0))

    def merge_values(self, first: Any, second: Any) -> Any:
        """Return two values, merged: those of a state without keys, or of one key."""
        if self.rule == "sum":
            return add(first, second) if self.is_sum_of_floats else first + second
        return min(first, second) if self.rule == "min" else max(first, second)

    def to_reader(self, state: Any) -> Any:
        """Return what readers see of a state: no bookkeeping, real dates and truth values.

        The state of a profile that nothing was said about is None, or {} where keyed; a total of
        nothing is 0.
        """
        if self.keyed:
            if self.is_shown_as_it_is:
                return state
            return {key: self._value_to_reader(value) for key, value in state.items()}
        if state is None:
            return self.type() if self.rule == "sum" else None
        return self._value_to_reader(state)

    def from_reader(self, shown: Any) -> Any:
        """Return the state that readers see as this, where they see it whole."""
        if not self.keyed:
            return self._value_from_reader(shown)
        if self.is_shown_as_it_is:
            return shown
        return {key: self._value_from_reader(value) for key, value in shown.items()}

    def _value_from_reader(self, value: Any) -> Any:
        if self.type is datetime:
            return (value - EPOCH) // MILLISECOND
        return int(value) if self.type is bool else value

    def state_of(self, value: Any) -> Any:
        """Return the state of a value that stood in a document before Fanfold came.

        A latest value counts as older than any time. TypeError where the value is of another kind.
        """
        if not self.keyed:
            return self._state_of_value(value)
        if not isinstance(value, dict):
            raise TypeError(f"a map of values is needed, not {value!r:.40}")
        return {to_key(key): self._state_of_value(element) for key, element in value.items()}

    def _state_of_value(self, value: Any) -> Any:
        is_right: bool = type(value) is self.type
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if is_whole and self.type in (int, float):
            value, is_right = self.type(value), True  # also MongoDB's own type of 64 bits
        if not is_right:
            raise TypeError(f"{self.type.__name__} is needed, not {value!r:.40}")
        if self.is_sum_of_floats:
            return of_float(value)
        state = self._value_from_reader(value)
        return [FIRST_MILLISECOND, state] if self.rule == "latest" else state

    def exact_input(self, state: Any) -> Any:
        """Return what `derive` gets of a sum of floats: Fractions, under plain keys."""
        if not self.keyed:
            return to_fraction(state or ZERO)
        return {from_key(key): to_fraction(value) for key, value in (state or {}).items()}

    def _value_to_reader(self, value: Any) -> Any:
        value = value[1] if self.rule == "latest" else value
        if self.type is datetime:
            return EPOCH + timedelta(milliseconds=value)
        if self.is_sum_of_floats:
            return to_float(value)
        return bool(value) if self.type is bool else value


class Sum(Field):
    """A total of int or float; exact, whatever the order.

    Of floats, the state is a text that `exact` reads; readers see the nearest float (infinity, of
    a total beyond all floats), and `derive` gets the Fraction.
    """

    rule = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.type not in (int, float):
            raise TypeError(f"{self}: sums are of int or float")


class SumBy(Sum):
    """A map of totals."""

    keyed = True


class Min(Field):
    """The least value."""

    rule = "min"


class Max(Field):
    """The greatest value."""

    rule = "max"


class MinBy(Min):
    """A map of least values."""

    keyed = True


class MaxBy(Max):
    """A map of greatest values."""

    keyed = True


class Latest(Field):
    """The value with the latest time; the greater value where two are equally late."""

    rule = "latest"


class LatestBy(Latest):
    """A map of latest values."""

    keyed = True


class Set(Field):
    """A set; readers see a sorted list. Contributions have a key for each member, and value 1."""

    rule = "max"
    keyed = True
    is_shown_as_it_is = False

    def to_reader(self, state: Any) -> list[str]:
        return sorted(from_key(key) for key in state)

    def from_reader(self, shown: Any) -> dict[str, int]:
        return {to_key(member): 1 for member in shown}

    def state_of(self, value: Any) -> dict[str, int]:
        if not isinstance(value, list) or not all(isinstance(member, str) for member in value):
            raise TypeError(f"a list of text is needed, not {value!r:.40}")
        return self.from_reader(value)


class Marked(LatestBy):
    """The keys whose latest mark is set; readers see a sorted list."""

    def to_reader(self, state: Any) -> list[str]:
        return sorted(from_key(key) for key, (_, is_set) in state.items() if is_set)

    def state_of(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, list) or not all(isinstance(member, str) for member in value):
            raise TypeError(f"a list of text is needed, not {value!r:.40}")
        return {to_key(member): [FIRST_MILLISECOND, 1] for member in value}


@dataclass(frozen=True)
class Gone(Latest):
    """A mark that no reader sees: where the latest one is set, there is no profile."""

    type: type = bool


Fields = Mapping[str, Field]

# MongoDB gives these a meaning inside names, or cannot hold them there.
SPECIAL = re.compile(r"[%.$\0]")
ESCAPED = re.compile(r"%(25|2E|24|00)")


def to_key(text: str) -> str:
    """Return text as a name inside a document: `.`, `$`, `%` and NUL become %2E, %24, %25, %00."""
    if SPECIAL.search(text) is None:
        return text
    return SPECIAL.sub(lambda match: f"%{ord(match[0]):02X}", text)


def from_key(name: str) -> str:
    """Return the text that `to_key` wrote."""
    return ESCAPED.sub(lambda match: chr(int(match[1], 16)), name) if "%" in name else name
