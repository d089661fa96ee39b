"""A broker and workers of their own: these tests kill them."""

import os
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path

import dagster as dg
import pytest

from pipelines.celery import executor, handler
from resources.embedded import running_settings, server_status, start_servers
from tests.support.command import FANFOLD
from tests.support.waiting import execute
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.planning.slots import SERVES
from workers.store import open_store

PROJECT = Path(__file__).parents[3]
SECONDS = 60  # many times what anything here takes


def until(is_so, seconds=SECONDS):
    """Wait until something is so; return what it then is."""
    deadline = time.monotonic() + seconds
    while not (answer := is_so()):
        assert time.monotonic() < deadline, is_so
        time.sleep(0.02)
    return answer


class Cluster:
    """The broker, workers, and what the ledger knows of them."""

    def __init__(self, folder):
        self.folder = folder
        self.workers = []
        self.ledger = Ledger(open_database(running_settings()))

    def start_worker(self, slots=1):
        """Start a worker, and wait until it takes steps."""
        before = self.serving()
        command = [*FANFOLD, "worker", "--slots", str(slots)]
        with (self.folder / f"worker-{len(self.workers)}.log").open("wb") as log:
            worker = subprocess.Popen(command, cwd=PROJECT, stderr=log, stdout=log)
        self.workers.append(worker)
        until(lambda: self.serving() > before)
        return worker

    def serving(self):
        return len(self.ledger.workers.alive_at(SERVES))

    def slots(self):
        return sum(each.slots for each in self.ledger.workers.alive_at(SERVES))

    def log(self):
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def stop(self):
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.ledger.database.client.drop_database(self.ledger.database.name)
        self.ledger.database.client.close()

    def kill_broker(self):
        """Kill the broker; return what kept what it held."""
        os.kill(server_status()["redis"]["pid"], signal.SIGKILL)
        until(lambda: not server_status()["redis"]["running"])
        return self.folder.parent.joinpath("redis", "data", "appendonly.aof")


@pytest.fixture(scope="module")
def cluster(home, servers):
    """A broker and a worker with two slots, for a deployment of their own."""
    with pytest.MonkeyPatch.context() as patch:
        name = f"celery-{uuid.uuid4().hex[:8]}"
        patch.setenv("FANFOLD_EXECUTOR", "celery")
        patch.setenv("FANFOLD_DATABASE", name)
        patch.setenv("FANFOLD_BUCKET", name)
        start_servers()
        open_store(running_settings()).ensure()
        folder = home / name
        folder.mkdir()
        cluster = Cluster(folder)
        try:
            cluster.start_worker(slots=2)
            yield cluster
        finally:
            cluster.stop()


class Job:
    """A job of tests/support/waiting.py that runs in a thread."""

    def __init__(self, name, folder):
        self.folder = folder
        self.result = None
        self.thread = threading.Thread(target=self._run, args=(name,), daemon=True)
        self.thread.start()

    def _run(self, name):
        self.result = execute(name, self.folder, "")

    def began(self, attempt=0):
        """Wait until an attempt has begun; return its process."""
        file = self.folder / f"begun-{attempt}"
        until(file.exists)
        return int(file.read_text())

    def end(self):
        (self.folder / "go").touch()
        self.thread.join(SECONDS)
        assert self.result, "it did not end"
        return self.result


@pytest.fixture
def start(cluster, tmp_path, monkeypatch):
    """Start a job; health is looked at each second."""
    monkeypatch.setattr(executor, "HEALTH_SECONDS", 1)
    monkeypatch.setattr(handler, "LOST_MESSAGE_SECONDS", 2)
    # Runs of one process that set up logging at once wait for each other's locks for ever.
    monkeypatch.setattr(dg.DagsterInstance, "get_yaml_python_handlers", lambda _: [])
    jobs = []

    def start(name):
        jobs.append(Job(name, tmp_path))
        return jobs[-1]

    yield start
    (tmp_path / "go").touch()
    for job in jobs:
        job.thread.join(SECONDS)
