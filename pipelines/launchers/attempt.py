"""An op's attempt at a share: a worker is launched, and the ledger says what became of it."""

from collections.abc import Sequence

import dagster as dg

from pipelines.errors import RETRIES, retry_requested
from pipelines.launchers.choice import launcher_of
from pipelines.launchers.launch import Launch
from workers.dealt import Answer, Share, ShareReference, answers_of
from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.errors import FanfoldError
from workers.ledger.counts import lost_batches
from workers.ledger.ledger import Ledger
from workers.store import BlockStore


def attempt_share(
    context: dg.OpExecutionContext,
    first: tuple[Asset, Task, Ledger, BlockStore],
    share: Share,
) -> Sequence[Answer]:
    """Have a worker run a share, and return the outcomes that its batches have.

    Where some have none, and this is not the last attempt, another one is requested; unless their
    partitions have more bad items than are tolerated, so that they are not run.
    """
    asset, _, ledger, _ = first
    is_last = context.retry_number >= RETRIES
    reference = ShareReference(run=context.run_id, number=share.number, is_last=is_last)
    launch = Launch(*first, reference, share.batches, context.log)
    try:
        launcher_of(asset.name).launch(launch)
    except FanfoldError:
        raise
    except Exception as error:
        raise retry_requested(context) from error

    answers = answers_of(ledger, share.batches)
    are_open = set(share.batches) - {answer.batch for answer in answers}
    if are_open and not is_last and not are_open <= lost_batches(asset, ledger, context.run_id):
        context.log.warning(f"{len(are_open)} of {len(share.batches)} batches have no outcome yet")
        raise retry_requested(context)
    return answers
