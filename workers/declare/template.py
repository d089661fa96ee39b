"""Where the blocks of a partition lie in a bucket, and which partition a key belongs to.

A template is a key with tokens for time; see `TOKENS`. One that ends in `/` means all below it,
any other the keys that match whole. After `re:` it is a regular expression with named groups.
"""

import re
from collections.abc import Callable
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
WILD = {"*": "[^/]*", "**": ".*"}  # any text without, and with slashes
TOKEN = re.compile(r"\{([^{}]*)\}")
# A digit beside one of these may belong to either: `{H}{*}` could read hour 10 as hour 1.
UNSURE = re.compile(r"\{(H|epoch|epoch_ms)\}\{(H|epoch|epoch_ms|\*|\*\*)\}")
UNSURE_BEFORE = re.compile(r"\{(\*|\*\*)\}\{(H|epoch|epoch_ms)\}")
TWICE = (("{H}", "{HH}"), ("{epoch}", "{epoch_ms}"))  # one time in two spellings
GROUPS = {"YYYY": "year", "MM": "month", "DD": "day", "HH": "hour", "H": "hour"}


class Template(msgspec.Struct, frozen=True, dict=True):
    """A layout of blocks by time, for partitions of a day or an hour."""

    text: str
    every: Literal["day", "hour"] = "day"

    def __post_init__(self) -> None:
        groups = set(self.pattern.groupindex)
        if "epoch" not in groups and not self._needed <= groups:
            missing = ", ".join(sorted(self._needed - groups))
            raise ValueError(f"template {self.text!r} does not say the {missing} of its blocks")
        if self.text.startswith("re:"):
            if _has_branches(self.text.removeprefix("re:")):
                raise ValueError(f"template {self.text!r}: put | in brackets, or no prefix is sure")
            return
        unsure = UNSURE.search(self._spelled_out) or UNSURE_BEFORE.search(self._spelled_out)
        if unsure:
            raise ValueError(f"template {self.text!r}: {unsure[0]} is ambiguous; part the two")
        for one, other in TWICE:
            if one in self._spelled_out and other in self._spelled_out:
                raise ValueError(f"template {self.text!r} has both {one} and {other}; keep one")

    @property
    def _needed(self) -> set[str]:
        return {"year", "month", "day"} | ({"hour"} if self.every == "hour" else set())

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What the keys of blocks look like; named groups hold their time."""
        if self.text.startswith("re:"):
            try:
                return re.compile(self.text.removeprefix("re:"))
            except re.error as error:
                raise ValueError(f"template {self.text!r}: {error}") from error
        parts, seen = [], set()
        for number, part in enumerate(TOKEN.split(self._spelled_out)):
            if number % 2 == 0:
                if set(part) & set("{}"):
                    raise ValueError(f"template {self.text!r}: a brace in {part!r} has no partner")
                parts.append(re.escape(part))
            elif part in WILD:
                parts.append(WILD[part])
            elif part not in TOKENS:
                known = ", ".join(["partition", *TOKENS, *WILD])
                raise ValueError(f"template {self.text!r}: {{{part}}} is none of {known}")
            else:
                group = GROUPS.get(part, "epoch")
                parts.append(
                    f"(?P={group})" if group in seen else f"(?P<{group}>{TOKENS[part][0]})"
                )
                seen.add(group)
        return re.compile(
            "".join(parts) + (".+" if self.text.endswith("/") else ""), re.DOTALL | re.ASCII
        )

    @property
    def _spelled_out(self) -> str:
        hour = "-{HH}:00" if self.every == "hour" else ""
        return self.text.replace("{partition}", "{YYYY}-{MM}-{DD}" + hour)

    @property
    def root(self) -> str:
        """The prefix that the keys of all partitions share."""
        if self.text.startswith("re:"):
            literal = re.match(r"[^\\.^$*+?{}\[\]|()]*", self.text.removeprefix("re:"))
            found = literal[0] if literal else ""
            follows = self.text.removeprefix("re:")[len(found) : len(found) + 1]
            return found[:-1] if follows in set("*?{") else found
        return self.text.split("{")[0]

    def prefixes(self, start: datetime) -> list[str]:
        """Return the prefixes to list for the partition that starts then.

        `owns` sorts out the keys of other partitions that a prefix catches too.
        """
        if self.text.startswith("re:"):
            return [self.root]
        hours = 24 if self.every == "day" and self._has_hour else 1
        found = {self._prefix(start + timedelta(hours=hour)): None for hour in range(hours)}
        # One inside another would list the same blocks twice: `-1` lists `-10` to `-19` too.
        return [p for p in found if not any(p != q and p.startswith(q) for q in found)]

    @property
    def _has_hour(self) -> bool:
        return "{H" in self._spelled_out

    def _prefix(self, time: datetime) -> str:
        return TOKEN.sub(lambda match: TOKENS[match[1]][1](time), self._spelled_out.split("{*")[0])

    def owns(self, key: str) -> datetime | None:
        """Return the start (UTC) of the partition that a key belongs to, or None.

        A key that has an owner starts with one of the owner's `prefixes`.
        """
        match = self.pattern.fullmatch(key)
        said = {name: text for name, text in match.groupdict().items() if text} if match else {}
        if "epoch" not in said and not self._needed <= said.keys():
            return None  # a group that may be left out was
        try:
            time = _time(said, "{epoch_ms}" in self.text)
        except (ValueError, OverflowError, OSError):
            return None  # such as month 13
        start = time.replace(hour=0) if self.every == "day" else time
        if self.text.startswith("re:"):
            return start
        # An epoch that is not midnight, or differs from the date beside it, is never listed.
        return start if key.startswith(self._prefix(time if self._has_hour else start)) else None


def _time(said: dict[str, str], is_milliseconds: bool) -> datetime:
    if "epoch" in said:
        seconds = int(said["epoch"]) / (1000 if is_milliseconds else 1)
        time = datetime.fromtimestamp(seconds, UTC).replace(minute=0, second=0, microsecond=0)
    else:
        parts = {name: int(said[name]) for name in ("year", "month", "day", "hour") if name in said}
        time = datetime(**parts, tzinfo=UTC)
    if time.year < 1000:
        raise ValueError("partitions have years of four digits")
    return time


def _has_branches(expression: str) -> bool:
    """Tell whether a regular expression has a | outside all brackets."""
    rest, found = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "", expression, flags=re.DOTALL), 1
    while found:
        rest, found = re.subn(r"\([^()]*\)", "", rest)
    return "|" in rest


@lru_cache
def template(text: str, every: Literal["day", "hour"]) -> Template:
    """Return a template, made once."""
    return Template(text, every)
