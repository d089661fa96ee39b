"""The processes that chaos starts, looks for and waits for: runs, their ops, and the servers.

All of them work in a folder of their own, which their environment names.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

import psutil

from pipelines.summaries import failures
from resources.embedded import server_status
from tests.proofs.chaos_record import Record
from tests.proofs.chaos_workers import Workers
from tests.support.command import FANFOLD
from tests.support.declared import PROJECT, declaring
from tests.support.owner import OwnerProcess
from workers.errors import FanfoldError
from workers.tasks import user_profiles

ASSET = user_profiles.asset
SERVERS = {"mongod": "mongod", "s3": "seaweedfs", "broker": "redis", "emptied broker": "redis"}
LOOK_SECONDS = 0.1  # a look at all processes of the machine takes milliseconds
MAX_RUN_SECONDS = 240  # a run that takes longer hangs,
MAX_CELERY_SECONDS = 120  # and one whose workers are killed
MAX_OP_SECONDS = 90  # that an op may outlive its run, awake
OWN_VARIABLES = ("AWS_", "MONGODB_", "FANFOLD_", "DAGSTER_")


def own_environment(folder: Path, executor: str, declared: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment of everything that belongs to this program.

    The asset is declared so in all of its processes: see tests/support/declares.
    """
    config = (PROJECT / "dagster.yaml").read_text()
    (folder / "dagster.yaml").write_text(config.replace(".fanfold/dagster", f"{folder}/dagster"))

    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(OWN_VARIABLES)
    }
    return inherited | {
        **declaring(*declared),
        "FANFOLD_HOME": str(folder / "home"),
        "DAGSTER_HOME": str(folder),
        "FANFOLD_EXECUTOR": executor,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@dataclass
class Run:
    """A `fanfold run`; its output goes to files, since its workers may outlive it."""

    process: subprocess.Popen[bytes]
    days: int
    files: Path
    # Who executes its ops, where these are not its own children.
    workers: Workers | None

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def ops(self) -> list[psutil.Process]:
        """Return the processes that execute its ops: children of its fork server, or of workers."""
        if self.workers:
            return self.workers.busy()

        ops = []
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                if "forkserver" in " ".join(child.cmdline()):
                    ops += child.children()
        return ops

    def output(self) -> tuple[dict[str, Any] | None, str]:
        """Return its JSON document, if it printed one, and what it wrote to stderr."""
        stdout = self.files.with_suffix(".out").read_text()
        stderr = self.files.with_suffix(".err").read_text()
        return json.loads(stdout) if stdout else None, stderr


@dataclass
class Processes:
    """Starts runs, counts their outcomes, and knows which processes are still alive."""

    folder: Path
    environ: dict[str, str]
    record: Record
    workers: Workers | None = None
    # The application that writes fields of its own on profiles.
    owner: OwnerProcess | None = None
    timers: list[Timer] = field(default_factory=list)

    @property
    def executor(self) -> str:
        return self.environ["FANFOLD_EXECUTOR"]

    @property
    def servers(self) -> list[str]:
        """Return the kinds of servers that there are."""
        return ["mongod", "s3", "broker"] if self.workers else ["mongod", "s3"]

    # Runs

    def start_run(self, days: list[str]) -> Run:
        """Start a run of some days."""
        self.record.counts["runs started"] += 1
        files = self.folder / "runs" / f"{self.record.counts['runs started']:04}"
        files.parent.mkdir(exist_ok=True)

        command = [*FANFOLD, "run", ASSET.name, "--json", "--drop-removed"]
        command += ["--partitions", f"{days[0]}...{days[-1]}"]
        stdout_file = files.with_suffix(".out")
        stderr_file = files.with_suffix(".err")
        with stdout_file.open("wb") as stdout, stderr_file.open("wb") as stderr:
            process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, cwd=PROJECT, env=self.environ
            )
        return Run(process, len(days), files, self.workers)

    def end_run(self, run: Run) -> str:
        """Wait for a run, count its outcome and return it: succeeded, failed or killed."""
        seconds = MAX_CELERY_SECONDS if self.workers else MAX_RUN_SECONDS
        try:
            code = run.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.record.add_problem(f"a run did not end within {seconds} s ({run.files})")
            run.process.kill()
            code = run.process.wait()

        outcome = {0: "succeeded", -signal.SIGKILL: "killed"}.get(code, "failed")
        self.record.counts[f"runs {outcome}"] += 1
        if outcome == "failed":
            self._record_errors(run)
        return outcome

    def _record_errors(self, run: Run) -> None:
        summary, stderr = run.output()
        last_line = stderr.strip().splitlines()[-1:] or ["nothing said"]
        for error in failures(summary) if summary else last_line:
            self.record.errors[without_numbers(error)] += 1
        if "Traceback" in stderr and summary is None:
            self.record.add_problem(f"a run ended with a traceback:\n{stderr}")

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `fanfold` to its end."""
        command = [*FANFOLD, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=PROJECT, env=self.environ, check=False
        )

    # What happens later

    def do_later(self, name: str, seconds: float, action: Callable[[], Any]) -> None:
        """Do something after some seconds, in a thread; an error of Fanfold's is a problem."""

        def act() -> None:
            try:
                action()
            except FanfoldError as error:
                self.record.add_problem(f"{name}: {error}")

        timer = Timer(seconds, act)
        timer.name = name
        timer.start()
        self.timers = [*(pending for pending in self.timers if pending.is_alive()), timer]

    def wait_for_timers(self, name: str = "") -> None:
        """Wait until what was to be done later is done; all of it, or what has this name."""
        for timer in self.timers:
            if not name or timer.name == name:
                timer.join()

    # Who is alive

    def server(self, kind: str) -> list[psutil.Process]:
        """Return the process of a server, if it runs."""
        pid = server_status(self.environ).get(SERVERS[kind], {}).get("pid")
        return [psutil.Process(pid)] if pid else []

    def empty_broker(self) -> None:
        """Take from a broker that is down what it held."""
        for file in self.folder.glob("home/redis/data/*.aof"):
            file.unlink()

    def orphans(self) -> list[psutil.Process]:
        """Return the runs and ops that are alive, even those of runs that are dead."""
        orphans = [process for process in self._relatives() if "python" in process.name()]
        return orphans + (self.workers.busy() if self.workers else [])

    def wait_for_orphans(self) -> None:
        """Wait until frozen workers were woken and every worker of a dead run is gone."""
        self.wait_for_timers()
        if self.workers and not self.workers.wait_until_idle(MAX_OP_SECONDS):
            self.record.add_problem(f"an op outlived its run by {MAX_OP_SECONDS} s")

        _, alive = psutil.wait_procs(self.orphans(), MAX_OP_SECONDS)
        for process in alive:
            self.record.add_problem(f"an op outlived its run by {MAX_OP_SECONDS} s: {process}")

        for process in self._relatives():  # also what follows the logs of ops that were killed
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _relatives(self) -> list[psutil.Process]:
        """Return the processes that work in our folder, apart from us and those that stay."""
        staying = [server["pid"] for server in server_status(self.environ).values()]
        staying += [process.pid for process in self.workers.all()] if self.workers else []
        staying += [self.owner.process.pid] if self.owner else []
        relatives = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                home = process.environ().get("FANFOLD_HOME")
                is_ours = home == self.environ["FANFOLD_HOME"]
                if is_ours and process.pid not in (os.getpid(), *staying):
                    relatives.append(process)
        return relatives


def wait_for_first_op(runs: list[Run]) -> None:
    """Wait until one of the runs executes an op, or all have ended."""
    while any(run.is_alive for run in runs) and not any(run.ops() for run in runs):
        time.sleep(LOOK_SECONDS)


def wait_for_end(server: psutil.Process) -> None:
    """Wait until a killed server serves no more; who started it may be too dead to notice."""
    with suppress(psutil.NoSuchProcess):
        while server.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)


def wake(op: psutil.Process) -> None:
    """Let a frozen process go on."""
    with suppress(psutil.NoSuchProcess):
        op.resume()


def without_numbers(error: str) -> str:
    """Return an error with what differs from case to case left out, so that it can be counted."""
    return re.sub(r"\b(?=\w*\d)[\w-]+\b", "N", error)[:200]
