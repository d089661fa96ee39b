"""What partitions contribute to profiles: read from results, merged, and shown to readers."""

import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.contributions.fields import Field, Fields, Gone, to_key
from workers.contributions.results import values_of
from workers.store import BlockStore
from workers.values import BUCKETS, Document

RESULTS_AT_ONCE = 4  # read at a time; of large ones each may have some 20 MB
# What a partition contributes to a profile: states by field, keys as MongoDB holds them.
Accumulator = dict[str, Any]
# The contributions to a shard: profile id -> partition (its fold key) -> accumulator.
Accumulators = dict[str, dict[str, Accumulator]]
# Makes more fields of a profile's: see `Task.derive`.
Derive = Callable[[dict[str, Any]], dict[str, Any]]


class ProfileError(Exception):
    """Of one profile: it cannot be shown or written; the field at fault, and why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


def read_result(
    store: BlockStore, key: str, buckets: range, columns: list[str] | None = None
) -> pa.Table:
    """Return the rows of some buckets of a result."""
    body = io.BytesIO(store.get(key))
    if buckets == range(BUCKETS):
        return pq.ParquetFile(body).read(columns)
    filters = [("bucket", ">=", buckets.start), ("bucket", "<", buckets.stop)]
    return pq.read_table(body, columns=columns, filters=filters)


def read_accumulators(
    store: BlockStore, results: Sequence[tuple[str, str]], fields: Fields, buckets: range
) -> Accumulators:
    """Return a shard's part of results, merged; they are given as (fold key, S3 key)."""
    if not results:
        return {}

    def read(partition: str, key: str) -> pa.Table:
        table = read_result(store, key, buckets)
        return table.append_column("partition", pa.repeat(partition, len(table)))

    with ThreadPoolExecutor(RESULTS_AT_ONCE) as pool:
        table = pa.concat_tables(pool.map(read, *zip(*results, strict=True)))

    parts = {}
    for name, field in fields.items():
        of_field = table.filter(pc.field("field") == name)
        part = of_field.select(["partition", "profile", *field.columns[:-1]]).to_pandas()
        part["value"] = values_of(of_field, field.column)
        parts[name] = field.reduce(part, ["partition", "profile"])
    return build_accumulators(parts, fields)


def build_accumulators(parts: Mapping[str, pd.DataFrame], fields: Fields) -> Accumulators:
    """Return reduced columns (partition, profile, then the field's) as accumulators."""
    accumulators: Accumulators = defaultdict(lambda: defaultdict(dict))
    for name, part in parts.items():
        field = fields[name]
        states = _states(field, part)
        owners = zip(part["profile"].tolist(), part["partition"].tolist(), strict=True)
        if not field.keyed:
            for (profile, partition), state in zip(owners, states, strict=True):
                accumulators[profile][partition][name] = state
            continue

        keys = to_keys(part["key"])
        for (profile, partition), key, state in zip(owners, keys, states, strict=True):
            accumulator = accumulators[profile][partition]
            if name in accumulator:
                accumulator[name][key] = state
            else:
                accumulator[name] = {key: state}
    return accumulators


def _states(field: Field, rows: pd.DataFrame) -> list[Any]:
    """Return the state that each reduced row holds; of a keyed field, that of its key."""
    values: list[Any] = rows["value"].tolist()
    if field.rule == "latest":
        return [list(pair) for pair in zip(rows["at"].tolist(), values, strict=True)]
    return values


def to_keys(texts: pd.Series) -> list[str]:
    """Return texts as keys that MongoDB can hold; each different text is looked at once."""
    codes, unique = pd.factorize(texts)
    keys = [to_key(text) for text in unique]
    return [keys[code] for code in codes]


def merge_accumulators(fields: Fields, first: Accumulator, second: Accumulator) -> Accumulator:
    """Return two accumulators of one profile, merged."""
    merged = dict(first)
    for name, state in second.items():
        merged[name] = fields[name].merge(merged[name], state) if name in merged else state
    return merged


def to_reader(fields: Fields, derive: Derive | None, accumulator: Accumulator) -> Document:
    """Return what readers see of an accumulator: every field, and those derived from them.

    Maps that `derive` returns have plain keys, like those it gets. {} where the profile is gone;
    ProfileError where `derive` fails.
    """
    if _is_gone(fields, accumulator):
        return {}

    shown = {}
    inputs = {}
    for name, field in fields.items():
        if isinstance(field, Gone):
            continue
        state = accumulator.get(name, {} if field.keyed else None)
        shown[name] = field.to_reader(state)
        if derive is not None:
            inputs[name] = field.derive_input(state, shown[name])

    if derive is None:
        return shown
    try:
        derived = {name: _with_safe_keys(value) for name, value in derive(inputs).items()}
    except Exception as error:
        raise ProfileError("derive", f"{type(error).__name__} in the task: {error}") from error
    return shown | derived


def _is_gone(fields: Mapping[str, Field], accumulator: Accumulator) -> bool:
    marks = [accumulator.get(name) for name, field in fields.items() if isinstance(field, Gone)]
    return any(is_gone for _, is_gone in filter(None, marks))


def _with_safe_keys(value: Any) -> Any:
    """Return a map with its keys as MongoDB holds them, and anything else as it is."""
    if not isinstance(value, dict):
        return value
    return {to_key(key): element for key, element in value.items()}
