"""What has to hold after kills: runs succeed again, nothing is lost, nothing counted twice."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database

from resources.embedded import start_servers
from tests.proofs.chaos_processes import ASSET, Processes, wait_for_first_op
from tests.proofs.chaos_record import Record
from tests.support.known_blocks import (
    KnownBlocks,
    count_differences,
    find_count_problems,
    find_plan_problems,
)
from tests.support.owner import MAX_NAMED, missing_fields
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.settings import read_settings
from workers.values import Document

TRIES = 3


@dataclass
class Checks:
    """Holds what is in MongoDB against the known blocks."""

    processes: Processes
    known: KnownBlocks
    record: Record

    def check(self) -> None:
        """Run everything undisturbed while zombies may live, let them end, then check."""
        self.record.counts["checks"] += 1
        self._run_until_nothing_is_new()

        if self.processes.orphans():
            self.processes.wait_for_orphans()
            self._check_profiles()  # before another run could cover up what zombies did
            summary = self.run_undisturbed()
            if summary and summary["batches_reused"] != summary["batches"]:
                self.record.add_problem("a run with nothing new ran batches again")

        self._check_profiles()
        self._check_ledger()

        record = self.record
        record.log(
            f"check: {record.lost} lost, {record.twice} twice, {len(record.problems)} problems"
        )

    def _run_until_nothing_is_new(self) -> None:
        """Run everything, and again while partitions have copies of what others lost by that."""
        for _ in self.known.days:
            self.run_undisturbed()
            with self._open_database() as database:
                if not Ledger(database).outdated_partitions(ASSET.name, 0):
                    return
        self.record.add_problem("partitions are still outdated after a run for each of them")

    def run_undisturbed(self) -> dict[str, Any] | None:
        """Run all days; undisturbed, this has to succeed, at the third try at the latest."""
        start_servers(self.processes.environ)

        for _ in range(TRIES):
            run = self.processes.start_run(self.known.days)
            wait_for_first_op([run])
            began = time.monotonic()
            if self.processes.end_run(run) == "succeeded":
                self.record.run_seconds = time.monotonic() - began
                summary, _ = run.output()
                return summary

        self.record.add_problem(f"a run that nobody disturbed failed: {run.output()}")
        return None

    def _check_profiles(self) -> None:
        """Hold the profiles against the blocks, by Fanfold's word and by our own count."""
        verify = self.processes.run_command("verify", ASSET.name, "--json")
        if verify.returncode != 0 or not json.loads(verify.stdout)["match"]:
            self.record.add_problem(f"verify: {verify.stdout}{verify.stderr}")

        with self._open_database() as database:
            lost, twice = count_differences(database, self.known)
            with self.processes.owner.paused() as report:
                missing = missing_fields(database[ASSET.name], "_id", report["last"])
        self.record.counts["foreign writes"] = report["writes"]
        for each in [*report["named"], *missing[:MAX_NAMED]]:
            self.record.log(f"lost of the application's: {each}")
        self.record.lost += lost + report["lost"] + len(missing)
        self.record.twice += twice

    def _check_ledger(self) -> None:
        """Hold plans, batches and dead letters against each other and against the blocks."""
        with self._open_database() as database:
            problems = find_plan_problems(database, self.known)
            problems += find_count_problems(database, self.known)
        for problem in problems:
            self.record.add_problem(problem)

    @contextmanager
    def _open_database(self) -> Iterator[Database[Document]]:
        database = open_database(read_settings(self.processes.environ))
        with database.client:
            yield database
