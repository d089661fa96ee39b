"""What the processes of a pool do for fuzz: put blocks, run batches, verify.

Each function takes the settings first, and a job that can be sent to another process.
"""

import sys
import traceback
from typing import NamedTuple

from tests.support import cheap_task
from tests.support.both_ways import BothWays, Reader
from tests.support.damaged_blocks import Case, count, drawn
from tests.support.pipeline import Pipeline
from workers.batch import attempt_batch
from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.settings import Settings
from workers.store import open_store
from workers.tasks.user_profiles import Event

MANY_ITEMS = 100
PIPELINES: dict[str, Pipeline] = {}

sys.modules["workers.tasks.cheap_task"] = cheap_task  # where workers look for a task


class BlockToPut(NamedTuple):
    """A block that a seed means: its format and its number of items are drawn from these."""

    key: str  # without the suffix
    kind: str
    seed: str
    items: range
    suffixes: dict[str, int]


class DaysToVerify(NamedTuple):
    """Some partitions of an asset."""

    asset: Asset
    days: list[str]


def connected(settings: Settings) -> Pipeline:
    """Return the pipeline that the settings name; each process connects once."""
    if settings.bucket not in PIPELINES:
        store = open_store(settings)
        database = open_database(settings)
        PIPELINES[settings.bucket] = Pipeline(store, database, Ledger(database))
    return PIPELINES[settings.bucket]


def put_block(settings: Settings, job: BlockToPut) -> tuple[str, Case]:
    """Make a block and put it; return its key, and what is to be known of it."""
    case = drawn(job.kind, job.seed, job.items, job.suffixes)
    if job.key.startswith("lines/"):
        case = case._replace(items=count(case.suffix, case.body, multiline=False))

    key = job.key + case.suffix
    connected(settings).store.put(key, case.body)
    return key, case._replace(body=b"")


def read_both_ways(_settings: Settings, job: BlockToPut) -> BothWays:
    """Read the items of a block by columns where that is done, and one by one; compare them.

    Each line of a small block is a chunk of its own once more; those of large ones are no other.
    """
    case = drawn(job.kind, job.seed, job.items, job.suffixes)
    if not case.body:
        return BothWays()
    return Reader(Event).read_block(case.suffix, case.body, by_line=max(job.items) < MANY_ITEMS)


def run_batch(settings: Settings, batch_id: str) -> str:
    """Run a batch; return its traceback where it raises anything at all."""
    pipeline = connected(settings)
    try:
        attempt_batch(pipeline.ledger, pipeline.store, batch_id)
    except Exception:  # noqa: BLE001  any at all is what this looks for
        return traceback.format_exc()
    return ""


def verify_days(settings: Settings, job: DaysToVerify) -> bool:
    """Return whether the profiles hold what the blocks of some partitions say."""
    pipeline = connected(settings)
    of_asset = Pipeline(pipeline.store, pipeline.database, pipeline.ledger, job.asset)
    return of_asset.verify(*job.days).match
