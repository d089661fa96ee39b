"""Dagster's files of SQLite, kept open in a process and never across a fork."""

import multiprocessing
import sqlite3
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance
from sqlalchemy import text

from resources.event_log import BatchStorage
from resources.sqlite import MAX_FILES, Engines, has_schema


@pytest.fixture
def engines():
    engines = Engines()
    yield engines
    engines.dispose()


def url_of(folder, name="a"):
    return f"sqlite:///{folder}/{name}.db"


def open_files(folder):
    """Return how many files of a folder this process has open."""
    paths = list(Path("/proc/self/fd").iterdir())
    return sum(str(path.resolve()).startswith(str(folder)) for path in paths)


def test_a_file_is_opened_once_for_many_transactions(engines, tmp_path):
    url = url_of(tmp_path)
    for number in range(3):
        with engines.begin(url) as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS numbers (number)"))
            connection.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": number})
    assert open_files(tmp_path) == 1
    with sqlite3.connect(tmp_path / "a.db") as other:
        assert other.execute("SELECT number FROM numbers").fetchall() == [(0,), (1,), (2,)]


def test_a_transaction_that_fails_leaves_nothing_behind(engines, tmp_path):
    url = url_of(tmp_path)
    with engines.begin(url) as connection:
        connection.execute(text("CREATE TABLE numbers (number)"))
    with pytest.raises(ZeroDivisionError), engines.begin(url) as connection:
        connection.execute(text("INSERT INTO numbers VALUES (1)"))
        raise ZeroDivisionError
    with engines.begin(url) as connection:
        assert connection.execute(text("SELECT count(*) FROM numbers")).scalar() == 0


def test_no_more_than_some_files_stay_open(engines, tmp_path):
    for number in range(MAX_FILES + 5):
        with engines.begin(url_of(tmp_path, str(number))) as connection:
            connection.execute(text("CREATE TABLE numbers (number)"))
    assert open_files(tmp_path) == MAX_FILES


def test_a_forked_process_opens_its_own_connection(engines, tmp_path):
    url = url_of(tmp_path)
    with engines.begin(url) as connection:
        connection.execute(text("CREATE TABLE numbers (number)"))
    mine = engines.engine(url)

    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def insert():
        with engines.begin(url) as connection:
            connection.execute(text("INSERT INTO numbers VALUES (1)"))
        answers.put(engines.engine(url) is not mine)
        engines.dispose()

    child = context.Process(target=insert)
    child.start()
    assert answers.get(timeout=30)
    child.join()
    assert child.exitcode == 0
    with engines.begin(url) as connection:
        assert connection.execute(text("SELECT count(*) FROM numbers")).scalar() == 1


def test_a_file_without_all_tables_has_no_schema(engines, tmp_path):
    url = url_of(tmp_path)
    assert not has_schema(engines, url)
    with engines.begin(url) as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num)"))
    assert not has_schema(engines, url)  # Dagster died before it stamped its revision
    with engines.begin(url) as connection:
        connection.execute(text("INSERT INTO alembic_version VALUES ('1')"))
    assert has_schema(engines, url)
    assert not has_schema(engines, url, "instance_info")


def test_what_dagster_wrote_into_its_own_storage_is_still_there(tmp_path):
    with DagsterInstance.local_temp(str(tmp_path)) as before:
        run = before.create_run_for_job(dg.job(name="nothing")(lambda: None))
    storage = BatchStorage(str(tmp_path))
    try:
        assert storage.run_storage.has_run(run.run_id)
    finally:
        storage.dispose()


def test_a_storage_that_is_disposed_of_has_no_file_open(tmp_path):
    storage = BatchStorage(str(tmp_path))
    assert storage.run_storage.get_runs() == []
    assert open_files(tmp_path) > 0
    storage.dispose()
    assert open_files(tmp_path) == 0
