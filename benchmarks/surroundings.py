"""Where measurements run: servers, a bucket, a database and a Dagster instance of their own.

Servers that the environment gives are used as they are; embedded ones start for the benchmark and
are gone after it, with all that they kept.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pymongo import MongoClient
from pymongo.database import Database

from benchmarks.events import event_blocks
from resources.embedded import running_settings, server_status, stop_servers
from workers.declare.asset import Asset
from workers.ledger.mongo import open_database
from workers.settings import home, read_settings
from workers.store import OWN_PREFIX, BlockStore, open_store
from workers.tasks import user_profiles
from workers.values import Document

PROJECT = Path(__file__).parent.parent
ASSET = user_profiles.asset
DAY = "1998-06-01"
SEED = 1
CORES = len(os.sched_getaffinity(0))
BUCKET = "fanfold-benchmark"
DATABASE = "fanfold_benchmark"
KEYS_PER_DELETE = 1_000  # S3 takes no more at once

Change = Callable[[bytes], bytes]  # of a block's bytes, before they are put


@contextmanager
def prepared() -> Iterator[None]:
    """Let this process and those it starts use the benchmark's own servers and instance."""
    folder = home() / "bench"
    os.environ |= {
        "FANFOLD_HOME": str(folder),
        "FANFOLD_DATABASE": DATABASE,
        "FANFOLD_BUCKET": BUCKET,
        "DAGSTER_HOME": str(folder / "instance"),
        # Prefect reads these when it is imported.
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "DO_NOT_TRACK": "1",
    }
    _remove(folder)  # what a killed benchmark left
    dagster_home(folder / "instance", (PROJECT / "dagster.yaml").read_text())
    try:
        running_settings()
        empty()
        yield
    finally:
        empty()
        _remove(folder)


def _remove(folder: Path) -> None:
    """Stop the servers whose data lie in the benchmark's folder, and remove it."""
    stop_servers()
    shutil.rmtree(folder, ignore_errors=True)


def server_cpu_seconds() -> dict[str, float]:
    """Return the CPU seconds that each embedded server has taken since its start."""
    seconds = {}
    for name, status in server_status().items():
        if status["running"]:
            times = psutil.Process(status["pid"]).cpu_times()
            seconds[name] = times.user + times.system
    return seconds


def dagster_home(folder: Path, config: str) -> Path:
    """Make a folder of an instance of Dagster, whose state lies in it; return it."""
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(config.replace(".fanfold/dagster", str(folder)))
    return folder


def store() -> BlockStore:
    """Return the bucket of the benchmark."""
    return open_store(read_settings())


@contextmanager
def database() -> Iterator[Database[Document]]:
    """Give the database of the benchmark."""
    opened = open_database(read_settings())
    client: MongoClient[Document] = opened.client
    with client:
        yield opened


def forget() -> None:
    """Remove what measurements left, and keep the blocks."""
    with database() as opened:
        opened.client.drop_database(opened)
    _delete(OWN_PREFIX)


def empty() -> None:
    """Remove all that the benchmark has put anywhere."""
    store().ensure()
    forget()
    _delete("")


def _delete(prefix: str) -> None:
    bucket = store()
    keys = [{"Key": block.key} for block in bucket.list(prefix)]
    for start in range(0, len(keys), KEYS_PER_DELETE):
        objects = {"Objects": keys[start : start + KEYS_PER_DELETE], "Quiet": True}
        bucket.client.delete_objects(Bucket=bucket.bucket, Delete=objects)


def put_events(
    events: int,
    blocks: int = 10,
    day: str = DAY,
    asset: Asset = ASSET,
    suffix: str = "",
    change: Change = bytes,
) -> int:
    """Put events of one day, changed where asked, into the bucket; return the bytes of them."""
    bucket = store()
    size = 0
    for name, lines in event_blocks(events, blocks, SEED, day):
        body = change(lines)
        bucket.put(f"{asset.prefixes(day)[0]}{name}{suffix}", body)
        size += len(body)
    return size
