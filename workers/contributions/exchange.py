"""Taking back a part of a total, and giving another one for it, where the total alone tells how.

A total of a sum does. A least, greatest or latest value does where the part that is taken back was
not it, or where what comes for it is no less.
"""

from typing import Any

from workers.contributions.accumulators import Accumulator
from workers.contributions.exact import add, negative
from workers.contributions.fields import Field, Fields


class Unknowable(Exception):
    """The total does not tell what is left of it."""


def exchanged(
    fields: Fields, total: Accumulator, old: Accumulator, new: Accumulator
) -> Accumulator:
    """Return a total with `new` in the place of `old`, which is part of it.

    Unknowable where nothing comes for it: nobody else may have said anything of the profile.
    """
    if not new:
        raise Unknowable

    result = dict(total)
    for name in old.keys() | new.keys():
        field = fields[name]
        state = total.get(name)
        if field.keyed:
            result[name] = _map(field, state or {}, old.get(name, {}), new.get(name, {}))
        else:
            result[name] = _value(field, state, old.get(name), new.get(name))
    return result


def _map(field: Field, total: Any, old: Any, new: Any) -> Any:
    result = dict(total)
    for key in old.keys() | new.keys():
        value = _value(field, total.get(key), old.get(key), new.get(key))
        if field.rule == "sum" and key not in new and field.is_zero(value):
            raise Unknowable  # somebody else may have said nothing of this key, or two that add up
        result[key] = value
    return result


def _value(field: Field, total: Any, old: Any, new: Any) -> Any:
    if old is None:
        return new if total is None else field.merge_values(total, new)
    if total is None:
        raise Unknowable

    if field.rule == "sum":
        rest = add(total, negative(old)) if field.is_sum_of_floats else total - old
        return rest if new is None else field.merge_values(rest, new)

    is_as_good = new is not None and field.merge_values(old, new) == new
    if not is_as_good and total == old:
        raise Unknowable
    return total if new is None else field.merge_values(total, new)
