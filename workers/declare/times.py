"""Times of items: what people and programs write for a moment, as milliseconds since 1970 (UTC)."""

import math
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, ClassVar, NamedTuple, Self

from workers.contributions.fields import FIRST_MILLISECOND, LAST_MILLISECOND


class Unit(NamedTuple):
    """What a number of a time can count."""

    word: str
    per_second: int


UNITS = {
    "s": Unit("seconds", 1),
    "ms": Unit("milliseconds", 1_000),
    "us": Unit("microseconds", 1_000_000),
    "ns": Unit("nanoseconds", 1_000_000_000),
}
# Numbers whose unit is not declared are epoch seconds, and believed from 1971 to 2099 only: less is
# a missing value, a day's number or a month, more is another unit.
FIRST_BELIEVED = 31_536_000
END_BELIEVED = 4_102_444_800
# From here on, in 2033, epoch seconds can look like the hour of a date: 2026013112.
FIRST_LIKE_A_DATE = 2_000_000_000

NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
# How digits alone write a date, by their number; years are those of living memory.
DIGITS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
DATE_OF_DIGITS = re.compile(r"(19|20)\d{6}(\d\d)*")
MAX_SHOWN_CHARACTERS = 60  # of a value that is no time

CLOCK = r"(?P<hour>\d\d)(:?(?P<minute>\d\d)(:?(?P<second>\d\d)(?P<fraction>[.,]\d+)?)?)?"
ZONE = r"(?P<zone>Z|UTC|GMT|[+-]\d\d(:?\d\d)?)"
DAY_AND_MONTH = r"(?P<day>\d{1,2})[ /-](?P<month>[A-Z][a-z]{2})[ /-](?P<year>\d{4})"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
WEEK_DATE = re.compile(r"\d{4}(-W\d\d-\d|W\d{3})")
SLASHES = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-](\d\d|\d{4})\b.*")
FORMS = (
    # ISO 8601 and what is near to it: 2026-01-31 12:00:00,123 UTC, 2026/01/31, 2026-01-31+01:00.
    re.compile(
        rf"(?P<year>\d{{4}})(?P<dash>[-/]?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
        rf"([Tt_ ] *{CLOCK} *{ZONE}?|Z|(?P<offset>\+\d\d:\d\d))?",
        re.IGNORECASE | re.ASCII,
    ),
    # Access logs and e-mail: 31/Jan/2026:12:00:00 +0000, Sat, 31 Jan 2026 12:00:00 GMT.
    re.compile(rf"\[?([A-Z][a-z]+, *)?{DAY_AND_MONTH}[: ]{CLOCK}( *{ZONE})?\]?"),
    # What C's asctime writes: Sat Jan 31 12:00:00 2026, with a zone before the year or without.
    re.compile(
        rf"([A-Z][a-z]{{2}} )?(?P<month>[A-Z][a-z]{{2}}) +(?P<day>\d{{1,2}}) {CLOCK} "
        rf"({ZONE} )?(?P<year>\d{{4}})"
    ),
)


class Time(int):
    """Milliseconds since 1970 (UTC), read from ISO 8601 or epoch seconds; no zone means UTC.

    `Time(unit="ms")`, in place of the type, says what numbers count: s, ms, us or ns.
    """

    # What numbers count, a key of UNITS; where empty, epoch seconds of the years 1971 to 2099.
    unit: ClassVar[str] = ""

    def __new__(cls, milliseconds: int = 0, *, unit: str = "") -> Any:
        if unit:
            return time_in(unit)
        return super().__new__(cls, milliseconds)

    @classmethod
    def read(cls, value: object) -> Self:
        """Return the time that a value means; ValueError or TypeError, with it, where it is none.

        A date is its midnight. Of a moment's fractions of a millisecond the nearer one stands.
        """
        if isinstance(value, str):
            value = _moment(value, cls.unit)
        elif type(value) is int and not cls.unit and FIRST_BELIEVED <= value < FIRST_LIKE_A_DATE:
            return int.__new__(cls, value * 1_000)  # by far the most

        if isinstance(value, date):
            milliseconds = _of_date(value)
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            milliseconds = _of_number(value, cls.unit)
        else:
            raise TypeError(_expected(cls.unit, "null" if value is None else _shown(value)))

        if not FIRST_MILLISECOND <= milliseconds <= LAST_MILLISECOND:
            raise ValueError(_out_of_years(value))
        return int.__new__(cls, milliseconds)


@cache
def time_in(unit: str) -> type[Time]:
    """Return the type of times whose numbers count this unit; ValueError where there is none."""
    if unit not in UNITS:
        raise ValueError(f"Time(unit={unit!r}): a unit is one of {', '.join(UNITS)}")
    return type(f"Time_{unit}", (Time,), {"unit": unit, "__doc__": Time.__doc__})


def _moment(text: str, unit: str) -> date | int | float:
    """Return the moment or the number that a text writes."""
    if text[4:5] == "-" and text[10:11] in ("T", " "):  # as most programs write it
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass

    text = text.strip()
    if NUMBER.fullmatch(text):
        digits = len(text) if not unit and len(text) in (8, 14) else 0
        return _date_of_digits(text, digits) or (int(text) if text.isdigit() else float(text))

    try:
        if WEEK_DATE.fullmatch(text):
            return date.fromisoformat(text)
        for form in FORMS:
            if match := form.fullmatch(text):
                return _of_parts(match.groupdict())
    except ValueError as error:  # a 13th month, or hour 25
        raise ValueError(f"{_expected(unit, _shown(text))}: {error}") from None

    hint = ", which may begin with the day or with the month" if SLASHES.fullmatch(text) else ""
    raise ValueError(_expected(unit, _shown(text)) + hint)


def _of_parts(parts: dict[str, str | None]) -> datetime:
    """Return the moment that a text writes in these parts; no zone means UTC."""
    month = str(parts["month"])
    number = int(month) if month.isdigit() else _number_of_month(month)
    day = date(int(parts["year"] or 0), number, int(parts["day"] or 0))

    hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    fraction = (parts.get("fraction") or "").lstrip(".,").ljust(6, "0")
    micros = int(fraction[:6])

    # The end of a day, and a leap second: the first moment of what follows.
    is_midnight = (hour, minute, second, micros) == (24, 0, 0, 0)
    is_leap = (hour, minute, second) == (23, 59, 60)
    clock = time(0 if is_midnight else hour, minute, 59 if is_leap else second, micros)
    zone = _zone(parts.get("zone") or parts.get("offset") or "Z")
    moment = datetime.combine(day, clock, zone)
    return moment + timedelta(days=int(is_midnight), seconds=int(is_leap))


def _number_of_month(name: str) -> int:
    if name not in MONTHS:
        raise ValueError(f"{name} is no month")
    return MONTHS.index(name) + 1


def _zone(text: str) -> Any:
    """Return the zone that Z, UTC, GMT or an offset such as +01, +0100 or +01:00 names."""
    if text[0] not in "+-":
        return UTC
    return datetime.strptime(text.replace(":", "").ljust(5, "0"), "%z").tzinfo


def _of_date(value: date) -> int:
    """Return the milliseconds of a date's midnight, or of a moment."""
    if not isinstance(value, datetime):
        value = datetime.combine(value, time(), UTC)
    elif value.tzinfo is None:
        value = value.replace(tzinfo=UTC)

    milliseconds = math.floor(value.timestamp() * 1000 + 0.5)
    # The last moment there is, which stands for "for ever", is not rounded up beyond it.
    return LAST_MILLISECOND if milliseconds == LAST_MILLISECOND + 1 else milliseconds


def _of_number(value: float | Decimal, unit: str) -> int:
    """Return the milliseconds of a number; ValueError where it can hardly mean what it says."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(_expected(unit, str(value)))

    if not unit:
        is_believed = FIRST_BELIEVED <= value < END_BELIEVED
        if not is_believed or (value >= FIRST_LIKE_A_DATE and _date_of_number(value)):
            raise ValueError(_unbelieved(value))

    per_second = UNITS[unit or "s"].per_second
    if isinstance(value, int):
        return (2_000 * value + per_second) // (2 * per_second)
    milliseconds = value * 1_000 / per_second
    if math.isinf(milliseconds):
        raise ValueError(_out_of_years(value))
    return math.floor(milliseconds + 0.5)


def _date_of_number(value: float) -> datetime | None:
    """Return the moment that a whole number looks like."""
    text = str(int(value)) if value == int(value) else ""
    return _date_of_digits(text, len(text))


def _date_of_digits(text: str, digits: int) -> datetime | None:
    """Return the moment that so many digits, and nothing else, write as people write dates."""
    if digits not in DIGITS or not DATE_OF_DIGITS.fullmatch(text):
        return None
    try:
        return datetime.strptime(text, DIGITS[digits]).replace(tzinfo=UTC)
    except ValueError:
        return None


def _unbelieved(value: float) -> str:
    """Return why a number without a unit is not taken for epoch seconds, and the way out."""
    if moment := _date_of_number(value):
        written = f"{moment:%FT%TZ}".removesuffix("T00:00:00Z")
        return (
            f'{value} looks like a date, not like epoch seconds: write "{written}", or declare '
            'Time(unit="s") if it counts seconds'
        )

    for name, unit in UNITS.items():
        if FIRST_BELIEVED * unit.per_second <= value < END_BELIEVED * unit.per_second:
            return f'{value} looks like {unit.word}: declare Time(unit="{name}")'
    return (
        f"Expected epoch seconds of the years 1971 to 2099, or ISO 8601, got {_shown(value)}: if "
        'it is a time all the same, declare what it counts, such as Time(unit="s")'
    )


def _out_of_years(value: object) -> str:
    return f"Expected a time in the years 1 to 9999 (UTC), got {_shown(value)}"


def _expected(unit: str, shown: str) -> str:
    word = UNITS[unit].word if unit else "seconds"
    return f"Expected ISO 8601 or epoch {word}, got {shown}"


def _shown(value: object) -> str:
    """Return a value as a reason quotes it."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."
