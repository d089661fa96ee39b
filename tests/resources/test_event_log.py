"""Dagster's events of many partitions, written in one transaction."""

import contextlib
import os
from collections import Counter

import dagster as dg
import pytest
from dagster import DagsterInstance
from dagster._core.storage.event_log.base import EventLogRecord
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._serdes import deserialize_value
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from resources.event_log import BATCH_SIZE_VARIABLE, BatchEventLog

DAYS = [f"1998-04-{day:02}" for day in range(1, 21)]
RANGE = {
    "dagster/asset_partition_range_start": DAYS[0],
    "dagster/asset_partition_range_end": DAYS[-1],
}


@dg.asset(partitions_def=dg.DailyPartitionsDefinition("1998-04-01"))
def profiles(context: dg.AssetExecutionContext) -> None:
    """Say something of each partition."""
    for day in context.partition_keys:
        context.add_asset_metadata({"day": day}, partition_key=day)


@dg.asset_check(asset=profiles)
def is_good(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Say that all partitions are."""
    return dg.AssetCheckResult(passed=True)


@pytest.fixture
def opened(monkeypatch):
    """The connections that the event log opens, by shard."""
    shards = Counter()
    connect = BatchEventLog._connect.__wrapped__

    @contextlib.contextmanager
    def counted(self, shard):
        shards[shard] += shard not in getattr(self._batch, "connections", {})
        with contextlib.contextmanager(connect)(self, shard) as connection:
            yield connection

    monkeypatch.setattr(BatchEventLog, "_connect", counted)
    return shards


@pytest.fixture
def instance(home):
    with DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, BatchEventLog)
        yield instance


def materialised(instance):
    """Return what the instance knows of each partition that was materialised."""
    records = instance.fetch_materializations(profiles.key, limit=1_000).records
    return {record.partition_key: record.asset_materialization.metadata for record in records}


def run(instance):
    return dg.materialize([profiles], instance=instance, tags=RANGE)


def test_each_partition_of_a_range_is_planned_and_materialised(instance):
    run_id = run(instance).run_id
    assert {day: metadata["day"].value for day, metadata in materialised(instance).items()} == {
        day: day for day in DAYS
    }
    kinds = Counter(entry.dagster_event_type for entry in instance.all_logs(run_id))
    assert kinds[dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED] == len(DAYS)
    assert kinds[dg.DagsterEventType.ASSET_MATERIALIZATION] == len(DAYS)


def test_a_range_of_partitions_opens_the_event_log_no_more_often_than_one_does(instance, opened):
    dg.materialize([profiles], instance=instance, partition_key=DAYS[0])
    of_one = opened["index"]
    opened.clear()
    run(instance)
    assert opened["index"] <= of_one + 4


def test_events_that_cannot_be_written_together_are_written_one_by_one(instance, monkeypatch):
    def locked(self, events):
        raise OperationalError("insert", {}, Exception("database is locked"))

    monkeypatch.setattr(BatchEventLog, "store_event_batch", locked)
    instance.wipe_assets([profiles.key])
    run(instance)
    assert materialised(instance).keys() == set(DAYS)


def test_a_batch_that_breaks_off_leaves_nothing_behind(instance, monkeypatch):
    result = run(instance)
    entries = [
        entry
        for entry in instance.all_logs(result.run_id)
        if entry.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION
    ]
    before = len(instance.all_logs(result.run_id))
    log = instance.event_log_storage

    def breaks_off(*_):
        raise OSError("no space left on the device")

    monkeypatch.setattr(log, "_store_asset_event", breaks_off)  # what is written last
    with pytest.raises(OSError, match="no space"):
        log.store_event_batch(entries)
    assert len(instance.all_logs(result.run_id)) == before
    monkeypatch.undo()
    log.store_event_batch(entries)
    assert len(instance.all_logs(result.run_id)) == before + len(entries)


def test_a_batch_is_stored_as_its_events_are_one_by_one(instance, monkeypatch):
    def stored():
        """Return all that the files hold of the asset, and what Dagster says of it."""
        run_id = run(instance).run_id
        log = instance.event_log_storage
        with log.run_connection(run_id) as connection:
            rows = connection.execute(select(SqlEventLogStorageTable)).mappings().all()
        with log.index_connection() as connection:
            mine = SqlEventLogStorageTable.c.run_id == run_id
            query = select(SqlEventLogStorageTable).where(mine)
            in_index = connection.execute(query).mappings().all()
            day_of = {row["id"]: row["partition"] for row in in_index}
            of_run = AssetEventTagsTable.c.event_id.in_(day_of)
            tagged = connection.execute(select(AssetEventTagsTable).where(of_run))
            tags = {(day_of[row.event_id], row.key) for row in tagged}
            ours = AssetKeyTable.c.asset_key == profiles.key.to_string()
            key = connection.execute(select(AssetKeyTable).where(ours)).mappings().one()
        kinds = Counter((row["dagster_event_type"], row["partition"]) for row in rows)
        index_kinds = Counter((row["dagster_event_type"], row["partition"]) for row in in_index)
        latest = deserialize_value(key["last_materialization"], EventLogRecord)
        assert latest.storage_id == max(
            row["id"] for row in in_index if row["dagster_event_type"] == "ASSET_MATERIALIZATION"
        )
        assert key["last_run_id"] == run_id
        return kinds, index_kinds, tags, latest.event_log_entry.dagster_event.partition

    instance.wipe_assets([profiles.key])
    together = stored()
    instance.wipe_assets([profiles.key])
    monkeypatch.setenv(BATCH_SIZE_VARIABLE, "0")
    assert stored() == together


def test_a_planned_check_is_stored_as_dagster_stores_it(instance, monkeypatch):
    def stored():
        """Return the rows of the check, but for what tells one run from another."""
        result = dg.materialize([profiles, is_good], instance=instance, tags=RANGE)
        mine = AssetCheckExecutionsTable.c.run_id == result.run_id
        with instance.event_log_storage.index_connection() as connection:
            rows = (
                connection.execute(select(AssetCheckExecutionsTable).where(mine)).mappings().all()
            )
        events = [deserialize_value(row["evaluation_event"]) for row in rows]
        assert {event.run_id for event in events} == {result.run_id}
        told = ("asset_key", "check_name", "partition", "execution_status")
        return [tuple(row[name] for name in told) for row in rows]

    ours = stored()
    name = "_store_asset_check_evaluation_planned"
    monkeypatch.setattr(BatchEventLog, name, getattr(SqliteEventLogStorage, name))
    assert ours
    assert stored() == ours


def test_a_range_with_a_check_is_planned_in_as_few_writes_as_one_without(instance, opened):
    run(instance)
    without = opened["index"]
    opened.clear()
    dg.materialize([profiles, is_good], instance=instance, tags=RANGE)
    assert opened["index"] <= without + 10


def test_whoever_wants_single_writes_says_so(home, monkeypatch):
    monkeypatch.setenv(BATCH_SIZE_VARIABLE, "0")
    with DagsterInstance.get():
        assert os.environ[BATCH_SIZE_VARIABLE] == "0"
