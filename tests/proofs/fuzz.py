"""Odd and damaged blocks by the thousand, through the real servers.

    python -m tests.proofs.fuzz [--blocks 10000] [--seed 1]

No batch may raise, every item is used or a dead letter, and no run is green that left a part of a
block unread: it is refused until that part is given up. Chunks that can be read by columns say what
their lines say. The command starts embedded servers where
none are given, and prints the counts by kind of block.
"""

import argparse
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from random import Random
from typing import Any

import msgspec

from resources.embedded import running_settings
from tests.proofs.fuzz_processes import (
    BlockToPut,
    DaysToVerify,
    connected,
    put_block,
    read_both_ways,
    run_batch,
    verify_days,
)
from tests.support.both_ways import BothWays
from tests.support.damaged_blocks import DAMAGE, FORMATS, KINDS, Case, count_before, parts
from tests.support.pipeline import Pipeline
from workers.declare import Tolerance
from workers.errors import Refused
from workers.planning.plans import Work
from workers.settings import Settings
from workers.tasks import user_profiles
from workers.values import PlaceKind

USER_PROFILES = user_profiles.asset

FIRST_DAY = "1998-04-01"
SMALL_BLOCK_ITEMS = range(1, 7)  # before damage
LARGE_BLOCK_ITEMS = range(400, 600)
LARGE_BLOCK_KINDS = ("whole", "shapes", "line ends", "blank lines", "members", *DAMAGE)
PROCESSES = 3
VERIFY_JOBS = 6
MAX_KEYS_PER_DELETE = 1_000


class Fuzz:
    """Puts blocks, a partition for each kind of block, and holds the outcomes against them."""

    def __init__(self, settings: Settings, pool: Executor, seed: int) -> None:
        self.settings = settings
        self.pool = pool
        self.seed = seed
        self.pipeline = connected(settings)
        self.cases: dict[str, Case] = {}  # by key
        self.kinds: dict[str, str] = {}  # by partition
        self.tracebacks: list[str] = []
        self.matches = True
        # Runs that would have been folded although a part of a block was not read.
        self.green_losses = 0
        self.unread: dict[str, int] = {}  # by key: where a block has its first unread rest
        # Chunks of lines that were read by columns, and those that their lines contradict.
        self.both_ways = BothWays()

    def run_small_blocks(self, blocks: int) -> None:
        """Run many blocks of a few items, packed into a few batches of each partition."""
        self._declare("small", batch_items=400, task="cheap_task")
        days = [self._add_day(kind) for kind in KINDS]

        jobs = []
        for number in range(blocks):
            kind_number = number % len(KINDS)
            key = f"small/dt={days[kind_number]}/{number:06}"
            seed = f"{self.seed}/{number}"
            jobs.append(BlockToPut(key, KINDS[kind_number], seed, SMALL_BLOCK_ITEMS, FORMATS))

        self._run(days, jobs)

    def run_large_blocks(self, blocks_per_format: int) -> None:
        """Run blocks that are cut: into ranges, segments and row groups."""
        self._declare("events", batch_items=80, task=USER_PROFILES.task)
        titles = {suffix: f"cut {suffix}" for suffix in FORMATS}
        self._run_cut_blocks("events", titles, blocks_per_format)

    def run_csv_lines(self, blocks: int) -> None:
        """Run CSV that is declared to have no newline in a cell, and so is cut like lines."""
        self._declare("lines", batch_items=80, format="csv multiline=no")
        self._run_cut_blocks("lines", {".csv": "cut CSV lines"}, blocks)

    # Running

    def _run_cut_blocks(self, folder: str, titles: dict[str, str], blocks_per_format: int) -> None:
        """Run blocks of each suffix, in a partition that has its title."""
        days = []
        jobs = []
        for suffix, title in titles.items():
            day = self._add_day(title)
            days.append(day)
            is_compressed = "." in suffix[1:]
            kinds = [kind for kind in LARGE_BLOCK_KINDS if is_compressed or kind != "members"]

            for number in range(blocks_per_format):
                key = f"{folder}/dt={day}/{number:06}"
                seed = f"{self.seed}/{day}/{number}"
                kind = Random(seed).choice(kinds)
                jobs.append(BlockToPut(key, kind, seed, LARGE_BLOCK_ITEMS, {suffix: 1}))

        self._run(days, jobs)

    def _declare(self, folder: str, batch_items: int, **declared: Any) -> None:
        """Go on with an asset over a folder, which folds however many dead letters there are."""
        asset = msgspec.structs.replace(
            self.pipeline.asset,
            name=f"profiles_of_{folder}",
            collection=f"profiles_of_{folder}",
            template=f"{folder}/dt={{partition}}/",
            tolerance=Tolerance(rate=1.0),
            **declared,
        )
        before = self.pipeline
        pipeline = Pipeline(before.store, before.database, before.ledger, asset)
        self.pipeline = pipeline.sized(batch_items)

    def _add_day(self, kind: str) -> str:
        """Return a partition of its own for a kind of block."""
        day = self.pipeline.asset.partitions.shift(FIRST_DAY, len(self.kinds))
        self.kinds[day] = kind
        return day

    def _run(self, days: Sequence[str], jobs: Sequence[BlockToPut]) -> None:
        """Put the blocks, and run their partitions to the end unless a batch raises."""
        self.cases.update(self._map(put_block, jobs, chunk_size=20))
        for read in self._map(read_both_ways, jobs, chunk_size=20):
            self.both_ways = self.both_ways.and_(read)

        work = self.pipeline.plan(*days)
        self.tracebacks += filter(None, self._map(run_batch, work.to_run))
        if self.tracebacks:
            return

        self._give_up(days, work)
        reconciled = self.pipeline.reconcile(work)
        self.pipeline.publish(reconciled, self.pipeline.fold(reconciled))

        parts = [list(days)[start::VERIFY_JOBS] for start in range(VERIFY_JOBS)]
        verifies = [DaysToVerify(self.pipeline.asset, part) for part in parts if part]
        self.matches &= all(self._map(verify_days, verifies))

    def _give_up(self, days: Sequence[str], work: Work) -> None:
        """Discard what a person has to before these days are folded; before that they are not."""
        dead_letters = self.pipeline.ledger.dead_letters
        name = self.pipeline.asset.name

        rests = dead_letters.find(name, is_unread=True)
        if rests:
            folded = self._folded(work)
            self.green_losses += len({letter.partition for letter in rests} & folded)
            dead_letters.discard([letter.id for letter in rests], "given up")

        used: Counter[str] = Counter()
        for batch in self.pipeline.ledger.batches_of_asset(name):
            used[batch.partition] += batch.finished_outcome.used
        for day in days:
            if not used[day]:  # of such a day every letter is to be given up
                letters = dead_letters.find(name, day)
                dead_letters.discard({letter.id for letter in letters}, "given up")

    def _folded(self, work: Work) -> set[str]:
        """Return the days that would be folded as they are."""
        try:
            claims = self.pipeline.reconcile(work).claims
        except Refused:  # there is none
            return set()
        return {claim.partition for claim in claims}

    def _map(
        self, function: Callable[[Settings, Any], Any], jobs: Iterable[Any], chunk_size: int = 1
    ) -> list[Any]:
        """Return what a function of fuzz_processes returns for each job."""
        with_settings = partial(function, self.settings)
        return list(self.pool.map(with_settings, jobs, chunksize=chunk_size))

    # Counts

    def summary(self) -> dict[str, Any]:
        """Return the counts in all, and by kind of block."""
        self.unread = self._first_unread()
        by_kind = {kind: self._day_counts(day) for day, kind in self.kinds.items()}
        total: Counter[str] = Counter()
        for counts in by_kind.values():
            total.update(counts)

        return {
            **total,
            "raised": len(self.tracebacks),
            "matches": self.matches,
            "green_losses": self.green_losses,
            "by_columns": self.both_ways.by_columns,
            "differing": len(self.both_ways.differing),
            "kinds": by_kind,
        }

    def _day_counts(self, day: str) -> dict[str, int]:
        ledger = self.pipeline.ledger
        batches = list(ledger.batches.find({"partition": day, "state": "done"}))
        keys = {key for key in self.cases if f"/dt={day}/" in key}

        return {
            "inputs": len(keys),
            "items": sum(map(self._items, keys)),
            "used": sum(batch["outcome"]["used"] for batch in batches),
            "dead": sum(batch["outcome"]["dead"] for batch in batches),
            "letters": ledger.dead_letters.collection.count_documents({"partition": day}),
            "unaccounted": sum(self._unaccounted(keys, batches)),
        }

    def _unaccounted(self, keys: set[str], batches: list[Any]) -> Iterator[int]:
        """Yield how far each batch of whole blocks is off, and the rest of the partition."""
        rest_keys = set(keys)
        rest_items = 0

        for batch in batches:
            ranges = batch["ranges"]
            items = batch["outcome"]["items"]
            if all(range_["start"] == 0 and range_["end"] == range_["size"] for range_ in ranges):
                batch_keys = {range_["key"] for range_ in ranges}
                rest_keys -= batch_keys
                yield self._distance(batch_keys, items)
            else:
                rest_items += items

        yield self._distance(rest_keys, rest_items)

    def _distance(self, keys: set[str], items: int) -> int:
        """Return by how many items blocks differ from those that they may be said to hold.

        A record of CSV that hides rows is taken apart, and so is a line of several JSON values:
        there may be more than are counted here, but not more than lines and brackets that part
        values.
        """
        least = sum(map(self._items, keys))
        if items <= least:
            return least - items
        most = sum(max(self._items(key), parts(self.pipeline.store.get(key), key)) for key in keys)
        return max(items - most, 0)

    def _items(self, key: str) -> int:
        """Return how many items a block holds: up to an unread rest, which is one more."""
        case = self.cases[key]
        start = self.unread.get(key)
        if start is None:
            return case.items
        if not start:
            return 1
        whole = case._replace(body=self.pipeline.store.get(key))
        return count_before(whole, start, multiline=not key.startswith("lines/")) + 1

    def _first_unread(self) -> dict[str, int]:
        """Return where each block that was not read whole has its first unread rest."""
        letters = self.pipeline.ledger.dead_letters.collection
        rests = letters.find({"place.kind": PlaceKind.REST}).sort("place.position", -1)
        return {rest["block"]: rest["place"]["position"] for rest in rests}  # the first comes last


def fuzz(
    settings: Settings, blocks: int, seed: int, pool: Executor
) -> tuple[dict[str, Any], list[str]]:
    """Run the whole of it; return the counts, and the traceback of each batch that raised."""
    started = time.monotonic()

    run = Fuzz(settings, pool, seed)
    run.run_small_blocks(blocks)
    run.run_large_blocks(blocks_per_format=3)
    run.run_csv_lines(blocks=10)
    summary = run.summary()

    return summary | {"seconds": round(time.monotonic() - started)}, run.tracebacks


def delete_all(pipeline: Pipeline) -> None:
    """Delete all objects, a thousand a request."""
    keys = [block.key for block in pipeline.store.list("")]
    for first in range(0, len(keys), MAX_KEYS_PER_DELETE):
        objects = [{"Key": key} for key in keys[first : first + MAX_KEYS_PER_DELETE]]
        pipeline.store.client.delete_objects(
            Bucket=pipeline.store.bucket, Delete={"Objects": objects}
        )


def main() -> None:
    """Run against the servers of the environment, or embedded ones; fail where a count is off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    name = f"fuzz-{uuid.uuid4().hex[:12]}"
    settings = msgspec.structs.replace(running_settings(), bucket=name, database=name)
    pipeline = connected(settings)
    pipeline.store.ensure()
    try:
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
            summary, tracebacks = fuzz(settings, options.blocks, options.seed, pool)
    finally:
        pipeline.database.client.drop_database(name)
        delete_all(pipeline)
        pipeline.store.client.delete_bucket(Bucket=name)

    sys.stderr.write("\n".join(tracebacks[:5]))
    for kind, counts in summary.pop("kinds").items():
        sys.stdout.write(f"{kind:15} {json.dumps(counts)}\n")
    sys.stdout.write(json.dumps(summary) + "\n")

    is_off = tracebacks or any(
        summary[name] for name in ("unaccounted", "green_losses", "differing")
    )
    is_good = summary["matches"] and not is_off
    sys.exit(not (is_good and summary["letters"] == summary["dead"]))


if __name__ == "__main__":
    main()
