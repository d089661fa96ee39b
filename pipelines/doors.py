"""What ops, checks and ticks are given: the doors to the servers; and how an op is tried again."""

from typing import NamedTuple

import dagster as dg
from pymongo.database import Database

from pipelines.errors import RETRIES
from pipelines.processes import executor_name
from workers.assets import assets
from workers.declare.asset import Asset
from workers.declare.task import Task, load_task
from workers.ledger.ledger import Ledger
from workers.store import BlockStore
from workers.values import Document

Mongo = dg.ResourceParam[Database[Document]]
Store = dg.ResourceParam[BlockStore]
# An op whose process is killed is tried again, and finds what it did in the ledger. All that goes
# wrong within an op says itself whether it is (errors.explained).
AFTER_A_CRASH = dg.RetryPolicy(max_retries=RETRIES, delay=1)


class Four(NamedTuple):
    """What every step takes first."""

    asset: Asset
    task: Task
    ledger: Ledger
    store: BlockStore


def declared(context: dg.OpExecutionContext) -> Asset:
    """Return the declaration of the asset that the op works for."""
    return assets()[context.assets_def.key.path[-1]]


def four(context: dg.OpExecutionContext, mongo: Mongo, store: Store) -> Four:
    """Return what the step of an op takes first; Refused where the task cannot be loaded."""
    asset = declared(context)
    return Four(asset, load_task(asset.task), Ledger(mongo), store)


def after_a_crash() -> dg.RetryPolicy | None:
    """Return how an op is tried again where its process is killed.

    In the run's own process nothing would be left to try it, and Dagster would take a Ctrl-C for
    such a death.
    """
    return None if executor_name() == "in_process" else AFTER_A_CRASH
