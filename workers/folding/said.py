"""What results say of a shard's profiles: read from S3, and merged for those that ask."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from workers.contributions.accumulators import Accumulator, Contributed, read_result
from workers.contributions.fields import Fields
from workers.contributions.results import Merger
from workers.errors import Refused
from workers.folding.holdings import Part
from workers.store import BlockStore
from workers.values import bucket

RESULTS_AT_ONCE = 4  # read at a time; of large ones each may have some 20 MB


class ResultGone(Exception):
    """A result is no longer in S3."""


class Said:
    """The rows of some results, for the profiles of a shard."""

    def __init__(
        self,
        store: BlockStore,
        fields: Fields,
        buckets: range,
        parts: Sequence[Part],
        profiles: Iterable[str] | None = None,
    ) -> None:
        self._fields = fields
        wanted = None if profiles is None else pa.array(list(profiles), pa.string())

        def read(part: Part) -> pa.Table:
            table = _rows_of(store, part, buckets)
            return table if wanted is None else _of_profiles(table, wanted)

        with ThreadPoolExecutor(RESULTS_AT_ONCE) as pool:
            self._tables = dict(zip(parts, pool.map(read, parts), strict=True))

    @cached_property
    def mentioned(self) -> dict[Part, pa.Array]:
        """The profiles that each result mentions."""
        return {part: _ids(table) for part, table in self._tables.items()}

    @cached_property
    def ids(self) -> list[str]:
        """The profiles that the results mention, in order."""
        return sorted(_each_once(self.mentioned.values()).to_pylist())

    @cached_property
    def keys(self) -> Mapping[str, Collection[str]]:
        """The fold keys of the partitions that mention each profile, in order."""
        fold_keys = {part.fold_key for part in self._tables}
        if len(fold_keys) < 2:
            return dict.fromkeys(self.ids, tuple(fold_keys))

        keys: dict[str, dict[str, None]] = defaultdict(dict)
        for part in sorted(self.mentioned):
            for profile_id in self.mentioned[part].to_pylist():
                keys[profile_id][part.fold_key] = None
        return keys

    def knows(self, parts: Iterable[Part]) -> bool:
        """Tell whether these results were read."""
        return all(part in self._tables for part in parts)

    def merged(self, parts: Iterable[Part]) -> Contributed:
        """Return what these of the results say of all profiles."""
        return self._merged([self._tables[part] for part in parts])

    def of(self, parts: Iterable[Part], profiles: Sequence[str]) -> Mapping[str, Accumulator]:
        """Return what these of the results say of some profiles, which are given in order."""
        wanted = pa.array(profiles, pa.string())
        tables = [_of_profiles(self._tables[part], wanted) for part in parts]
        return self._merged(tables).of(profiles)

    def _merged(self, tables: Sequence[pa.Table]) -> Contributed:
        merger = Merger(self._fields)
        if tables:
            merger.add_table(pa.concat_tables(tables).combine_chunks())
        return Contributed(merger.merged())


def _ids(table: pa.Table) -> pa.Array:
    """Return the profiles that rows mention, each once."""
    return table["profile"].unique().cast(pa.string())


def _of_profiles(table: pa.Table, profiles: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["profile"].cast(pa.string()), profiles))


def _each_once(ids: Iterable[pa.Array]) -> pa.Array:
    return pa.chunked_array(list(ids), pa.string()).unique()


def _rows_of(store: BlockStore, part: Part, buckets: range) -> pa.Table:
    """Return the rows of a result; ResultGone where there is none."""
    try:
        return read_result(store, part.s3_key, buckets)
    except Refused as error:
        if store.exists(part.s3_key):
            raise
        raise ResultGone(part.s3_key) from error


class Mentions:
    """Which profiles results mention."""

    def __init__(
        self, store: BlockStore, buckets: range, everyone: Callable[[], Iterable[str]]
    ) -> None:
        self._store, self._buckets = store, buckets
        # Asks for the ids of all profiles: a result that is gone from S3 may have mentioned any.
        self._everyone = everyone
        self._known: dict[Part, pa.Array] = {}

    def take(self, mentioned: Mapping[Part, pa.Array]) -> None:
        """Take in what was seen in results already."""
        self._known.update(mentioned)

    def read(self, parts: Iterable[Part]) -> None:
        """Look into results that nobody has looked into yet."""
        unknown = [part for part in parts if part not in self._known]
        with ThreadPoolExecutor(RESULTS_AT_ONCE) as pool:
            for part, ids in zip(unknown, pool.map(self._ids, unknown), strict=True):
                self._known[part] = ids

    def _ids(self, part: Part) -> pa.Array:
        try:
            table = read_result(self._store, part.s3_key, self._buckets, ["profile"])
        except Refused:
            if self._store.exists(part.s3_key):
                raise
            mine = (i for i in self._everyone() if bucket(i) in self._buckets)
            return pa.array(mine, pa.string())
        return _ids(table)

    def of(self, parts: Iterable[Part]) -> pa.Array:
        """Return the ids that any of these results mentions, each once."""
        return _each_once(self._known[part] for part in parts)
