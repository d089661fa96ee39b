"""A real mongod and a real SeaweedFS for the whole session; each test has a bucket and a database
of its own, and no way to a cloud."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from resources.embedded import running_settings, stop_servers
from tests.support.pipeline import Pipeline
from workers.errors import FanfoldError
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.settings import Settings, read_settings
from workers.store import BlockStore, open_store
from workers.values import Document

PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Local state of the session; settings of the developer's shell do not reach the tests."""
    folder = tmp_path_factory.mktemp("fanfold")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "MONGODB_", "FANFOLD_", "DAGSTER_")):
                patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(folder / "none"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
        patch.setenv("FANFOLD_HOME", str(folder))
        patch.setenv("FANFOLD_EXECUTOR", "in_process")
        patch.setenv("DAGSTER_HOME", str(folder))
        text = (PROJECT / "dagster.yaml").read_text()
        (folder / "dagster.yaml").write_text(
            text.replace(".fanfold/dagster", str(folder / "dagster"))
        )
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
def store(servers: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockStore]:
    """An empty bucket, which the settings name too."""
    monkeypatch.setenv("FANFOLD_BUCKET", f"test-{uuid.uuid4().hex[:12]}")
    made = open_store(read_settings())
    made.ensure()
    yield made
    keys = [{"Key": block.key} for block in made.list("")]
    for start in range(0, len(keys), 1000):  # S3 takes no more at once
        some: Any = {"Objects": keys[start : start + 1000], "Quiet": True}
        assert "Errors" not in made.client.delete_objects(Bucket=made.bucket, Delete=some)
    made.client.delete_bucket(Bucket=made.bucket)


@pytest.fixture
def database(servers: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database[Document]]:
    """An empty database, which the settings name too."""
    monkeypatch.setenv("FANFOLD_DATABASE", f"test_{uuid.uuid4().hex[:12]}")
    made = open_database(read_settings())
    with made.client:
        yield made
        made.client.drop_database(made.name)


@pytest.fixture
def pipeline(store: BlockStore, database: Database[Document]) -> Pipeline:
    """A bucket, a database, and short ways to use them."""
    return Pipeline(store, database, Ledger(database))
