"""What results say of profiles, as states of their fields."""

import io
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.contributions.fields import Fields, to_key
from workers.contributions.tables import RESULT_SCHEMA, TEXTS, FieldRows, Merged
from workers.store import BlockStore
from workers.values import BUCKETS, bucket

BUCKET_COLUMN = RESULT_SCHEMA.get_field_index("bucket")
# What is said of a profile: states by field, keys as MongoDB holds them.
Accumulator = dict[str, Any]


def read_result(
    store: BlockStore, key: str, buckets: range, columns: list[str] | None = None
) -> pa.Table:
    """Return the rows of some buckets of a result."""
    file = pq.ParquetFile(io.BytesIO(store.get(key)), read_dictionary=TEXTS)
    if buckets == range(BUCKETS):
        return file.read(columns)

    wanted = None if columns is None else ["bucket", *columns]
    table = file.read_row_groups(_groups_with(file.metadata, buckets), wanted, use_threads=False)
    # A copy of these rows alone: a slice would keep the whole row groups in memory.
    bucket = table["bucket"].to_numpy()
    table = table.filter(pa.array((bucket >= buckets.start) & (bucket < buckets.stop)))
    return table if columns is None else table.select(columns)


def read_profile(file: pq.ParquetFile, profile_id: str) -> pa.Table:
    """Return the rows of an opened result about one profile, reading what may hold them alone."""
    number = bucket(profile_id)
    groups = _groups_with(file.metadata, range(number, number + 1))
    ids = file.read_row_groups(groups, ["profile"], use_threads=False)["profile"]
    are_of_it = pc.equal(ids.cast(pa.string()), profile_id)
    if not pc.any(are_of_it).as_py():
        return file.schema_arrow.empty_table()

    names = [name for name in file.schema_arrow.names if name != "profile"]
    others = file.read_row_groups(groups, names, use_threads=False)
    return others.append_column("profile", ids).filter(are_of_it)


def _groups_with(metadata: pq.FileMetaData, buckets: range) -> list[int]:
    """Return the row groups of a result that hold rows of some buckets."""
    numbers = []
    for number in range(metadata.num_row_groups):
        met = metadata.row_group(number).column(BUCKET_COLUMN).statistics
        if met.min < buckets.stop and met.max >= buckets.start:
            numbers.append(number)
    return numbers


class Contributed:
    """What is said of profiles, merged: columns, of which states are made for those that ask."""

    def __init__(self, merged: Merged) -> None:
        self._fields = merged.fields
        self._ids: list[str] = merged.profiles.to_pylist()
        self._keys = np.array([to_key(key) for key in merged.keys.to_pylist()], dtype=object)

    def all(self) -> dict[str, Accumulator]:
        """Return what is said of all profiles."""
        return self._between(0, len(self._ids))

    def of(self, profile_ids: Sequence[str]) -> dict[str, Accumulator]:
        """Return what is said of those of these profiles, given in order, of which anything is."""
        if not profile_ids:
            return {}
        start = bisect_left(self._ids, profile_ids[0])
        said = self._between(start, bisect_right(self._ids, profile_ids[-1]))
        wanted = set(profile_ids)
        return {profile_id: said[profile_id] for profile_id in said if profile_id in wanted}

    def _between(self, start: int, stop: int) -> dict[str, Accumulator]:
        """Return what is said of the profiles in some places."""
        accumulators: list[Accumulator] = [{} for _ in range(start, stop)]
        for name, rows in self._fields.items():
            first, last = np.searchsorted(rows.profile, [start, stop]).tolist()
            places = rows.profile[first:last] - start
            states = _states(rows, first, last)
            if rows.key is None:
                for place, state in zip(places.tolist(), states, strict=True):
                    accumulators[place][name] = state
                continue

            keys = self._keys[rows.key[first:last]].tolist()
            edges = np.flatnonzero(np.diff(places, prepend=-1)).tolist()
            owners = places[edges].tolist()
            ends = [*edges[1:], len(keys)][: len(edges)]
            for place, edge, end in zip(owners, edges, ends, strict=True):
                accumulators[place][name] = dict(zip(keys[edge:end], states[edge:end], strict=True))
        return dict(zip(self._ids[start:stop], accumulators, strict=True))


def _states(rows: FieldRows, first: int, last: int) -> list[Any]:
    """Return the states that some rows hold; of a keyed field, those of its keys."""
    values: list[Any] = rows.value[first:last].tolist()
    if rows.at is None:
        return values
    return list(map(list, zip(rows.at[first:last].tolist(), values, strict=True)))


def merge_accumulators(fields: Fields, first: Accumulator, second: Accumulator) -> Accumulator:
    """Return two accumulators of one profile, merged."""
    merged = dict(first)
    for name, state in second.items():
        merged[name] = fields[name].merge(merged[name], state) if name in merged else state
    return merged
