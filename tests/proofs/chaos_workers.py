"""The processes of `fanfold worker` that chaos kills, where the executor is celery."""

import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pymongo.errors import PyMongoError

from pipelines.celery.handler import STEP
from tests.proofs.chaos_record import Record
from tests.support.command import FANFOLD
from workers.errors import FanfoldError
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.ledger.workers import WorkerRecord
from workers.settings import read_settings

PROJECT = Path(__file__).parents[2]
COUNT = 2


@dataclass
class Workers:
    """Two workers of two slots each; one that is killed is started again."""

    folder: Path
    environ: dict[str, str]
    record: Record
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start workers until there are two."""
        self.processes = [each for each in self.processes if each.poll() is None]
        while len(self.processes) < COUNT:
            self.record.counts["workers started"] += 1
            log = self.folder / f"worker-{self.record.counts['workers started']:03}.log"
            command = [*FANFOLD, "worker", "--slots", "2"]
            with log.open("wb") as file:
                self.processes.append(
                    subprocess.Popen(
                        command, stdout=file, stderr=file, cwd=PROJECT, env=self.environ
                    )
                )

    def stop(self) -> None:
        """Kill all of them."""
        for process in self.processes:
            process.kill()
            process.wait()

    def mains(self) -> list[psutil.Process]:
        """Return the processes that take steps from the broker."""
        return [psutil.Process(each.pid) for each in self.processes if each.poll() is None]

    def all(self) -> list[psutil.Process]:
        """Return them and their children."""
        mains = self.mains()
        children = []
        for main in mains:
            with suppress(psutil.NoSuchProcess):
                children += main.children()
        return [*mains, *children]

    def busy(self) -> list[psutil.Process]:
        """Return the children that are at a step, as far as the ledger answers."""
        processes = []
        for worker in self.at_work():
            with suppress(psutil.NoSuchProcess):
                processes.append(psutil.Process(worker.pid))
        return processes

    def at_work(self) -> list[WorkerRecord]:
        """Return the steps that are at work; none where the ledger does not answer."""
        try:
            database = open_database(read_settings(self.environ), patient=False)
            with database.client:
                return Ledger(database).workers.alive_at(STEP)
        except (PyMongoError, FanfoldError):
            return []

    def wait_until_idle(self, seconds: float) -> bool:
        """Wait until no step is at work; False where one still is after so long."""
        deadline = time.monotonic() + seconds
        while self.at_work():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True
