"""In which moments of a partition there are items, as outcomes keep it, and the widest gap.

A moment is a minute of a day, or as small a part of an hour. The time of an item is the first field
of its type that is one; what lies outside of the partition says nothing.
"""

import base64
import zlib
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from workers.declare.asset import Partitions
from workers.declare.times import Time
from workers.errors import Refused

MOMENTS = 1_440  # of a partition
PARTITIONS_KNOWN = 1_000  # whose lengths are remembered


class Moments:
    """The moments of a partition that have items of a type."""

    def __init__(self, partition: str, item: type[msgspec.Struct]) -> None:
        # The first field that is a time; "" where none is.
        self.field = _time_field(item)
        known = _partitions_of(partition) if self.field else None
        self._is_known = known is not None
        if known:
            self._first = round(known.time(partition).timestamp() * 1000)
            self._length = round(known.step.total_seconds() * 1000) // MOMENTS
        self._has_items = np.zeros(MOMENTS, bool)

    def add(self, frame: pd.DataFrame) -> None:
        """Take in the times of a frame of items."""
        if self.field:
            self.add_times(frame[self.field])

    def add_times(self, times: Any) -> None:
        """Take in times in milliseconds; NaN is none."""
        if not self._is_known:
            return
        values = np.asarray(times)
        if values.dtype == object:
            values = np.array([value for value in values if value is not None], np.int64)
        if values.dtype.kind == "f":
            values = values[~np.isnan(values)].astype(np.int64)

        numbers = (values - self._first) // self._length
        if numbers.size and (numbers.min() < 0 or numbers.max() >= MOMENTS):
            numbers = numbers[(numbers >= 0) & (numbers < MOMENTS)]
        self._has_items[numbers] = True

    @property
    def text(self) -> str:
        """The moments as an outcome keeps them; "" where items have no time."""
        if not self._is_known:
            return ""
        return base64.b64encode(zlib.compress(np.packbits(self._has_items).tobytes())).decode()


def widest_gap(partition: str, texts: Iterable[str]) -> float | None:
    """Return the most seconds of a partition without an item, by what its outcomes keep.

    Also before its first item and after its last. None where one of them, or the first, is missing.
    """
    known = _partitions_of(partition)
    has_items = np.zeros(MOMENTS, bool)
    is_empty = True
    for text in texts:
        if not text:
            return None
        packed = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
        has_items |= np.unpackbits(packed).astype(bool)
        is_empty = False
    if is_empty or known is None:
        return None

    edges = np.concatenate(([-1], np.flatnonzero(has_items), [MOMENTS]))
    longest = int(np.diff(edges).max()) - 1
    return longest * known.step.total_seconds() / MOMENTS


@cache
def _time_field(item: type[msgspec.Struct]) -> str:
    """Return the first field of a type that is a time; "" where none is."""
    for field in msgspec.structs.fields(item):
        kinds = getattr(field.type, "__args__", (field.type,))
        if any(isinstance(kind, type) and issubclass(kind, Time) for kind in kinds):
            is_list = getattr(field.type, "__origin__", None) in (list, tuple, dict, set)
            if not is_list:
                return field.name
    return ""


@lru_cache(PARTITIONS_KNOWN)
def _partitions_of(partition: str) -> Partitions | None:
    """Return what a partition is one of, as its key is written."""
    for every in ("day", "hour"):
        partitions = Partitions(every=every, start=partition)
        try:
            partitions.time(partition)
        except Refused:
            continue
        return partitions
    return None
