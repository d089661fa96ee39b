"""Dagster's SQLite storage, with files kept open and many partitions in one transaction.

A run over a range logs two events a partition: that it is planned, and that it is materialised.
Dagster hands them over in batches where DAGSTER_EVENT_BATCH_SIZE says so. Its SQLite storage
stores them one by one all the same, and for each opens and syncs two files.
"""

import os
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import Any

import dagster as dg
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage,
    _event_logs_directory,
    _runs_directory,
    _schedule_directory,
)
from dagster._serdes import ConfigurableClassData, serialize_value
from sqlalchemy import and_, func, or_, select

from resources.sqlite import Engines, has_schema

BATCH_SIZE_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
BATCH_EVENTS = 1_000  # written in one transaction, at most
OF_CHECK = ("asset_key", "check_name", "run_id")  # columns that a check of one run is known by


class BatchEventLog(SqliteEventLogStorage):
    """The event log in SQLite; a batch of events opens each of its files once."""

    def __init__(self, base_dir: str, engines: Engines) -> None:
        # The connections of the batch that this thread writes, by shard.
        self._batch = threading.local()
        self._engines = engines
        super().__init__(base_dir)
        # A batch opens the index while the run's own file is open.
        self._db_lock: Any = threading.RLock()

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events all or none; the index is written before the runs."""
        shards = sorted({event.run_id for event in events})

        with ExitStack() as stack, self._db_lock:
            held: dict[str, Any] = {}
            for shard in [*shards, INDEX_SHARD_NAME]:
                held[shard] = stack.enter_context(self._connect(shard))
            self._batch.connections = held
            try:
                for kind, alike in groupby(events, _kind):
                    if kind == "asset":
                        self._store_asset_events(list(alike), held)
                    elif kind == "evaluation":
                        self._store_evaluations(list(alike), held)
                    else:
                        for event in alike:
                            self.store_event(event)
            finally:
                del self._batch.connections

    def _store_asset_events(
        self, events: Sequence[dg.EventLogEntry], connections: Mapping[str, Any]
    ) -> None:
        """Store events of assets as `store_event` does one by one: in the runs and in the index."""
        rows = [self._event_to_row(event) for event in events]
        ids = _insert(rows, connections)
        index = connections[INDEX_SHARD_NAME]
        self._store_asset_event_tags(index, events, ids)

        # Of an asset only the latest event of each kind is kept beside its key.
        latest = {
            (row["asset_key"], event.dagster_event_type): (event, event_id)
            for row, event, event_id in zip(rows, events, ids, strict=True)
        }
        for event, event_id in sorted(latest.values(), key=lambda pair: pair[1]):
            self._store_asset_event(index, event, event_id)

    def _store_evaluations(
        self, events: Sequence[dg.EventLogEntry], connections: Mapping[str, Any]
    ) -> None:
        """Store what checks said: each takes the place of what the run had planned of it.

        A check that says it of all partitions together takes that of all that was planned, as do
        those of partitions that of a run which was for none.
        """
        rows = [self._event_to_row(event) for event in events]
        ids = _insert(rows, connections)
        executions = [
            _execution(event, row, event_id)
            for event, row, event_id in zip(events, rows, ids, strict=True)
        ]

        table, index = AssetCheckExecutionsTable, connections[INDEX_SHARD_NAME]
        for check, alike in groupby(executions, lambda row: [row[name] for name in OF_CHECK]):
            replaced = list(alike)
            planned = and_(*(table.c[name] == of for name, of in zip(OF_CHECK, check, strict=True)))
            partitions = {row["partition"] for row in replaced}
            if None not in partitions:
                of_these = or_(table.c.partition.in_(partitions), table.c.partition.is_(None))
                planned = and_(planned, of_these)
            index.execute(table.delete().where(planned))
            index.execute(table.insert(), replaced)

    def _store_asset_check_evaluation_planned(
        self, event: dg.EventLogEntry, event_id: int | None
    ) -> None:
        """Store that a check of partitions is planned; Dagster serialises it anew for each."""
        assert event.dagster_event
        planned: Any = event.dagster_event.event_specific_data
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),  # type: ignore[no-untyped-call]
            "evaluation_event_storage_id": event_id,
        }
        subset = planned.partitions_subset
        partitions = subset.get_partition_keys() if subset else [None]
        with self.index_connection() as connection:
            rows = [row | {"partition": partition} for partition in partitions]
            connection.execute(AssetCheckExecutionsTable.insert(), rows)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Any]:
        held = getattr(self._batch, "connections", {})
        if shard in held:
            yield held[shard]
            return

        with self._db_lock:
            url = self.conn_string_for_shard(shard)
            if shard not in self._initialized_dbs:
                if not has_schema(self._engines, url):
                    self._initdb(self._engines.engine(url))
                self._initialized_dbs.add(shard)
            with self._engines.begin(url) as connection:
                yield connection

    def wipe(self) -> None:
        self._engines.dispose()  # or what is written next would go to files that are removed
        super().wipe()


def _kind(event: dg.EventLogEntry) -> str:
    """Return how an event is stored."""
    if event.dagster_event_type in ASSET_EVENTS:
        return "asset"
    is_evaluation = event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    return "evaluation" if is_evaluation else ""


def _insert(rows: Sequence[dict[str, Any]], connections: Mapping[str, Any]) -> range:
    """Write events into the files of their runs, and into the index; return their ids there."""
    insert = SqlEventLogStorageTable.insert()
    by_run = defaultdict[str, list[dict[str, Any]]](list)
    for row in rows:
        by_run[row["run_id"]].append(row)
    for run_id, rows_of_run in by_run.items():
        connections[run_id].execute(insert, rows_of_run)

    index = connections[INDEX_SHARD_NAME]
    index.execute(insert, rows)
    # Nobody else writes meanwhile, so the ids follow each other.
    last = index.execute(select(func.max(SqlEventLogStorageTable.c.id))).scalar_one()
    return range(last - len(rows) + 1, last + 1)


def _execution(event: dg.EventLogEntry, row: Mapping[str, Any], event_id: int) -> dict[str, Any]:
    """Return the row of a check that was evaluated."""
    assert event.dagster_event
    evaluation: Any = event.dagster_event.event_specific_data
    target = evaluation.target_materialization_data
    status = AssetCheckExecutionRecordStatus
    return {
        "asset_key": evaluation.asset_key.to_string(),
        "check_name": evaluation.check_name,
        "run_id": event.run_id,
        "partition": evaluation.partition,
        "execution_status": (status.SUCCEEDED if evaluation.passed else status.FAILED).value,
        "evaluation_event": row["event"],
        "evaluation_event_timestamp": row["timestamp"],
        "evaluation_event_storage_id": event_id,
        "materialization_event_storage_id": target.storage_id if target else None,
    }


class KeptRuns(SqliteRunStorage):
    """The runs in SQLite, in a file that is kept open."""

    def __init__(self, url: str, engines: Engines) -> None:
        super().__init__(url)
        self._engines = engines

    def connect(self) -> Any:
        return self._engines.begin(self._conn_string)


class KeptSchedules(SqliteScheduleStorage):
    """The ticks of schedules and sensors in SQLite, in a file that is kept open."""

    def __init__(self, url: str, engines: Engines) -> None:
        super().__init__(url)
        self._engines = engines

    def connect(self) -> Any:
        return self._engines.begin(self._conn_string)


class BatchStorage(DagsterSqliteStorage):
    """Dagster's storage in SQLite, as `storage: custom:` of dagster.yaml names it.

    Whoever opens it hands events over in batches, unless the environment says otherwise.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Not that of DagsterSqliteStorage, which would open its own three.
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir = base_dir
        self._inst_data = inst_data
        self._engines = Engines()
        self._run_storage = self._runs()
        self._event_log_storage = BatchEventLog(_event_logs_directory(base_dir), self._engines)
        self._schedule_storage = self._schedules()
        os.environ.setdefault(BATCH_SIZE_VARIABLE, str(BATCH_EVENTS))

    def _runs(self) -> KeptRuns:
        folder = _runs_directory(self.base_dir)
        url = create_db_conn_string(folder, "runs")
        if not has_schema(self._engines, url, "instance_info"):
            SqliteRunStorage.from_local(folder)
        return KeptRuns(url, self._engines)

    def _schedules(self) -> KeptSchedules:
        folder = _schedule_directory(self.base_dir)
        url = create_db_conn_string(folder, "schedules")
        if not has_schema(self._engines, url):
            SqliteScheduleStorage.from_local(folder)
        return KeptSchedules(url, self._engines)

    def dispose(self) -> None:
        super().dispose()
        self._engines.dispose()

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "BatchStorage":
        return cls.from_local(inst_data=inst_data, **config_value)
