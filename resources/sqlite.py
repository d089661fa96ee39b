"""Connections to Dagster's SQLite files, kept open for as long as a process lives.

Dagster opens a file anew for each event that it writes, and asks Alembic about its tables in each
process that opens an instance. Closing the last connection to a file copies its log into it, so
each event was synced to the disk several times.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, make_url, text

MAX_FILES = 16  # that are kept open, of those that were used last


class Engines:
    """An engine for each SQLite file, with connections that stay open between uses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By process as well: what another one opened before a fork is never used here, nor closed,
        # as SQLite demands.
        self._engines: OrderedDict[tuple[int, str], Engine] = OrderedDict()

    def engine(self, url: str) -> Engine:
        """Return the engine of a file."""
        key = (os.getpid(), url)
        with self._lock:
            if key not in self._engines:
                self._engines[key] = _open(url)
            self._engines.move_to_end(key)
            mine = [each for each in self._engines if each[0] == key[0]]
            for oldest in mine[:-MAX_FILES]:
                self._engines.pop(oldest).dispose()
            return self._engines[key]

    @contextmanager
    def begin(self, url: str) -> Iterator[Connection]:
        """Give a connection to a file, in a transaction."""
        with self.engine(url).begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close the files that this process has opened."""
        with self._lock:
            mine = [key for key in self._engines if key[0] == os.getpid()]
            for key in mine:
                self._engines.pop(key).dispose()


def _open(url: str) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=-1,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
    )
    event.listen(engine, "connect", _sync_at_checkpoints)
    return engine


def _sync_at_checkpoints(connection: Any, _record: Any) -> None:
    """Let a commit survive any death of its process, and wait for the disk only at checkpoints."""
    connection.execute("PRAGMA synchronous=NORMAL")


def has_schema(engines: Engines, url: str, table: str = "alembic_version") -> bool:
    """Tell whether a file has a table, and the revision that Dagster stamps when it is whole."""
    path = make_url(url).database
    if path is None or not Path(path).exists():
        return False

    with engines.begin(url) as connection:
        named = text("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = set(connection.execute(named).scalars())
        if not {table, "alembic_version"} <= tables:
            return False
        revision = connection.execute(text("SELECT version_num FROM alembic_version"))
        return revision.first() is not None
