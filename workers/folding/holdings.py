"""What profiles hold, as the ledger and the results in S3 tell it.

A profile holds of a partition what the results of one of its plans say: of the plan whose epoch
stands in its bookkeeping, else of the newest that was folded whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from workers.declare.task import Task
from workers.errors import Refused
from workers.ledger.claims import Claim
from workers.ledger.ledger import Ledger
from workers.ledger.records import Plan, PlanState


class Part(NamedTuple):
    """The result of a batch, as a part of what a partition says."""

    fold_key: str
    # What it says is told by this: two parts of one identity say the same.
    identity: str
    s3_key: str
    batch: str


def parts_of(plan: Plan, task: Task) -> frozenset[Part]:
    """Return the results that a plan was claimed with.

    What a batch says of its ranges is the same each time, but for a task that observes the world.
    """
    fold_key = plan.key.fold_key
    return frozenset(
        Part(fold_key, s3_key if task.observe else batch_id, s3_key, batch_id)
        for batch_id, s3_key in plan.results.items()
    )


def without(parts: Iterable[Part], others: Iterable[Part]) -> list[Part]:
    """Return the parts that say what none of the others does, in an order of their own."""
    known = {(part.fold_key, part.identity) for part in others}
    return sorted(part for part in parts if (part.fold_key, part.identity) not in known)


@dataclass(frozen=True, eq=False)
class Change:
    """What a claim changes of its partition."""

    claim: Claim
    # What it says, and what the newest plan said that was folded whole.
    parts: frozenset[Part]
    before: frozenset[Part]
    # The epoch of the latter; 0 where there is none.
    before_epoch: int
    # What later plans said that nobody finished folding, by epoch: some profiles may hold it.
    unfinished: Mapping[int, frozenset[Part]]
    # Profiles that could not be written when the partition was last folded.
    failed: frozenset[str]
    # Whether profiles showed what they hold by other code then.
    is_shown_anew: bool

    @property
    def fold_key(self) -> str:
        return self.claim.key.fold_key

    @cached_property
    def added(self) -> list[Part]:
        """What it says that most profiles do not hold yet."""
        return without(self.parts, self.before)

    @cached_property
    def kept(self) -> list[Part]:
        """What it says that most profiles hold already."""
        return without(self.parts, self.added)

    @cached_property
    def retired(self) -> list[Part]:
        """What it does not say any more, and profiles may hold."""
        held = set(self.before).union(*self.unfinished.values())
        return without(held, self.parts)

    def held(self, epoch: int | None) -> frozenset[Part]:
        """Return what a profile holds of the partition, by the epoch in its bookkeeping."""
        if epoch is None or epoch <= self.before_epoch:
            return self.before
        return self.parts if epoch == self.claim.epoch else self.unfinished.get(epoch, frozenset())


def changes_of(ledger: Ledger, task: Task, claims: Sequence[Claim]) -> list[Change]:
    """Return what claims change."""
    earlier = ledger.claims.earlier(claims)
    plans = ledger.plans_by_id([claim.plan for claim in claims])
    return [
        _change(task, claim, plan, earlier.get(claim.key, []))
        for claim, plan in zip(claims, plans, strict=True)
    ]


def _change(task: Task, claim: Claim, plan: Plan, earlier: Sequence[Plan]) -> Change:
    whole = [other for other in earlier if other.state is PlanState.FOLDED]
    newest = max(whole, key=lambda other: other.epoch or 0, default=None)
    before_epoch = newest.epoch or 0 if newest else 0
    return Change(
        claim=claim,
        parts=parts_of(plan, task),
        before=parts_of(newest, task) if newest else frozenset(),
        before_epoch=before_epoch,
        unfinished={
            other.epoch: parts_of(other, task)
            for other in earlier
            if other.epoch and other.epoch > before_epoch
        },
        failed=frozenset(failed.profile for failed in newest.failed_profiles)
        if newest
        else frozenset(),
        is_shown_anew=newest is not None and newest.shown_version != plan.shown_version,
    )


class Holdings:
    """What the profiles of a generation hold where their bookkeeping says nothing else."""

    def __init__(self, ledger: Ledger, task: Task, asset: str, generation: int) -> None:
        self._ledger, self._task = ledger, task
        self._asset, self._generation = asset, generation
        self._unfinished: dict[tuple[str, int], frozenset[Part]] = {}

        self.epochs: dict[str, int] = {}
        self.parts: dict[str, frozenset[Part]] = {}
        for plan in ledger.folded.folded_plans(asset, generation):
            epoch = plan.epoch or 0
            if epoch > self.epochs.get(plan.key.fold_key, 0):
                self.epochs[plan.key.fold_key] = epoch
                self.parts[plan.key.fold_key] = parts_of(plan, task)

    @property
    def are_up_to_date(self) -> bool:
        """Whether nothing was folded whole since these were read."""
        return self.epochs == self._ledger.folded.whole_epochs(self._asset, self._generation)

    def of(self, open_: Mapping[str, int]) -> dict[str, frozenset[Part]]:
        """Return what a profile with these epochs in its bookkeeping holds, by partition."""
        unfinished = self.unfinished(open_)
        return self.parts | {
            key: self._unfinished_parts(key, unfinished[key]) for key in unfinished
        }

    def unfinished(self, open_: Mapping[str, int]) -> dict[str, int]:
        """Return the epochs, of those in a profile's bookkeeping, that nobody folded whole."""
        return {key: epoch for key, epoch in open_.items() if epoch > self.epochs.get(key, 0)}

    def _unfinished_parts(self, fold_key: str, epoch: int) -> frozenset[Part]:
        known = self._unfinished.get((fold_key, epoch))
        if known is not None:
            return known

        plan = self._ledger.folded.plan_with(self._asset, self._generation, fold_key, epoch)
        if plan is None:
            raise Refused(
                f"{self._asset}: profiles hold a fold of {fold_key} (epoch {epoch}) that the "
                f"ledger does not know; `fanfold rebuild {self._asset}` makes all profiles anew"
            )
        parts = parts_of(plan, self._task)
        self._unfinished[fold_key, epoch] = parts
        return parts
