"""Kill workers, runs and servers at random, then show that nothing is lost and nothing twice.

    make chaos KILLS=200 SEED=1 EXECUTOR=celery
    python -m tests.proofs.chaos [--kills 40] [--seed 1] [--days 8] [--executor celery]
                                 [--unique] [--pause 0.0005]

Everything is its own: a folder of state, a mongod, an S3 server. The blocks' content is known, so
what the profiles should say is known too. Meanwhile an application sets fields of its own on the
profiles, and puts documents: a write of its that is not there any more counts as lost. Some blocks
have an item that kills its worker, or hangs it: a dead letter is to come of it. The same seed makes
the same choices; how far a run is when it is hit still depends on the clock.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from resources.embedded import start_servers, stop_servers
from tests.proofs.chaos_checks import Checks
from tests.proofs.chaos_processes import (
    ASSET,
    SERVERS,
    Processes,
    Run,
    own_environment,
    wait_for_end,
    wait_for_first_op,
    wake,
)
from tests.proofs.chaos_record import KINDS, OF_ITEMS, Record, print_report
from tests.proofs.chaos_workers import Workers
from tests.support.known_blocks import MAX_USERS, KnownBlocks
from tests.support.owner import PAUSE_SECONDS, start_owner
from workers.settings import read_settings
from workers.store import open_store

FIRST_DAY = "1998-04-01"
KILLS_BETWEEN_CHECKS = 20


@dataclass
class Chaos:
    """Changes blocks, starts runs and kills while they work, round after round."""

    random: Random
    processes: Processes
    known: KnownBlocks
    record: Record
    # The kinds that are still to be killed before any is killed again.
    deck: list[str] = field(default_factory=list)

    def wreak(self, kills: int) -> None:
        """Fill the bucket, then kill and check in turn."""
        checks = Checks(self.processes, self.known, self.record)
        self.known.fill()
        checks.run_undisturbed()
        self.record.log(
            f"{len(self.known.blocks)} blocks folded; "
            f"a run's ops take {self.record.run_seconds:.1f} s"
        )

        unchecked = 0
        while (before := self.record.kills.total()) < kills:
            self.change_blocks()
            self.play_round(kills - before)

            after = self.record.kills.total()
            unchecked += after - before
            if unchecked >= KILLS_BETWEEN_CHECKS and after < kills:
                checks.check()
                unchecked = 0

        checks.check()

    # Rounds

    def change_blocks(self) -> None:
        """Change a few blocks between two rounds, so that there is something to do."""
        # The port of the store may be new.
        self.known.store = open_store(read_settings(self.processes.environ))
        for _ in range(self.random.randint(1, 6)):
            change = self.known.change()
            self.record.counts[f"blocks {change}"] += 1

    def put_deadly_item(self) -> str:
        """Put an item that ends its worker, if one is next on the deck; return its day."""
        kind = next((kind for kind in self._filled_deck() if kind in OF_ITEMS), None)
        if kind is None or self.random.random() < 0.5:
            return ""
        self.deck.remove(kind)
        self.record.kills[kind] += 1
        return self.known.add_deadly(OF_ITEMS[kind])

    def play_round(self, max_kills: int) -> None:
        """Start a run or two, kill up to so many times while they work, wait for their end."""
        count = self.random.choice((1, 2))
        deadly = self.put_deadly_item()
        runs = [self.processes.start_run(self._draw_days(deadly)) for _ in range(count)]
        wait_for_first_op(runs)

        hits = self._kill_several(runs, max_kills)
        if not hits:
            self.record.run_seconds *= 0.7  # it was measured when the machine was slower

        outcomes = [self.processes.end_run(run) for run in runs]
        self.processes.wait_for_timers("up")

        parts = []
        for run, outcome in zip(runs, outcomes, strict=True):
            parts.append(f"{run.days} days {outcome}")
        hits += ["a deadly item"] if deadly else []
        self.record.log(
            f"{', '.join(hits) or 'no kill, the runs were over'}: {' and '.join(parts)}"
        )

    def _draw_days(self, with_day: str) -> list[str]:
        """Return a random range of days, or all; with one of them, where that is said."""
        days = self.known.days
        first, last = sorted(self.random.choices(range(len(days)), k=2))
        if with_day:
            day = days.index(with_day)
            first, last = min(first, day), max(last, day)
        return days if self.random.random() < 0.4 else days[first : last + 1]

    # Kills

    def _kill_several(self, runs: list[Run], max_kills: int) -> list[str]:
        """Kill three to six times while runs are alive; return what was killed, and when."""
        run_seconds = self.record.run_seconds
        delay = self.random.uniform(0, 0.8 * run_seconds)
        hits = []

        for _ in range(min(max_kills, self.random.choice((3, 4, 5, 6)))):
            time.sleep(delay)
            if not any(run.is_alive for run in runs):
                break
            if kind := self.kill(runs):
                hits.append(f"{kind} after {delay:.1f} s")
            delay = self.random.uniform(0, run_seconds / 5)

        return hits

    def kill(self, runs: list[Run]) -> str | None:
        """Kill the next kind on the deck that is there to be killed; return it."""
        victims = self._victims(runs)
        kind = next((kind for kind in self._filled_deck() if victims.get(kind)), None)
        if kind is None:
            return None

        self.deck.remove(kind)
        victim = self.random.choice(victims[kind])
        if kind == "run" and all(map(self.processes.server, self.processes.servers)):
            # While a server is down an op may hold the lock to start it, which we want too.
            (run,) = (run for run in runs if run.process.pid == victim.pid)
            self._freeze(run.ops())

        with suppress(psutil.NoSuchProcess):
            victim.kill()
            self.record.kills[kind] += 1

        if kind in SERVERS:
            wait_for_end(victim)
            if kind == "emptied broker":
                self.processes.empty_broker()
            environ = self.processes.environ
            self.processes.do_later("up", self._seconds_down(), lambda: start_servers(environ))
        elif kind == "worker" and (workers := self.processes.workers):
            self.processes.do_later("up", self._seconds_down(), workers.start)
        return kind

    def _filled_deck(self) -> list[str]:
        if not self.deck:
            kinds = KINDS[self.processes.executor]
            self.deck = self.random.sample(kinds, len(kinds))
        return self.deck

    def _seconds_down(self) -> float:
        return self.random.uniform(0, 4)

    def _victims(self, runs: list[Run]) -> dict[str, list[psutil.Process]]:
        """Return the processes of each kind that are alive."""
        victims = {kind: self.processes.server(kind) for kind in SERVERS}
        ops = [op for run in runs for op in run.ops()]
        workers = self.processes.workers
        victims |= {"worker": workers.mains(), "child": ops} if workers else {"worker": ops}
        victims["run"] = [psutil.Process(run.process.pid) for run in runs if run.is_alive]
        return victims

    def _freeze(self, ops: list[psutil.Process]) -> None:
        """Stop most of the ops whose run is about to die; they go on long after, as zombies."""
        for op in ops:
            if self.random.random() < 0.7:
                with suppress(psutil.NoSuchProcess):
                    op.suspend()
                    self.record.counts["zombies"] += 1
                seconds_frozen = self.random.uniform(2, 15)
                self.processes.do_later("wake", seconds_frozen, lambda op=op: wake(op))


def play(
    folder: Path,
    kills: int,
    seed: int,
    days: int,
    executor: str,
    is_unique: bool = False,
    pause_seconds: float = PAUSE_SECONDS,
) -> Record:
    """Start servers, kill and check, print the report; return what was seen."""
    random = Random(seed)
    record = Record()
    environ = own_environment(folder, executor, ["deadly", *(["unique"] if is_unique else [])])
    workers = Workers(folder, environ, record) if executor == "celery" else None
    processes = Processes(folder, environ, record, workers)

    try:
        start_servers(environ)
        if workers:
            workers.start()
        whose = (ASSET.name, "_id", "user ", MAX_USERS + 1, environ)
        processes.owner = start_owner(*whose, pause_seconds, begins=is_unique)
        last_day = ASSET.partitions.shift(FIRST_DAY, days - 1)
        partitions = ASSET.partitions.between(FIRST_DAY, last_day)
        store = open_store(read_settings(processes.environ))
        known = KnownBlocks(random, store, ASSET, partitions, is_unique=is_unique)
        try:
            Chaos(random, processes, known, record).wreak(kills)
        finally:
            processes.owner.stop()
            processes.wait_for_orphans()
            print_report(record, known)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # servers are not to be left behind
        if workers:
            workers.stop()
        stop_servers(processes.environ)

    return record


def main() -> int:
    """Kill and check as often as was asked; return 1 where anything was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=8)
    parser.add_argument("--executor", choices=KINDS, default="local")
    parser.add_argument("--unique", action="store_true", help="copies of an event count once")
    parser.add_argument(
        "--pause", type=float, default=PAUSE_SECONDS, help="of the application between two writes"
    )
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the ends below are reached
    folder = Path(tempfile.mkdtemp(prefix="fanfold-chaos-"))
    try:
        how = (options.kills, options.seed, options.days, options.executor, options.unique)
        record = play(folder, *how, options.pause)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if record.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
