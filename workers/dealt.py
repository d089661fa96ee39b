"""What a run deals to a worker, and what the ledger knows of it afterwards."""

import uuid
from collections.abc import Sequence

import msgspec

from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.values import Value


class Share(Value, frozen=True, kw_only=True):
    """A worker's share of a run's batches; the ledger knows it by its number."""

    number: int
    batches: list[str]


class ShareReference(Value, frozen=True, kw_only=True):
    """A share as its worker is told of it; all else that it needs is in the ledger."""

    run: str
    number: int = 0
    # A failure is the end of its batch.
    is_last: bool = True
    # Each call of the task is made in a process apart, since workers of this share have ended.
    is_isolated: bool = False
    # The worker's id in the ledger, a new one for each launch.
    worker: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def arguments(self) -> list[str]:
        """The reference as `python -m workers` takes it."""
        flags = {"--last": self.is_last, "--isolated": self.is_isolated}
        said = [flag for flag, is_set in flags.items() if is_set]
        named = {"--run": self.run, "--share": str(self.number), "--worker": self.worker}
        return [*(word for pair in named.items() for word in pair), *said]

    def renewed(self) -> "ShareReference":
        """Return the reference for another worker."""
        return msgspec.structs.replace(self, worker=uuid.uuid4().hex)


class Answer(Value, frozen=True, kw_only=True):
    """What a worker says of a batch; reconcile asks the ledger, not this."""

    batch: str
    items: int = 0
    dead: int = 0
    error: str = ""


def dealt_share(ledger: Ledger, run: str, number: int) -> tuple[str, Share]:
    """Return a share of a run as the ledger knows it, and the asset that it is of.

    Refused where there is none: the run made none, or a later run has dealt its batches anew.
    """
    plans = ledger.plans_under_way(run)
    batch_ids = [batch_id for plan in plans for batch_id in plan.batches]
    mine = ledger.shares.dealt(run, number, batch_ids)
    if not mine:
        raise Refused(
            f"run {run} has no share {number} with batches in it; a later run of the same "
            "partitions may have dealt them anew"
        )
    return plans[0].asset, Share(number=number, batches=mine)


def answers_of(ledger: Ledger, batch_ids: Sequence[str]) -> list[Answer]:
    """Return what the ledger knows of batches that have an outcome: they are done, or failed."""
    answers = []
    batches = ledger.batches_by_id(batch_ids)
    for batch_id in batch_ids:
        batch = batches.get(batch_id)
        if batch and batch.is_done:
            outcome = batch.finished_outcome
            answers.append(Answer(batch=batch_id, items=outcome.items, dead=outcome.dead))
        elif batch and batch.is_failed:
            answers.append(Answer(batch=batch_id, error=batch.error))
    return answers
