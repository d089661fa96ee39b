"""Contributions to profiles that have a document, and no others."""

from typing import Protocol

import numpy as np
import pandas as pd

from workers.contributions.apart import labelled, labels_of
from workers.contributions.results import Frames
from workers.errors import Refused
from workers.ledger.profiles import ProfileCollection, unknown_of


class ByItem(Protocol):
    """A task, or what calls one, that says by which item a row of contributions is."""

    @property
    def by_item(self) -> bool: ...

    def contribute(self, items: pd.DataFrame) -> Frames: ...


class KnownOnly:
    """A task whose items say nothing where one of their profiles has no document."""

    def __init__(self, task: ByItem, profiles: ProfileCollection) -> None:
        self.task, self.profiles = task, profiles
        # Of the latest call: by number of the item, the first of its profiles that is not there.
        self.unknown: dict[int, str] = {}

    def contribute(self, items: pd.DataFrame) -> Frames:
        """Return the items' contributions by field, without those items."""
        frames = self.task.contribute(labelled(items))
        if frames and not self.task.by_item:
            raise Refused(
                "the asset knows only profiles that have a document (known_only=True), and its "
                "task does not promise by which item a row is: Task(..., by_item=True)"
            )
        ids = {profile for frame in frames.values() for profile in frame["profile"].unique()}
        missing = unknown_of(self.profiles, ids)
        self.unknown = _items_of(frames, missing, len(items)) if missing else {}
        if not self.unknown:
            return frames

        left_out = np.fromiter(self.unknown, "int64")
        kept = {
            name: frame[~np.isin(labels_of(frame, len(items)), left_out)]
            for name, frame in frames.items()
        }
        return {name: frame for name, frame in kept.items() if len(frame)}

    def reason(self, profile_id: str) -> str:
        """Return why an item is not used that says something of a profile."""
        documents, key = self.profiles
        return f"no document of {documents.name} has {key} {profile_id!r}"


def _items_of(frames: Frames, missing: set[str], items: int) -> dict[int, str]:
    """Return the items that say something of profiles, by number, each with the first of them."""
    found: dict[int, str] = {}
    for frame in frames.values():
        is_missing = frame["profile"].isin(missing).to_numpy()
        numbers = labels_of(frame, items)[is_missing].tolist()
        for number, profile_id in zip(numbers, frame["profile"][is_missing], strict=True):
            found.setdefault(number, profile_id)
    return dict(sorted(found.items()))
