"""What partitions say about profiles: read from results, merged, and shown to readers."""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.contributions.fields import Fields, Gone, to_key
from workers.declare.task import Task
from workers.store import BlockStore
from workers.values import Document

# What a partition says about a profile: states by field, keys as MongoDB holds them.
Accumulator = dict[str, Any]
# The contributions of a shard: profile id -> partition -> state.
Accumulators = dict[str, dict[str, Accumulator]]


class ProfileError(Exception):
    """Of one profile: it cannot be shown or written; the field at fault, and why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field, self.why = field, why


def read_result(
    store: BlockStore, key: str, buckets: range, columns: list[str] | None = None
) -> pa.Table:
    """Read some buckets of a result."""
    wanted = [("bucket", ">=", buckets.start), ("bucket", "<", buckets.stop)]
    return pq.read_table(io.BytesIO(store.get(key)), columns=columns, filters=wanted)


def read_accumulators(
    store: BlockStore, results: Sequence[tuple[str, str]], fields: Fields, buckets: range
) -> Accumulators:
    """Read a shard's part of results, given as (partition, key), and merge it."""
    if not results:
        return {}
    tables = []
    for partition, key in results:
        table = read_result(store, key, buckets)
        tables.append(table.append_column("partition", pa.repeat(partition, len(table))))
    table = pa.concat_tables(tables)
    parts = {}
    for name, field in fields.items():
        columns = ["partition", "profile", *field.columns[:-1], field.column]
        part = table.filter(pc.field("field") == name).select(columns).to_pandas()
        part = part.rename(columns={field.column: "value"})
        parts[name] = field.reduce(part, ["partition", "profile"])
    return build_accumulators(parts, fields)


def build_accumulators(parts: Mapping[str, pd.DataFrame], fields: Fields) -> Accumulators:
    """Turn reduced columns (partition, profile, then the field's) into states, row by row."""
    states: Accumulators = defaultdict(lambda: defaultdict(dict))
    for name, part in parts.items():
        field = fields[name]
        values = part["value"].tolist()
        if field.rule == "latest":
            values = [list(pair) for pair in zip(part["at"].tolist(), values, strict=True)]
        where = zip(part["profile"].tolist(), part["partition"].tolist(), strict=True)
        if not field.keyed:
            for (profile, partition), value in zip(where, values, strict=True):
                states[profile][partition][name] = value
            continue
        for (profile, partition), key, value in zip(where, names(part["key"]), values, strict=True):
            state = states[profile][partition]
            if name in state:
                state[name][key] = value
            else:
                state[name] = {key: value}
    return states


def names(keys: pd.Series) -> list[str]:
    """Return keys as MongoDB holds them; each different key is looked at once."""
    codes, unique = pd.factorize(keys)
    written = [to_key(key) for key in unique]
    return [written[code] for code in codes]


def merge(fields: Fields, one: Accumulator, other: Accumulator) -> Accumulator:
    """Merge two states of one profile."""
    merged = dict(one)
    for name, value in other.items():
        merged[name] = fields[name].merge(merged[name], value) if name in merged else value
    return merged


def to_reader(task: Task, state: Accumulator) -> Document:
    """Return what readers see of a state: every field, and those derived from them.

    Maps that `derive` returns have plain keys, like those it gets. {} where the profile is gone;
    Unfitting where the task cannot derive.
    """
    if any(isinstance(f, Gone) and state.get(n, (0, 0))[1] for n, f in task.fields.items()):
        return {}
    parts = {
        name: (field, state.get(name, {} if field.keyed else None))
        for name, field in task.fields.items()
        if not isinstance(field, Gone)
    }
    shown = {name: field.view(part) for name, (field, part) in parts.items()}
    if task.derive is None:
        return shown
    plain = {name: field.plain(part, shown[name]) for name, (field, part) in parts.items()}
    try:
        return shown | {name: _stored(value) for name, value in task.derive(plain).items()}
    except Exception as error:
        raise ProfileError("derive", f"{type(error).__name__} in the task: {error}") from error


def _stored(value: Any) -> Any:
    """Return a map with its keys as MongoDB holds them, and anything else as it is."""
    return {to_key(key): one for key, one in value.items()} if isinstance(value, dict) else value


def total(fields: Fields, fold: Document) -> Accumulator:
    """Merge all that a profile's bookkeeping holds."""
    state: Accumulator = fold["base"]
    for entry in fold["open"].values():
        state = merge(fields, state, entry["fields"])
    return state
