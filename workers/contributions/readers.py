"""From the states of a profile's fields to what readers see, and back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workers.contributions.accumulators import Accumulator
from workers.contributions.fields import Fields, Gone, from_key, to_key
from workers.values import Document

# Makes more fields of a profile's: see `Task.derive`.
Derive = Callable[[dict[str, Any]], dict[str, Any]]


class ProfileError(Exception):
    """Of one profile: it cannot be shown or written; the field at fault, and why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


class Readers:
    """What readers see of the profiles that have some fields."""

    def __init__(self, fields: Fields, derive: Derive | None) -> None:
        self._derive = derive
        self._gone = [name for name, field in fields.items() if isinstance(field, Gone)]
        self._fields = [(name, fields[name]) for name in fields if name not in self._gone]
        self._keyed = [name for name, field in self._fields if field.keyed]
        self._exact = [(name, field) for name, field in self._fields if field.is_sum_of_floats]
        self._taken = {*fields, "_id", "_fold"}  # names that `derive` cannot give
        self._hidden = [name for name, field in fields.items() if not field.is_shown_whole]
        self._begin = [(name, field) for name, field in self._fields if field.adopt == "begin"]
        # What readers see of every profile, beside what `derive` makes.
        self.names = [name for name, _ in self._fields]

    def shown(self, accumulator: Accumulator) -> Document:
        """Return what readers see: every field, and those derived from them.

        Maps that `derive` returns have plain keys, like those it gets. {} where the profile is
        gone; ProfileError where `derive` fails.
        """
        (answer,) = self.all_shown([accumulator])
        if isinstance(answer, ProfileError):
            raise answer from answer.__cause__
        return answer

    def all_shown(self, accumulators: Sequence[Accumulator]) -> list[Document | ProfileError]:
        """Return what readers see of many profiles, field by field: that is faster."""
        shown: list[Document] = [{} for _ in accumulators]
        for name, field in self._fields:
            nothing = field.to_reader({} if field.keyed else None)
            is_as_it_is = field.is_shown_as_it_is
            for document, accumulator in zip(shown, accumulators, strict=True):
                state = accumulator.get(name)
                if state is None:
                    document[name] = nothing
                else:
                    document[name] = state if is_as_it_is else field.to_reader(state)

        return [
            self._finished(accumulator, document)
            for accumulator, document in zip(accumulators, shown, strict=True)
        ]

    def _finished(self, accumulator: Accumulator, shown: Document) -> Document | ProfileError:
        """Return all that readers see of a profile whose own fields they see so."""
        for name in self._gone:
            if name in accumulator and accumulator[name][1]:
                return {}
        if self._derive is None:
            return shown

        inputs = shown.copy()
        for name in self._keyed:
            inputs[name] = _with_plain_keys(shown[name])
        for name, field in self._exact:
            inputs[name] = field.exact_input(accumulator.get(name))
        try:
            derived = self._derive(inputs)
            if not self._taken.isdisjoint(derived):
                taken = ", ".join(sorted(self._taken.intersection(derived)))
                return ProfileError("derive", f"makes {taken}, which the profile has already")
            for name in sorted(derived):
                if to_key(name) != name or not name:
                    return ProfileError("derive", f"makes {name!r}, which no field is called")
                shown[name] = _with_safe_keys(derived[name])
        except Exception as error:  # noqa: BLE001  the task's own: whatever it is, it concerns this profile
            failure = ProfileError("derive", f"{type(error).__name__} in the task: {error}")
            failure.__cause__ = error
            return failure
        return shown

    def hidden(self, accumulator: Accumulator) -> Accumulator:
        """Return the states of which readers do not see all."""
        return {name: accumulator[name] for name in self._hidden if name in accumulator}

    @property
    def beginning(self) -> list[str]:
        """The fields that begin with what documents said before Fanfold came."""
        return [name for name, _ in self._begin]

    def begun(self, document: Mapping[str, Any]) -> Accumulator:
        """Return what a profile begins with, of a document that Fanfold has not written yet.

        ProfileError where a field of it is of another kind than its declaration says.
        """
        begun = {}
        for name, field in self._begin:
            value = document.get(name)
            if value is not None:
                try:
                    begun[name] = field.state_of(value)
                except (TypeError, ValueError) as error:
                    why = f"the document says {type(value).__name__} before Fanfold: {error}"
                    raise ProfileError(name, why) from error
        return begun

    def states(self, shown: Mapping[str, Any]) -> Accumulator:
        """Return the states of the fields that readers see whole, of what they see."""
        states = {}
        for name, field in self._fields:
            value = shown.get(name)
            if value is not None and name not in self._hidden:
                states[name] = value if field.is_shown_as_it_is else field.from_reader(value)
        return states


def _with_plain_keys(value: list[Any] | dict[str, Any]) -> list[Any] | dict[str, Any]:
    """Return a list or a map of its own, the latter with plain keys."""
    if isinstance(value, list):
        return list(value)
    if "%" not in "".join(value):
        return dict(value)
    return {from_key(key): element for key, element in value.items()}


def _with_safe_keys(value: Any) -> Any:
    """Return a map with its keys as MongoDB holds them, and anything else as it is."""
    if not isinstance(value, dict):
        return value
    return {to_key(key): element for key, element in value.items()}
