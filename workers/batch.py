"""Run one batch: read its ranges, contribute, write the result to S3, tell the ledger."""

import io
import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workers import task as tasks
from workers.blocks import BlockStore
from workers.errors import FanfoldError, Malformed, Refused
from workers.fields import COLUMNS, Fields
from workers.formats import format_of, read
from workers.items import ItemReader, Reject, Rows
from workers.ledger import ITEM_KEPT, DeadLetter, Ledger
from workers.lines import Lines
from workers.model import BUCKETS, Batch, Outcome, Range
from workers.plan import result_key
from workers.task import Task

COMPACT = 500_000  # contribution rows a worker holds before it merges them

SCHEMA = pa.schema(
    [
        ("bucket", pa.uint8()),
        ("field", pa.string()),
        ("profile", pa.string()),
        ("key", pa.string()),
        ("at", pa.int64()),
        ("number", pa.int64()),
        ("real", pa.float64()),
        ("text", pa.string()),
    ]
)

ROWS = SCHEMA.remove(0)  # the rows of one field, before their buckets are known


def run_batch(batch_id: str, ledger: Ledger, store: BlockStore) -> Outcome:
    """Run the batch with this id, unless it is done; return its outcome either way.

    Unavailable may be retried; Refused may not. A kill at any moment leaves a batch that a new
    call repeats whole: its result is one object, and done is written last.
    """
    document = ledger.begin(batch_id)
    if document["state"] == "done":
        return Outcome.of(document["outcome"])
    batch = Batch.of({**document, "id": batch_id})
    try:
        outcome = _Worker(batch, ledger, store).run()
    except FanfoldError as error:
        ledger.fail(batch_id, str(error))
        raise
    ledger.finish(batch_id, outcome)
    return outcome


class _Worker:
    """What one attempt at a batch holds while it reads."""

    def __init__(self, batch: Batch, ledger: Ledger, store: BlockStore) -> None:
        self.batch, self.ledger, self.store = batch, ledger, store
        self.task = tasks.load(batch.task)
        if self.task.version != batch.version:
            raise Refused(
                f"batch {batch.id} was planned for version {batch.version} of the task "
                f"{batch.task}, and this worker has {self.task.version}; run its partition again"
            )
        self.reader = ItemReader(self.task.item)
        self.contributed = Contributed(self.task.fields)
        self.used = self.dead = self.bytes = 0
        self.letters: list[DeadLetter] = []

    def run(self) -> Outcome:
        started = time.monotonic()
        for cut in self.batch.ranges:
            self._read(cut)
            self.bytes += cut.end - cut.start
        result = self.contributed.table()
        key = result_key(self.batch)
        self.store.put(key, to_parquet(result))
        return Outcome(
            items=self.used + self.dead,
            used=self.used,
            dead=self.dead,
            bytes=self.bytes,
            rows=result.num_rows,
            profiles=len(result["profile"].unique()),
            seconds=round(time.monotonic() - started, 6),
            result=key,
        )

    def _read(self, cut: Range) -> None:
        def reject(place: str, item: bytes, reason: str) -> None:
            self.dead += 1
            self.letters.append(
                DeadLetter(
                    batch=self.batch.id,
                    block=cut.key,
                    etag=cut.etag,
                    place=place,
                    reason=reason,
                    item=item[:ITEM_KEPT].decode(errors="replace"),
                )
            )

        if cut.broken:
            reject(f"byte {cut.offset}", b"", cut.broken)
            self._bury()
            return
        form = format_of(cut.key, self.batch.format)
        try:
            for run in read(self.store, cut, form, self.reader.columns):
                self._use(run, reject)
                self._bury()
        except Malformed as error:
            place, _, reason = str(error).partition(": ")
            reject(place, b"", reason)
            self._bury()

    def _bury(self) -> None:
        self.ledger.bury(self.batch, self.letters)
        self.letters = []

    def _use(self, run: Lines | Rows, reject: Reject) -> None:
        items, numbers = self.reader.items(run, reject)
        for first, last, frames in contribute(self.task, self.reader, items):
            if isinstance(frames, Exception):
                line = numbers[first]
                reason = f"{type(frames).__name__} in the task: {frames}"
                reject(run.place(line), run.raw(line), reason)
            else:
                self.contributed.add(frames)
                self.used += last - first


Frames = dict[str, pd.DataFrame]


def contribute(
    task: Task, reader: ItemReader, items: list[Any], first: int = 0
) -> Iterator[tuple[int, int, Frames | Exception]]:
    """Yield (first, last, contributions) for items that work together.

    Where the task raises, halves are tried until the item at fault stands alone; it is yielded
    with its exception. One bad item among n costs at most 2 log2 n + 1 calls.
    """
    if not items:
        return
    try:
        frames = task.contribute(reader.frame(items))
    except (FanfoldError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  the task's own: whatever it is, it concerns these items
        if len(items) == 1:
            yield first, first + 1, error
            return
        half = len(items) // 2
        yield from contribute(task, reader, items[:half], first)
        yield from contribute(task, reader, items[half:], first + half)
        return
    yield first, first + len(items), frames


class Contributed:
    """Contributions gathered chunk by chunk, merged before they grow large."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._parts: dict[str, list[pd.DataFrame]] = {}
        self._rows = 0

    def add(self, frames: Frames) -> None:
        """Take in the contributions of one chunk."""
        for name, frame in frames.items():
            self._parts.setdefault(name, []).append(frame)
            self._rows += len(frame)
        if self._rows > COMPACT:
            self._parts = {name: [frame] for name, frame in self.merged().items()}
            # Rows that cannot shrink further do not count, or each chunk would merge them again.
            self._rows = 0

    def merged(self) -> Frames:
        """Return one frame a field, with one row for each profile (and key)."""
        return {
            name: self.fields[name].reduce(pd.concat(parts, ignore_index=True), ["profile"])
            for name, parts in self._parts.items()
        }

    def table(self) -> pa.Table:
        """Return the result, in an order that does not depend on chunks."""
        tables = [
            to_table(name, frame, COLUMNS[self.fields[name].type])
            for name, frame in self.merged().items()
        ]
        table = pa.concat_tables([ROWS.empty_table(), *tables])
        table = table.add_column(0, SCHEMA.field("bucket"), buckets(table["profile"]))
        order = [(name, "ascending") for name in ("bucket", "field", "profile", "key")]
        return table.sort_by(order)


def to_table(field: str, frame: pd.DataFrame, value: str) -> pa.Table:
    """Return a field's contributions as ROWS; Refused where a value has a wrong type."""
    columns = {"profile": frame["profile"], value: frame["value"]}
    columns |= {name: frame[name] for name in ("key", "at") if name in frame}
    arrays = {"field": pa.repeat(field, len(frame))}
    for column in ROWS:
        if column.name in columns:
            try:
                arrays[column.name] = pa.array(columns[column.name], type=column.type)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise Refused(f"contributions to {field!r} have a wrong type: {error}") from error
        elif column.name not in arrays:
            arrays[column.name] = pa.nulls(len(frame), column.type)
    return pa.table([arrays[column.name] for column in ROWS], schema=ROWS)


def buckets(profiles: pa.ChunkedArray) -> pa.Array:
    """Return the bucket of each profile id: CRC-32, which no library's update can change."""
    coded = profiles.combine_chunks().dictionary_encode()
    ids = coded.dictionary.to_pylist()
    of_id = np.fromiter((zlib.crc32(one.encode()) % BUCKETS for one in ids), "uint8", len(ids))
    return pa.array(of_id[coded.indices.to_numpy()])


def to_parquet(table: pa.Table) -> bytes:
    """Return a result as the bytes of a Parquet file whose row groups follow the buckets."""
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", row_group_size=50_000)
    return file.getvalue()
