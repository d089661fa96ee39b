"""Where the blocks of a partition lie in a bucket, and which partition a key belongs to.

A template is a key with tokens for time; see `TOKENS`. One that ends in `/` means all below it,
any other the keys that match whole. After `re:` it is a regular expression with named groups.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Literal

import msgspec

# token -> pattern of what stands there, and how to write a time as it
TOKENS: dict[str, tuple[str, Callable[[datetime], str]]] = {
    "YYYY": (r"\d{4}", lambda time: f"{time:%Y}"),
    "MM": (r"\d{2}", lambda time: f"{time:%m}"),
    "DD": (r"\d{2}", lambda time: f"{time:%d}"),
    "HH": (r"\d{2}", lambda time: f"{time:%H}"),
    "H": (r"\d|1\d|2[0-3]", lambda time: str(time.hour)),  # not padded, as GH Archive has it
    "epoch": (r"\d+", lambda time: str(round(time.timestamp()))),
    "epoch_ms": (r"\d+", lambda time: str(round(time.timestamp() * 1000))),
}
WILDCARDS = {"*": "([^/]*)", "**": "(.*)"}  # any text without, and with slashes
GROUPS = {"YYYY": "year", "MM": "month", "DD": "day", "HH": "hour", "H": "hour"}

TOKEN = re.compile(r"\{([^{}]*)\}")
# A digit beside one of these may belong to either: `{H}{*}` could read hour 10 as hour 1.
AMBIGUOUS_AFTER = re.compile(r"\{(H|epoch|epoch_ms)\}\{(H|epoch|epoch_ms|\*|\*\*)\}")
AMBIGUOUS_BEFORE = re.compile(r"\{(\*|\*\*)\}\{(H|epoch|epoch_ms)\}")
SPELLINGS = (("{H}", "{HH}"), ("{epoch}", "{epoch_ms}"))  # two ways to write one time
# An expression starts with this much text as it stands.
LITERAL = re.compile(r"[^\\.^$*+?{}\[\]|()]*")


class Template(msgspec.Struct, frozen=True, dict=True):
    """A layout of blocks by time, for partitions of a day or an hour."""

    text: str
    every: Literal["day", "hour"] = "day"

    def __post_init__(self) -> None:
        self._check_start()
        groups = set(self.pattern.groupindex)
        if "epoch" not in groups and not self._required_groups <= groups:
            missing = ", ".join(sorted(self._required_groups - groups))
            raise ValueError(f"template {self.text!r} does not say the {missing} of its blocks")

        if self.is_expression:
            if _has_branches(self._expression):
                raise ValueError(f"template {self.text!r}: put | in brackets, or no prefix is sure")
        else:
            self._check_tokens()

    def _check_start(self) -> None:
        if self.text.startswith("/"):
            raise ValueError(
                f"template {self.text!r} begins with /, and keys of S3 hardly ever do: write "
                f"{self.text.lstrip('/')!r}, or, where yours do, a regular expression (`re:/...`)"
            )
        if self.text.startswith("s3://"):
            raise ValueError(
                f"template {self.text!r} names a bucket: write only what follows it, and set "
                "FANFOLD_BUCKET to its name"
            )

    def _check_tokens(self) -> None:
        layout = self.token_text
        ambiguous = AMBIGUOUS_AFTER.search(layout) or AMBIGUOUS_BEFORE.search(layout)
        if ambiguous:
            raise ValueError(f"template {self.text!r}: {ambiguous[0]} is ambiguous; part the two")

        for token, other in SPELLINGS:
            if token in layout and other in layout:
                raise ValueError(f"template {self.text!r} has both {token} and {other}; keep one")

    @property
    def is_expression(self) -> bool:
        """Whether it is a regular expression."""
        return self.text.startswith("re:")

    @property
    def _expression(self) -> str:
        return self.text.removeprefix("re:")

    @property
    def token_text(self) -> str:
        """The text with `{partition}` written as tokens."""
        hour = "-{HH}:00" if self.every == "hour" else ""
        return self.text.replace("{partition}", "{YYYY}-{MM}-{DD}" + hour)

    @property
    def _required_groups(self) -> set[str]:
        date = {"year", "month", "day"}
        return date | {"hour"} if self.every == "hour" else date

    @property
    def _has_hour(self) -> bool:
        return "{H" in self.token_text

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What the keys of blocks look like; named groups hold their time."""
        if self.is_expression:
            try:
                return re.compile(self._expression)
            except re.error as error:
                raise ValueError(f"template {self.text!r}: {error}") from error

        below = "(.+)" if self.text.endswith("/") else ""
        return re.compile("".join(self._pattern_parts()) + below, re.DOTALL | re.ASCII)

    def _pattern_parts(self) -> Iterator[str]:
        """Yield the pattern of each literal and token in turn."""
        groups: set[str] = set()
        for number, part in enumerate(TOKEN.split(self.token_text)):
            if number % 2 == 0:  # between tokens
                if set(part) & set("{}"):
                    raise ValueError(f"template {self.text!r}: a brace in {part!r} has no partner")
                yield re.escape(part)

            elif part in WILDCARDS:
                yield WILDCARDS[part]

            elif part in TOKENS:
                # A time that is written twice is the same both times.
                group = GROUPS.get(part, "epoch")
                yield f"(?P={group})" if group in groups else f"(?P<{group}>{TOKENS[part][0]})"
                groups.add(group)

            else:
                known = ", ".join(["partition", *TOKENS, *WILDCARDS])
                raise ValueError(f"template {self.text!r}: {{{part}}} is none of {known}")

    @property
    def root(self) -> str:
        """The prefix that the keys of all partitions share."""
        if not self.is_expression:
            return self.text.split("{")[0]

        match = LITERAL.match(self._expression)
        literal = match[0] if match else ""
        is_repeated = self._expression[len(literal) : len(literal) + 1] in set("*?{")
        return literal[:-1] if is_repeated else literal

    def prefixes(self, start: datetime) -> list[str]:
        """Return the prefixes to list for the partition that starts then.

        `owns` sorts out the keys of other partitions that a prefix catches too.
        """
        if self.is_expression:
            return [self.root]

        hours = 24 if self.every == "day" and self._has_hour else 1
        times = (start + timedelta(hours=hour) for hour in range(hours))
        prefixes = list(dict.fromkeys(map(self._prefix, times)))

        # One inside another would list the same blocks twice: `-1` lists `-10` to `-19` too.
        return [prefix for prefix in prefixes if not _is_inside_another(prefix, prefixes)]

    def _prefix(self, time: datetime) -> str:
        text = self.token_text.split("{*")[0]
        return TOKEN.sub(lambda match: TOKENS[match[1]][1](time), text)

    def owns(self, key: str) -> datetime | None:
        """Return the start (UTC) of the partition that a key belongs to, or None.

        A key that has an owner starts with one of the owner's `prefixes`.
        """
        match = self.pattern.fullmatch(key)
        if not match:
            return None

        groups = {name: text for name, text in match.groupdict().items() if text}
        if "epoch" not in groups and not self._required_groups <= groups.keys():
            return None  # a group that may be left out was

        try:
            time = _time_of(groups, is_milliseconds="{epoch_ms}" in self.text)
        except (ValueError, OverflowError, OSError):
            return None  # such as month 13

        start = time.replace(hour=0) if self.every == "day" else time
        if self.is_expression:
            return start
        # An epoch that is not midnight, or differs from the date beside it, is never listed.
        listed = self._prefix(time if self._has_hour else start)
        return start if key.startswith(listed) else None

    def free_names(self, key: str) -> list[str]:
        """Return the names in the path of an owned key that the template leaves open.

        What it writes itself, as in `_raw/{partition}/`, is meant; what stands there instead of a
        wildcard, or below, was chosen by whoever wrote the object.
        """
        match = self.pattern.fullmatch(key)
        assert match is not None

        timed = self.pattern.groupindex.values()
        if self.is_expression:  # what is behind the time, but for what is written out
            spans = [(max(match.end(group) for group in timed), len(key))]
            written = self._expression.replace("\\", "")
        else:
            free = set(range(1, self.pattern.groups + 1)).difference(timed)
            spans = [match.span(group) for group in free]
            written = ""

        names = []
        start = 0
        for name in key.split("/"):
            is_free = any(low <= start < high for low, high in spans)
            if is_free and (not written or name not in written):
                names.append(name)
            start += len(name) + 1
        return names


def _time_of(groups: Mapping[str, str], is_milliseconds: bool) -> datetime:
    if "epoch" in groups:
        seconds = int(groups["epoch"]) / (1000 if is_milliseconds else 1)
        time = datetime.fromtimestamp(seconds, UTC).replace(minute=0, second=0, microsecond=0)
    else:
        units = ("year", "month", "day", "hour")
        parts = {unit: int(groups[unit]) for unit in units if unit in groups}
        time = datetime(**parts, tzinfo=UTC)

    if time.year < 1000:
        raise ValueError("partitions have years of four digits")
    return time


def _is_inside_another(prefix: str, prefixes: list[str]) -> bool:
    return any(prefix != other and prefix.startswith(other) for other in prefixes)


def _has_branches(expression: str) -> bool:
    """Tell whether a regular expression has a | outside all brackets."""
    # Escaped characters and character classes first, then brackets from the innermost out.
    outside = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "", expression, flags=re.DOTALL)
    removed = 1
    while removed:
        outside, removed = re.subn(r"\([^()]*\)", "", outside)
    return "|" in outside


@lru_cache
def template(text: str, every: Literal["day", "hour"]) -> Template:
    """Return a template, made once."""
    return Template(text, every)
