"""A real mongod and a real SeaweedFS for the whole session; each test has a bucket and a database
of its own, and no way to a cloud.

Each process of pytest-xdist has a session, and so a pair of servers: they start in 3 s and stop in
2 s, in all processes at once, and no test meets what a test of another process does to them.
"""

import gc
import json
import os
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import pytest
from pymongo.database import Database

from resources.embedded import running_settings, stop_servers
from resources.servers import HOST
from tests.support.pipeline import Pipeline
from workers.errors import FanfoldError
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.settings import Settings, read_settings
from workers.store import BlockStore, open_store
from workers.values import Document

PROJECT = Path(__file__).parent.parent
FOREIGN_VARIABLES = ("AWS_", "MONGODB_", "FANFOLD_", "DAGSTER_")
MAX_KEYS_PER_DELETE = 1_000  # S3 takes no more at once
NEW_OBJECTS = 10_000  # after which garbage is looked for; Python says 700


def pytest_configure() -> None:
    """Look for no garbage while Dagster and all tests are imported: what is imported stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage from now on, but not in what was imported: that was a seventh of all."""
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The session's folder of state; settings of the developer's shell do not reach the tests."""
    folder = tmp_path_factory.mktemp("fanfold")
    config = (PROJECT / "dagster.yaml").read_text()
    (folder / "dagster.yaml").write_text(config.replace(".fanfold/dagster", f"{folder}/dagster"))

    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(FOREIGN_VARIABLES):
                patch.delenv(name)

        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(folder / "none"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
        patch.setenv("FANFOLD_HOME", str(folder))
        patch.setenv("FANFOLD_EXECUTOR", "in_process")
        patch.setenv("DAGSTER_HOME", str(folder))

        yield folder

        stop_servers()


@pytest.fixture(scope="session")
def servers(home: Path) -> Settings:
    """The running servers; a laptop without them skips, CI fails."""
    try:
        return running_settings()
    except FanfoldError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def store(home: Path, servers: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockStore]:
    """An empty bucket, which the settings name too."""
    monkeypatch.setenv("FANFOLD_BUCKET", f"test-{uuid.uuid4().hex[:12]}")
    store = open_store(read_settings())
    store.ensure()
    make_room(home, store.bucket)

    yield store

    keys = [{"Key": block.key} for block in store.list("")]
    for start in range(0, len(keys), MAX_KEYS_PER_DELETE):
        objects = keys[start : start + MAX_KEYS_PER_DELETE]
        answer = store.client.delete_objects(
            Bucket=store.bucket, Delete={"Objects": objects, "Quiet": True}
        )
        assert "Errors" not in answer
    store.client.delete_bucket(Bucket=store.bucket)


def make_room(home: Path, bucket: str) -> None:
    """Make a bucket's first volume; without this its first write starts that and waits 200 ms."""
    master, *_ = json.loads((home / "servers.json").read_text())["seaweedfs"]["ports"]
    connection = HTTPConnection(HOST, master)
    connection.request("GET", f"/vol/grow?collection={bucket}&count=1&replication=000")
    assert connection.getresponse().status == HTTPStatus.OK
    connection.close()


@pytest.fixture
def database(servers: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database[Document]]:
    """An empty database, which the settings name too."""
    monkeypatch.setenv("FANFOLD_DATABASE", f"test_{uuid.uuid4().hex[:12]}")
    database = open_database(read_settings())
    with database.client:
        yield database
        database.client.drop_database(database.name)


@pytest.fixture
def pipeline(store: BlockStore, database: Database[Document]) -> Pipeline:
    """A bucket, a database, and short ways to use them."""
    return Pipeline(store, database, Ledger(database))
