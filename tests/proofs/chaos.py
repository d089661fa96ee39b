"""Kill workers, runs and servers at random, then show that nothing is lost and nothing twice.

    make chaos KILLS=200 SEED=1
    python -m tests.chaos [--kills 40] [--seed 1] [--days 8]

Everything is its own: a folder of state, a mongod, an S3 server. The blocks' content is known, so
what the profiles should say is known too. The same seed makes the same choices; how far a run is
when it is hit still depends on the clock.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Timer
from typing import Any

import psutil
from pymongo.database import Database
from rich.console import Console
from rich.table import Table

from resources.embedded import server_status, start_servers, stop_servers
from tests.support.known_blocks import (
    CHANGES,
    KnownBlocks,
    count_problems,
    differences,
    plan_problems,
)
from workers.errors import FanfoldError
from workers.ledger.mongo import open_database
from workers.settings import read_settings
from workers.store import open_store
from workers.tasks import user_profiles
from workers.values import Document

ASSET = user_profiles.asset

PROJECT = Path(__file__).parents[2]
KINDS = ("worker", "run", "mongod", "s3")
SERVERS = {"mongod": "mongod", "s3": "seaweedfs"}
FIRST_DAY = "1998-04-01"
KILLS_BETWEEN_CHECKS = 20
LONGEST_RUN = 240  # seconds; a run that takes longer hangs
LONGEST_OP = 90  # seconds that an op may outlive its run, awake

out = Console(highlight=False, soft_wrap=True)


@dataclass
class Run:
    """One `fanfold run`; its output goes to files, since its workers may outlive it."""

    process: subprocess.Popen[bytes]
    days: int
    files: Path

    def ops(self) -> list[psutil.Process]:
        """Return the processes that execute its ops: the children of its fork server."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children()
            servers = [child for child in children if "forkserver" in " ".join(child.cmdline())]
            return [op for server in servers for op in server.children()]
        return []

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def said(self) -> tuple[dict[str, Any] | None, str]:
        """Return its JSON document, if it printed one, and what it wrote to stderr."""
        text = self.files.with_suffix(".out").read_text()
        return json.loads(text) if text else None, self.files.with_suffix(".err").read_text()


@dataclass
class Chaos:
    """What the program does and what it has seen so far."""

    random: Random
    folder: Path
    environ: dict[str, str]
    tally: KnownBlocks
    kills: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    deck: list[str] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    # Seconds from a run's first op to its end, when nobody disturbs it.
    span: float = 5.0
    lost: int = 0
    twice: int = 0

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    def say(self, text: str) -> None:
        spent = time.monotonic() - self.started
        out.print(f"{spent:5.0f} s  {self.kills.total():3} kills  {text}", markup=False)

    def complain(self, problem: str) -> None:
        """Take a problem down: one is enough for the program to fail."""
        self.problems.append(problem)
        self.say(f"problem: {problem}")

    # Runs

    def start(self, days: list[str]) -> Run:
        self.counts["runs started"] += 1
        files = self.folder / "runs" / f"{self.counts['runs started']:04}"
        files.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pipelines.cli.main", "run", ASSET.name, "--json"]
        command += ["--partitions", f"{days[0]}...{days[-1]}"]
        said, noise = files.with_suffix(".out"), files.with_suffix(".err")
        with said.open("wb") as stdout, noise.open("wb") as stderr:
            process = subprocess.Popen(
                command, stdout=stdout, stderr=stderr, cwd=PROJECT, env=self.environ
            )
        return Run(process, len(days), files)

    def end(self, run: Run) -> str:
        """Wait for a run and count what became of it: succeeded, failed or killed."""
        try:
            code = run.process.wait(LONGEST_RUN)
        except subprocess.TimeoutExpired:
            self.complain(f"a run did not end within {LONGEST_RUN} s ({run.files})")
            run.process.kill()
            code = run.process.wait()
        fate = {0: "succeeded", -signal.SIGKILL: "killed"}.get(code, "failed")
        self.counts[f"runs {fate}"] += 1
        if fate == "failed":
            summary, noise = run.said()
            last = noise.strip().splitlines()[-1:] or ["nothing said"]
            for error in summary["errors"] if summary else last:
                self.errors[without_numbers(error)] += 1
            if "Traceback" in noise and summary is None:
                self.complain(f"a run ended with a traceback:\n{noise}")
        return fate

    # Kills

    def round(self, most: int) -> None:
        """Start a run or two, kill up to so many times while they work, wait for their end."""
        runs = [self.start(self.some_days()) for _ in range(self.random.choice((1, 2)))]
        while any(run.is_alive for run in runs) and not any(run.ops() for run in runs):
            time.sleep(0.02)
        hits, delay = [], self.random.uniform(0, 0.8 * self.span)
        for _ in range(min(most, self.random.choice((3, 4, 5, 6)))):
            time.sleep(delay)
            if not any(run.is_alive for run in runs):
                break
            if kind := self.kill(runs):
                hits.append(f"{kind} after {delay:.1f} s")
            delay = self.random.uniform(0, self.span / 5)
        if not hits:
            self.span *= 0.7  # it was measured when the machine was slower
        fates = [self.end(run) for run in runs]
        for timer in [one for one in self.timers if one.name == "up"]:
            timer.join()
        parts = " and ".join(
            f"{run.days} days {fate}" for run, fate in zip(runs, fates, strict=True)
        )
        self.say(f"{', '.join(hits) or 'no kill, the runs were over'}: {parts}")

    def some_days(self) -> list[str]:
        """Return a random range of days, or all."""
        days = self.tally.days
        first, last = sorted(self.random.choices(range(len(days)), k=2))
        return days if self.random.random() < 0.4 else days[first : last + 1]

    def change(self) -> None:
        """Change a few blocks between two rounds, so that there is something to do."""
        self.tally.store = open_store(read_settings(self.environ))  # its port may be new
        for _ in range(self.random.randint(1, 6)):
            self.counts[f"blocks {self.tally.change()}"] += 1

    def kill(self, runs: list[Run]) -> str | None:
        """Kill the next kind on the deck that is there to be killed."""
        if not self.deck:
            self.deck = self.random.sample(KINDS, len(KINDS))
        victims = {
            "worker": [op for run in runs for op in run.ops()],
            "run": [psutil.Process(run.process.pid) for run in runs if run.is_alive],
        } | {kind: self.server(kind) for kind in SERVERS}
        kind = next((one for one in self.deck if victims[one]), None)
        if kind is None:
            return None
        self.deck.remove(kind)
        victim = self.random.choice(victims[kind])
        if kind == "run" and all(victims[server] for server in SERVERS):
            # While a server is down an op may hold the lock to start it, which we want too.
            self.freeze([op for run in runs if run.process.pid == victim.pid for op in run.ops()])
        with suppress(psutil.NoSuchProcess):
            victim.kill()
            self.kills[kind] += 1
        if kind in SERVERS:
            wait_for_end(victim)
            self.later("up", self.random.uniform(0, 4), lambda: start_servers(self.environ))
        return kind

    def server(self, kind: str) -> list[psutil.Process]:
        pid = server_status(self.environ)[SERVERS[kind]]["pid"]
        return [psutil.Process(pid)] if pid else []

    def freeze(self, ops: list[psutil.Process]) -> None:
        """Stop most of the ops whose run is about to die; they go on long after, as zombies."""
        for op in ops:
            if self.random.random() < 0.7:
                with suppress(psutil.NoSuchProcess):
                    op.suspend()
                    self.counts["zombies"] += 1
                self.later("wake", self.random.uniform(2, 15), lambda op=op: wake(op))

    def later(self, name: str, seconds: float, action: Callable[[], Any]) -> None:
        def act() -> None:
            try:
                action()
            except FanfoldError as error:
                self.complain(f"{name}: {error}")

        timer = Timer(seconds, act)
        timer.name = name
        timer.start()
        self.timers = [one for one in self.timers if one.is_alive()] + [timer]

    # Checks

    def check(self) -> None:
        """Run everything undisturbed while zombies may live, let them end, then check."""
        self.counts["checks"] += 1
        self.clean_run()
        if self.orphans():
            self.wait_for_orphans()
            self.check_profiles()  # before another run could cover up what zombies did
            summary = self.clean_run()
            if summary and summary["batches_reused"] != summary["batches"]:
                self.complain("a run with nothing new ran batches again")
        self.check_profiles()
        with self.database() as database:
            for problems in (plan_problems, count_problems):
                for problem in problems(database, self.tally):
                    self.complain(problem)
        self.say(f"check: {self.lost} lost, {self.twice} twice, {len(self.problems)} problems")

    def clean_run(self) -> dict[str, Any] | None:
        """Run all days; undisturbed, this has to succeed, at the third try at the latest."""
        start_servers(self.environ)
        for _ in range(3):
            run = self.start(self.tally.days)
            while run.is_alive and not run.ops():
                time.sleep(0.02)
            began = time.monotonic()
            if self.end(run) == "succeeded":
                self.span = time.monotonic() - began
                return run.said()[0]
        self.complain(f"a run that nobody disturbed failed: {run.said()}")
        return None

    def check_profiles(self) -> None:
        """Hold the profiles against the blocks, by Fanfold's word and by our own count."""
        command = [sys.executable, "-m", "pipelines.cli.main", "verify", ASSET.name, "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=PROJECT, env=self.environ, check=False
        )
        if done.returncode != 0 or not json.loads(done.stdout)["match"]:
            self.complain(f"verify: {done.stdout}{done.stderr}")
        with self.database() as database:
            lost, twice = differences(database, self.tally)
        self.lost, self.twice = self.lost + lost, self.twice + twice

    @contextmanager
    def database(self) -> Iterator[Database[Document]]:
        found = open_database(read_settings(self.environ))
        with found.client:
            yield found

    # The end

    def orphans(self) -> list[psutil.Process]:
        """Return the runs and ops that are alive, even those of runs that are dead."""
        return [one for one in self.relatives() if "python" in one.name()]

    def relatives(self) -> list[psutil.Process]:
        """Return the processes that work in our folder, apart from us and the servers."""
        servers = [server["pid"] for server in server_status(self.environ).values()]
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid not in (os.getpid(), *servers) and (
                    process.environ().get("FANFOLD_HOME") == self.environ["FANFOLD_HOME"]
                ):
                    found.append(process)
        return found

    def wait_for_orphans(self) -> None:
        """Wait until frozen workers were woken and every worker of a dead run is gone."""
        for timer in self.timers:
            timer.join()
        _, alive = psutil.wait_procs(self.orphans(), LONGEST_OP)
        for process in alive:
            self.complain(f"an op outlived its run by {LONGEST_OP} s: {process}")
        for process in self.relatives():  # also what follows the logs of ops that were killed
            with suppress(psutil.NoSuchProcess):
                process.kill()


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


def prepare(folder: Path) -> dict[str, str]:
    """Return the environment of everything that belongs to this program."""
    own = ("AWS_", "MONGODB_", "FANFOLD_", "DAGSTER_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    text = (PROJECT / "dagster.yaml").read_text()
    (folder / "dagster.yaml").write_text(text.replace(".fanfold/dagster", f"{folder}/dagster"))
    return environ | {
        "FANFOLD_HOME": str(folder / "home"),
        "DAGSTER_HOME": str(folder),
        "FANFOLD_EXECUTOR": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def report(chaos: Chaos, kills: int) -> None:
    """Print what was done and what came of it."""
    spent = time.monotonic() - chaos.started
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    used, dead = (sum(n) for n in zip(*map(chaos.tally.counts, chaos.tally.days), strict=True))
    rows: list[tuple[str, Any]] = [("kills", kills)]
    rows += [(f"  {kind}", chaos.kills[kind]) for kind in KINDS]
    rows += [("workers frozen, woken after their run", chaos.counts["zombies"])]
    rows += [("runs started", chaos.counts["runs started"])]
    rows += [
        (f"  {fate}", chaos.counts[f"runs {fate}"]) for fate in ("succeeded", "failed", "killed")
    ]
    rows += [(f"blocks {change}", chaos.counts[f"blocks {change}"]) for change in CHANGES]
    rows += [("checks", chaos.counts["checks"])]
    rows += [("items", used + dead), ("dead letters", dead)]
    rows += [("lost", chaos.lost), ("twice", chaos.twice), ("problems", len(chaos.problems))]
    rows += [("seconds", round(spent)), ("seconds a kill", f"{spent / max(kills, 1):.1f}")]
    for name, value in rows:
        table.add_row(name, f"{value:,}" if isinstance(value, int) else value)
    out.print()
    out.print(table)
    if chaos.errors:
        out.print("\nwhat runs that failed said, N for numbers and names:")
    for error, times in chaos.errors.most_common():
        out.print(f"{times:5} x {error}", markup=False)


def wreak(chaos: Chaos, kills: int) -> None:
    """Fill the bucket, then kill and check in turn."""
    chaos.tally.fill()
    chaos.clean_run()
    chaos.say(f"{len(chaos.tally.blocks)} blocks folded; a run's ops take {chaos.span:.1f} s")
    unchecked = 0
    while (before := chaos.kills.total()) < kills:
        chaos.change()
        chaos.round(kills - before)
        unchecked += chaos.kills.total() - before
        if unchecked >= KILLS_BETWEEN_CHECKS and chaos.kills.total() < kills:
            chaos.check()
            unchecked = 0
    chaos.check()


def main() -> int:
    """Do it, say what came of it, and leave nothing behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=8)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the end below is reached
    folder = Path(tempfile.mkdtemp(prefix="fanfold-chaos-"))
    environ = prepare(folder)
    random = Random(asked.seed)
    try:
        start_servers(environ)
        last = ASSET.partitions.shift(FIRST_DAY, asked.days - 1)
        days = ASSET.partitions.between(FIRST_DAY, last)
        tally = KnownBlocks(random, open_store(read_settings(environ)), ASSET, days)
        chaos = Chaos(random, folder, environ, tally)
        try:
            wreak(chaos, asked.kills)
        finally:
            chaos.wait_for_orphans()
            report(chaos, chaos.kills.total())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # servers are not to be left behind
        stop_servers(environ)
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if chaos.problems or chaos.lost or chaos.twice else 0


if __name__ == "__main__":
    sys.exit(main())
