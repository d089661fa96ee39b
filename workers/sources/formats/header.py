"""The columns that an item has, held against those that a block says it has."""

from collections.abc import Collection, Sequence
from typing import NoReturn

import msgspec

from workers.errors import Malformed
from workers.values import Place

MAX_SHOWN_COLUMNS = 10  # of a header, in a message
MAX_SHOWN_CHARACTERS = 24  # of a column's name, in a message
DELIMITERS = {";": ";", "\t": "tab", "|": "|", ",": ","}
# What may stand around a name and means nothing: a byte order mark and quotes, beside blanks.
AROUND = "\ufeff \t\r\n\xa0'\""


class Columns(msgspec.Struct, frozen=True):
    """The columns of an item, as its type declares them."""

    names: tuple[str, ...]
    # Those without a default.
    required: frozenset[str] = frozenset()
    # The item is written as a JSON array, and not as an object.
    is_array: bool = False
    # Those whose type takes dates or bytes as they are: others get midnights, and text.
    verbatim: frozenset[str] = frozenset()
    # The field that says which type an item is of; "" where none does.
    tag: str = ""

    def without(self, names: Collection[str]) -> "Columns":
        """Return the columns but for some, which come from elsewhere."""
        if not names:
            return self
        return Columns(
            names=tuple(name for name in self.names if name not in names),
            required=self.required.difference(names),
            is_array=self.is_array,
            verbatim=self.verbatim,
            tag=self.tag,
        )


def check_header(present: Sequence[str], columns: Columns) -> tuple[str, ...]:
    """Return what a person should know of a block with these columns.

    Malformed, with the place of the whole block, where a column would be lost in silence: it is
    there twice, or under a name that differs in case or in blanks alone, or not at all.
    """
    counts = dict.fromkeys(columns.names, 0)
    for name in present:
        if name in counts:
            counts[name] += 1

    for name, count in counts.items():
        if count > 1:
            _refuse(
                f"the column {_shown(name)} is there {count} times, and nothing says which is "
                "meant: give each a name of its own"
            )

    absent = [name for name, count in counts.items() if not count]
    _check_likeness(present, absent)
    needed = [name for name in absent if name in columns.required]
    if needed or (absent and len(absent) == len(counts)):
        _refuse_absent(present, needed or absent, is_foreign=len(absent) == len(counts))

    if not absent:
        return ()
    return (f"no column {_listed(absent)}: each item has the default there",)


def _check_likeness(present: Sequence[str], absent: Sequence[str]) -> None:
    """Raise Malformed where an absent column is there under almost the same name."""
    spelling = {_plain(name): name for name in reversed(present)}
    for name in absent:
        other = spelling.get(_plain(name))
        if other is not None:
            _refuse(
                f"the column is named {_shown(other)} and the item's field {_shown(name)}: let "
                f'the type say so, with rename={{"{name}": "{other}"}}, or mend the block'
            )


def _refuse_absent(present: Sequence[str], absent: Sequence[str], is_foreign: bool) -> NoReturn:
    """Raise Malformed for columns that are not there, with what to do about it."""
    only = present[0] if len(present) == 1 else ""
    delimiter = max(DELIMITERS, key=only.count)

    advice = "mend the block, or give the field a default"
    if delimiter in only:
        spoken = DELIMITERS[delimiter]
        advice = f'if columns are parted otherwise, declare format="csv delimiter={spoken}"'
    elif is_foreign:
        advice = (
            'if blocks have no header, declare format="csv columns=..." with all names, beside '
            "what is declared already"
        )
    _refuse(f"no column {_listed(absent, 3)}: {advice} (there is {_listed(present) or 'none'})")


def _refuse(reason: str) -> NoReturn:
    raise Malformed(reason, Place.rest(0))


def _plain(name: str) -> str:
    return name.strip(AROUND).casefold()


def _listed(names: Sequence[str], most: int = MAX_SHOWN_COLUMNS) -> str:
    """Return names for a message, of which there may be any number."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(_shown, names[:most])) + more


def _shown(name: str) -> str:
    if len(name) > MAX_SHOWN_CHARACTERS:
        name = name[: MAX_SHOWN_CHARACTERS - 1] + "…"
    return f"`{name}`"
