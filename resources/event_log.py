"""Dagster's SQLite storage, with the events of many partitions written in one transaction.

A run over a range logs two events a partition: that it is planned, and that it is materialised.
Dagster hands them over in batches where DAGSTER_EVENT_BATCH_SIZE says so. Its SQLite storage
stores them one by one all the same, and for each opens and syncs two files.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, _event_logs_directory
from dagster._serdes import ConfigurableClassData

BATCH_SIZE_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
BATCH_EVENTS = 1_000  # written in one transaction, at most


class BatchEventLog(SqliteEventLogStorage):
    """The event log in SQLite; a batch of events opens each of its files once."""

    def __init__(self, base_dir: str) -> None:
        # The connections of the batch that this thread writes, by shard.
        self._batch = threading.local()
        super().__init__(base_dir)
        # A batch opens the index while the run's own file is open.
        self._db_lock: Any = threading.RLock()

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events all or none; the index is written before the runs."""
        shards = sorted({event.run_id for event in events})

        with ExitStack() as stack, self._db_lock:
            held: dict[str, Any] = {}
            for shard in [*shards, INDEX_SHARD_NAME]:
                held[shard] = stack.enter_context(super()._connect(shard))
            self._batch.connections = held
            try:
                for event in events:
                    self.store_event(event)
            finally:
                del self._batch.connections

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Any]:
        held = getattr(self._batch, "connections", {})
        if shard in held:
            yield held[shard]
            return

        with super()._connect(shard) as connection:
            yield connection


class BatchStorage(DagsterSqliteStorage):
    """Dagster's storage in SQLite, as `storage: custom:` of dagster.yaml names it.

    Whoever opens it hands events over in batches, unless the environment says otherwise.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = BatchEventLog(_event_logs_directory(base_dir))
        os.environ.setdefault(BATCH_SIZE_VARIABLE, str(BATCH_EVENTS))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "BatchStorage":
        return cls.from_local(inst_data=inst_data, **config_value)
