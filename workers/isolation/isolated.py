"""A task in processes apart: an item that kills, hangs or bloats its worker costs itself alone.

Where a batch ended its worker twice, or stood still, it is run so. Each call of the task is a trial
in a fork. One that ends badly counts as an error of its items: halves are tried until the item at
fault stands alone, and that is tried once more before it is believed.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from time import monotonic
from typing import Any, NamedTuple

import msgspec
import pandas as pd
import pyarrow as pa

from workers.contributions.results import Frames
from workers.declare.task import Observe, Task
from workers.declare.times import Time
from workers.declare.types import Number
from workers.errors import Refused
from workers.isolation.trial import EndedWorker, try_call

LEAST_SECONDS = 60.0  # before a call counts as stuck, whatever it is expected to take
SLACK = 5  # times what a call is expected to take, before it does
# Before halves are tried: too short a time costs only trials, as no item is condemned by it.
QUICK_SECONDS = 2.0
MAX_ENDED_ITEMS = 20  # that end the worker, before a batch gives up,
MAX_ENDED_WITH_NONE_USED = 5  # or where no item at all went well


class Limits(NamedTuple):
    """What a worker may take before it counts as stuck or bloated."""

    # What an item is expected to take.
    seconds_per_item: float
    # The memory of a slot; 0 where nobody knows.
    bytes: int

    def seconds(self, items: int) -> float:
        """Return how long so many items may take."""
        return max(LEAST_SECONDS, SLACK * self.seconds_per_item * items)


class Isolated:
    """A task whose calls are made in forks of this process."""

    def __init__(self, task: Task, batch: str, limits: Limits) -> None:
        self.task = task
        self.by_item = task.by_item
        self.batch = batch
        self.limits = limits
        self._ended_items = 0
        # Items that went well, and the least that one of them took.
        self._used = 0
        self._seconds_per_item: float | None = None

    def contribute(self, items: pd.DataFrame) -> Frames:
        """Return the items' contributions by field; EndedWorker where they end the worker.

        Refused where too many do, each alone.
        """

        def call() -> bytes:
            return _frames_to_bytes(self.task.contribute(items))

        answer = self._try(call, len(items), self._patience(len(items)))
        return self.task.contribute(items) if answer is None else _frames_of(answer)

    def observe(
        self, observe: Observe, items: Sequence[Any], known: Sequence[dict[str, Any]]
    ) -> list[Any]:
        """Return the task's answer for each item; an EndedWorker for one that ends the worker."""

        def call() -> bytes:
            return _answers_to_bytes(observe.observe(items, known))

        try:
            # A visit takes as long as it takes, and halves would make each again.
            answer = self._try(call, len(items), self.limits.seconds(len(items)))
        except EndedWorker as error:
            if len(items) == 1:
                return [error]
            half = len(items) // 2
            first = self.observe(observe, items[:half], known[:half])
            return first + self.observe(observe, items[half:], known[half:])
        if answer is None:
            return list(observe.observe(items, known))
        return list(_answers_of(answer, observe.observation))

    def _patience(self, items: int) -> float:
        """Return for how long a call may take before its halves are tried."""
        usual = SLACK * (self._seconds_per_item or 0) * items
        return min(max(QUICK_SECONDS, usual), self.limits.seconds(items))

    def _try(self, call: Callable[[], bytes], items: int, seconds: float) -> bytes | None:
        """Return what a call says in a fork; one item that ends it has a second chance.

        It is tried with twice the time that anything may take.
        """
        began = monotonic()
        try:
            answer = try_call(call, seconds, self.limits.bytes)
        except EndedWorker:
            if items > 1:
                raise
            began = monotonic()
            answer = self._try_once_more(call)

        self._used += items
        each = (monotonic() - began) / max(1, items)
        self._seconds_per_item = min(self._seconds_per_item or each, each)
        return answer

    def _try_once_more(self, call: Callable[[], bytes]) -> bytes | None:
        try:
            return try_call(call, 2 * self.limits.seconds(1), self.limits.bytes)
        except EndedWorker as error:
            self._ended_items += 1
            self._stop_if_too_many(error)
            raise

    def _stop_if_too_many(self, error: EndedWorker) -> None:
        """Refuse to go on where the task ends its worker on item after item."""
        most = MAX_ENDED_ITEMS if self._used else MAX_ENDED_WITH_NONE_USED
        if self._ended_items < most:
            return
        none = "" if self._used else ", with no item that it did not"
        raise Refused(
            f"the task {self.task.file.rpartition('/')[2]} ended its worker on each of "
            f"{self._ended_items} items{none}, so batch {self.batch} stops: the last one {error}. "
            "Mend the task, and run the partition again"
        )


def _frames_to_bytes(frames: Frames) -> bytes:
    """Return contributions as one Arrow stream after the other; pickles are for nobody to read."""
    parts = []
    for name, frame in frames.items():
        table = pa.Table.from_pandas(frame)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        parts += [name.encode(), sink.getvalue().to_pybytes()]
    return msgspec.msgpack.encode(parts)


def _frames_of(content: bytes) -> Frames:
    """Return the contributions that these bytes say."""
    parts: Iterator[bytes] = iter(msgspec.msgpack.decode(content, type=list[bytes]))
    frames = {}
    for name, stream in iter(lambda: list(islice(parts, 2)), []):
        with pa.ipc.open_stream(stream) as reader:
            frames[name.decode()] = reader.read_all().to_pandas()
    return frames


def _answers_to_bytes(answers: Sequence[Any]) -> bytes:
    """Return a task's answers: each an observation, nothing, or an error by its class and text."""
    parts: list[Any] = []
    for answer in answers:
        if isinstance(answer, Exception):
            parts.append([type(answer).__name__, str(answer)])
        else:
            is_nothing = answer is None
            parts.append(None if is_nothing else msgspec.msgpack.encode(answer, enc_hook=_plain))
    return msgspec.msgpack.encode(parts)


def _answers_of(content: bytes, observation: type[msgspec.Struct]) -> Iterator[Any]:
    for part in msgspec.msgpack.decode(content, type=list[bytes | list[str] | None]):
        if isinstance(part, list):
            name, text = part
            yield type(name, (Exception,), {})(text)
        elif part is None:
            yield None
        else:
            yield msgspec.msgpack.decode(part, type=observation, dec_hook=_own)


def _plain(value: Any) -> Any:
    if isinstance(value, Time):
        return int(value)
    if isinstance(value, Number):
        return float(value)
    raise NotImplementedError(f"an observation holds a {type(value).__name__}")


def _own(kind: type, value: Any) -> Any:
    return kind(value)
