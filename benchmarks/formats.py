"""Part `formats`: reading blocks to frames, beside the fastest readers that do nothing else.

The others read to frames of their own, Arrow's and Polars'. Fanfold's time is that of batches
whose task only counts: like the others' it includes S3, and beside it the types of all values, the
check of every line, and the ledger. CSV has no topics, since a cell holds no list.
"""

import gzip
import io
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from benchmarks import arrow_readers, reading_task
from benchmarks.plain_steps import open_steps
from benchmarks.process import Answer, measure
from benchmarks.scale import Scale, say, take_turns
from benchmarks.surroundings import ASSET, DAY, empty, forget, put_events, store

# By package: the module that has its readers.
READERS = {"pyarrow": "benchmarks.arrow_readers", "polars": "benchmarks.polars_readers"}
COUNTING = msgspec.structs.replace(ASSET, name="counted_events", task="benchmark_reading")
sys.modules["workers.tasks.benchmark_reading"] = reading_task  # where workers look for a task


class Form(NamedTuple):
    """A way to write blocks: the end of their keys, and what makes one of JSON lines."""

    suffix: str
    of_lines: Callable[[bytes], bytes]


def measure_part(scale: Scale) -> Answer:
    """Read the same events in each form, by each reader that is installed."""
    runs: dict[str, Any] = {}
    for name, form in FORMS.items():
        empty()
        size = put_events(scale.format_events, suffix=form.suffix, change=form.of_lines)
        say(f"formats: {name}, {size / 1e6:,.0f} MB")
        turns = {
            reader: partial(_turn, name, reader, scale.format_events)
            for reader in ("fanfold", *(name for name in READERS if find_spec(name)))
        }
        runs[name] = take_turns(turns, scale)
    empty()
    return {"events": scale.format_events, "runs": runs}


def _turn(form: str, reader: str, events: int) -> Answer:
    forget()
    run = measure("benchmarks.formats:run", form=form, reader=reader).to_json()
    if run["rows"] != events:
        raise SystemExit(f"{reader} read {run['rows']:,} of {events:,} events as {form}")
    return run


def run(form: str, reader: str) -> Answer:
    """Read all blocks; return the seconds, and how many rows there are."""
    if reader == "fanfold":
        return _run_fanfold()

    read = import_module(READERS[reader]).READERS[form]
    bucket = store()
    started = time.monotonic()
    rows = sum(len(read(bucket.get(block.key))) for block in bucket.list(ASSET.prefixes(DAY)[0]))
    return {"seconds": time.monotonic() - started, "rows": rows}


def _run_fanfold() -> Answer:
    with open_steps(COUNTING) as steps:
        queued = steps.queue([DAY])
        started = time.monotonic()
        steps.run_batches(queued)
        seconds = time.monotonic() - started
        counts = steps.reconcile(queued).counts
        return {"seconds": seconds, "rows": sum(partition.used for partition in counts)}


def _compress(lines: bytes) -> bytes:
    return gzip.compress(lines, 1, mtime=0)


def _to_csv(lines: bytes) -> bytes:
    sink = io.BytesIO()
    pa.csv.write_csv(arrow_readers.read_json(lines).drop_columns(["topics"]), sink)
    return sink.getvalue()


def _to_parquet(lines: bytes) -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(arrow_readers.read_json(lines), sink)
    return sink.getvalue()


FORMS = {
    "json": Form("", bytes),
    "json_gzip": Form(".gz", _compress),
    "csv": Form(".csv", _to_csv),
    "parquet": Form(".parquet", _to_parquet),
}
