"""Odd and damaged blocks by the thousand, through the real servers.

No batch may raise, and every item is used or a dead letter. `python -m tests.fuzz --blocks 10000
--seed 1` starts embedded servers where none are given, and prints the counts by kind of mutation.
"""

import argparse
import json
import sys
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from random import Random
from typing import Any

import msgspec

from resources.embedded import running_settings
from tests.support import cheap_task
from tests.support.damaged_blocks import DAMAGE, FORMATS, KINDS, Case, count, drawn
from tests.support.pipeline import Pipeline
from workers.batch import attempt_batch
from workers.declare import Tolerance
from workers.declare.asset import Asset
from workers.folding.publish import record_folded
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.settings import Settings
from workers.store import open_store
from workers.tasks import user_profiles

USER_PROFILES = user_profiles.asset

FIRST = "1998-04-01"
SMALL = range(1, 7)  # items of a block, before its mutation
LARGE = range(400, 600)
PROCESSES = 3

sys.modules["workers.tasks.cheap_task"] = cheap_task  # where workers look for a task


def tolerant(asset: Asset, **changes: Any) -> Asset:
    """Return an asset that folds whatever the share of dead letters is, and keeps all open."""
    return msgspec.structs.replace(
        asset, tolerance=Tolerance(rate=1.0), open_partitions=100, **changes
    )


# In a process of their own


WORLDS: dict[str, Pipeline] = {}


def connected(settings: Settings) -> Pipeline:
    """Return the world that the settings name; each process connects once."""
    if settings.bucket not in WORLDS:
        database = open_database(settings)
        WORLDS[settings.bucket] = Pipeline(open_store(settings), database, Ledger(database))
    return WORLDS[settings.bucket]


def put(settings: Settings, job: tuple[str, str, str, range, dict[str, int]]) -> tuple[str, Case]:
    """Make a block and put it; return its key, and what is to be known of it."""
    key, kind, seed, rows, suffixes = job
    made = drawn(kind, seed, rows, suffixes)
    if key.startswith("lines/"):
        made = made._replace(items=count(made.suffix, made.body, multiline=False))
    connected(settings).store.put(key + made.suffix, made.body)
    return key + made.suffix, made._replace(body=b"")


def work(settings: Settings, batch: str) -> str:
    """Run a batch; return its traceback where it raises anything at all."""
    pipeline = connected(settings)
    try:
        attempt_batch(batch, pipeline.ledger, pipeline.store)
    except Exception:  # noqa: BLE001  any at all is what this looks for
        return traceback.format_exc()
    return ""


def verify(settings: Settings, job: tuple[Asset, list[str]]) -> bool:
    """Tell whether the profiles hold what the blocks of some partitions say."""
    pipeline = connected(settings)
    return (
        Pipeline(pipeline.store, pipeline.database, pipeline.ledger, job[0]).verify(*job[1]).match
    )


class Fuzz:
    """Puts blocks, a partition for each kind of mutation, and holds the outcomes against them."""

    def __init__(self, settings: Settings, pool: Executor, seed: int) -> None:
        self.settings, self.pool, self.seed = settings, pool, seed
        self.pipeline = connected(settings)
        self.cases: dict[str, Case] = {}  # by key
        self.kinds: dict[str, str] = {}  # by partition
        self.raised: list[str] = []
        self.matches = True

    def _map(self, function: Any, jobs: Iterable[Any], chunk: int = 1) -> list[Any]:
        return list(self.pool.map(partial(function, self.settings), jobs, chunksize=chunk))

    def small(self, blocks: int) -> None:
        """Many blocks of a few items, packed into a few batches of each partition."""
        self._asset("small", items=400, task="cheap_task")
        days = [self._day(kind) for kind in KINDS]
        jobs = []
        for number in range(blocks):
            which = number % len(KINDS)
            key = f"small/dt={days[which]}/{number:06}"
            jobs.append((key, KINDS[which], f"{self.seed}/{number}", SMALL, FORMATS))
        self._run(days, jobs)

    def large(self, each: int) -> None:
        """Blocks that are cut: into ranges, pieces and row groups."""
        self._asset("events", items=80, task=USER_PROFILES.task)
        self._cut({suffix: f"cut {suffix}" for suffix in FORMATS}, "events", each)

    def lines_of_csv(self, each: int) -> None:
        """CSV that is declared to have no newline in a cell, and so is cut like lines."""
        self._asset("lines", items=80, format="csv multiline=no")
        self._cut({".csv": "cut CSV lines"}, "lines", each)

    def _cut(self, suffixes: dict[str, str], folder: str, each: int) -> None:
        days, jobs = [], []
        for suffix, title in suffixes.items():
            day = self._day(title)
            days.append(day)
            for number in range(each):
                seed = f"{self.seed}/{day}/{number}"
                kinds = ["whole", "shapes", "line ends", "blank lines", "members", *DAMAGE]
                kinds = [kind for kind in kinds if "." in suffix[1:] or kind != "members"]
                kind = Random(seed).choice(kinds)
                jobs.append((f"{folder}/dt={day}/{number:06}", kind, seed, LARGE, {suffix: 1}))
        self._run(days, jobs)

    def _asset(self, folder: str, items: int, **changes: Any) -> None:
        name, template = f"profiles_of_{folder}", f"{folder}/dt={{partition}}/"
        asset = tolerant(self.pipeline.asset, name=name, template=template, **changes)
        known = self.pipeline
        self.pipeline = Pipeline(known.store, known.database, known.ledger, asset).sized(items)

    def _day(self, kind: str) -> str:
        day = self.pipeline.asset.partitions.shift(FIRST, len(self.kinds))
        self.kinds[day] = kind
        return day

    def _run(self, days: Sequence[str], jobs: Sequence[Any]) -> None:
        self.cases.update(self._map(put, jobs, chunk=20))
        planned = self.pipeline.plan(*days)
        self.raised += filter(None, self._map(work, planned.to_run))
        if self.raised:
            return
        reconciled = self.pipeline.reconcile(planned)
        record_folded(
            self.pipeline.ledger, self.pipeline.asset, reconciled, self.pipeline.fold(reconciled)
        )
        parts = [(self.pipeline.asset, list(days)[part::6]) for part in range(6)]
        self.matches &= all(self._map(verify, [part for part in parts if part[1]]))

    # Counts

    def summary(self) -> dict[str, Any]:
        """Return the counts in all, and by kind of mutation."""
        kinds = {kind: self._of(day) for day, kind in self.kinds.items()}
        total: Counter[str] = Counter()
        for counts in kinds.values():
            total.update(counts)
        outcome = {"raised": len(self.raised), "matches": self.matches}
        return {**total, **outcome, "kinds": kinds}

    def _of(self, day: str) -> dict[str, int]:
        batches = list(self.pipeline.ledger.batches.find({"partition": day, "state": "done"}))
        inputs = {key for key in self.cases if f"/dt={day}/" in key}
        return {
            "inputs": len(inputs),
            "items": sum(map(self._items, inputs)),
            "used": sum(batch["outcome"]["used"] for batch in batches),
            "dead": sum(batch["outcome"]["dead"] for batch in batches),
            "letters": self.pipeline.ledger.dead_letters.collection.count_documents(
                {"partition": day}
            ),
            "unaccounted": sum(self._unaccounted(inputs, batches)),
        }

    def _unaccounted(self, inputs: set[str], batches: list[Any]) -> Iterator[int]:
        """Yield how far each batch of whole blocks is off, and the rest of the partition."""
        left, rest = set(inputs), 0
        for batch in batches:
            keys = {one["key"] for one in batch["ranges"]}
            if all(one["start"] == 0 and one["end"] == one["size"] for one in batch["ranges"]):
                left -= keys
                yield abs(sum(map(self._items, keys)) - batch["outcome"]["items"])
            else:
                rest += batch["outcome"]["items"]
        yield abs(sum(map(self._items, left)) - rest)

    def _items(self, key: str) -> int:
        made = self.cases[key]
        whole = {"block": key, "place": "byte 0 to the end"}
        if made.or_one and self.pipeline.ledger.dead_letters.collection.find_one(whole):
            return 1
        return made.items


def fuzz(settings: Settings, blocks: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Run the whole of it; return the counts, and the traceback of each batch that raised."""
    started = time.monotonic()
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        run = Fuzz(settings, pool, seed)
        run.small(blocks)
        run.large(each=3)
        run.lines_of_csv(each=10)
        summary = run.summary()
    return summary | {"seconds": round(time.monotonic() - started)}, run.raised


def clear(pipeline: Pipeline) -> None:
    """Delete all objects, a thousand a request."""
    keys = [block.key for block in pipeline.store.list("")]
    for first in range(0, len(keys), 1_000):
        wanted = [{"Key": key} for key in keys[first : first + 1_000]]
        pipeline.store.client.delete_objects(
            Bucket=pipeline.store.bucket, Delete={"Objects": wanted}
        )


def main() -> None:
    """Run against the servers of the environment, or embedded ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    name = f"fuzz-{uuid.uuid4().hex[:12]}"
    settings = msgspec.structs.replace(running_settings(), bucket=name, database=name)
    pipeline = connected(settings)
    pipeline.store.ensure()
    try:
        summary, raised = fuzz(settings, given.blocks, given.seed)
    finally:
        pipeline.database.client.drop_database(name)
        clear(pipeline)
        pipeline.store.client.delete_bucket(Bucket=name)
    sys.stderr.write("\n".join(raised[:5]))
    for kind, counts in summary.pop("kinds").items():
        sys.stdout.write(f"{kind:15} {json.dumps(counts)}\n")
    sys.stdout.write(json.dumps(summary) + "\n")
    is_good = not raised and summary["matches"] and not summary["unaccounted"]
    sys.exit(not (is_good and summary["letters"] == summary["dead"]))


if __name__ == "__main__":
    main()
