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
from workers.ledger.shares import MAX_PLAIN
from workers.store import BlockStore


def attempt_share(
    context: dg.OpExecutionContext,
    first: tuple[Asset, Task, Ledger, BlockStore],
    share: Share,
) -> Sequence[Answer]:
    """Have a worker run a share, and return the outcomes that its batches have.

    Where some have none, and this is not the last attempt, another one is requested; unless their
    partitions have more bad items than are tolerated, so that they are not run. What
    ends worker after worker is left to `attempt_rest`, or this op would end with them.
    """
    _, _, ledger, _ = first
    if context.retry_number >= RETRIES:
        left = ledger.shares.left_behind(context.run_id, share.batches)
        if left:
            context.log.warning(f"the workers of this share ended; {len(left)} batches are left")
            return answers_of(ledger, share.batches)
    return _attempt(context, first, share, is_isolated=context.retry_number >= MAX_PLAIN)


def attempt_rest(
    context: dg.OpExecutionContext,
    first: tuple[Asset, Task, Ledger, BlockStore],
    plan_ids: Sequence[str],
    shares: int,
) -> None:
    """Have a worker run what the workers of shares left when they ended without a word."""
    _, _, ledger, _ = first
    plans = ledger.plans_under_way(context.run_id)
    batch_ids = [each for plan in plans if plan.id in plan_ids for each in plan.batches]
    left = ledger.shares.left_behind(context.run_id, batch_ids)
    if not left:
        return

    context.log.warning(f"{len(left)} batches are left, whose workers ended without a word")
    share = Share(number=shares, batches=left)
    ledger.shares.deal(context.run_id, [share.batches], first=share.number)
    _attempt(context, first, share, is_isolated=True)


def _attempt(
    context: dg.OpExecutionContext,
    first: tuple[Asset, Task, Ledger, BlockStore],
    share: Share,
    is_isolated: bool,
) -> Sequence[Answer]:
    asset, _, ledger, _ = first
    is_last = context.retry_number >= RETRIES
    reference = ShareReference(
        run=context.run_id, number=share.number, is_last=is_last, is_isolated=is_isolated
    )
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
