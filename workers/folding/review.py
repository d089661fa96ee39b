"""Which plans of a run are to be folded, each for itself, and why the others are not.

The ledger is what counts here, not the list of workers that answered: a run executed again from
a failure can drop workers without a word (dagster issues 19490 and 30077).
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.ledger.counts import count_plans, counted_attempts, exceeds_tolerance
from workers.ledger.ledger import Ledger
from workers.ledger.losses import MAX_NAMED, explain_unused, why_not_folded
from workers.ledger.records import Batch, Plan
from workers.ledger.removals import exceeds_share, explain_removals
from workers.values import Counts, Value

NOTHING = "nothing"  # of a whole run, as sentences say it


class Refusal(Value, frozen=True, kw_only=True):
    """Partitions of a run that are not folded, with one sentence that says why of all of them."""

    plans: list[str]
    partitions: list[str]
    why: str


class Flaw(NamedTuple):
    """What keeps some plans of a run from being folded."""

    plans: list[Plan]
    # Says it of these or of some of them, given how to call what is not folded.
    explain: Callable[[Sequence[Plan], str], str]


class Review:
    """The plans of a run as the ledger stands; those without a flaw are `whole`.

    A rebuild takes the place of all profiles at once, so a flaw in one of its plans is one in all.
    """

    def __init__(self, asset: Asset, ledger: Ledger, plans: Sequence[Plan]) -> None:
        self.asset, self.ledger = asset, ledger
        self.whole = list(plans)
        self.flaws: list[Flaw] = []
        self._recorded = 0

        self.batches = ledger.batches_by_plan(plans)
        counts = count_plans(ledger, plans, self.batches)
        self._counts = {partition.plan: partition for partition in counts}
        current = ledger.claims.generation(asset.name)
        self._is_rebuild = any(plan.generation > current for plan in plans)

    @property
    def counts(self) -> list[Counts]:
        """What became of the items of the plans that are whole."""
        return self._counts_of(self.whole)

    @property
    def refusals(self) -> list[Refusal]:
        """What is not folded, while the plans that are whole are."""
        return [
            Refusal(
                plans=[plan.id for plan in flaw.plans],
                partitions=[plan.partition for plan in flaw.plans],
                why=flaw.explain(flaw.plans, _nothing_of(flaw.plans)),
            )
            for flaw in self.flaws
        ]

    def check_removals(self) -> None:
        """Leave out plans of partitions of which too much is gone. Refused where none is left."""
        gone = [plan.id for plan in self.whole if exceeds_share(plan.removed)]
        self._leave_out(gone, self._explain_removed)
        self._record()

    def check_outcomes(self) -> None:
        """Leave out plans that lack more than is tolerated, or the outcome of a batch.

        Refused where none is left.
        """
        intolerable = [each for each in self.counts if exceeds_tolerance(self.asset, each)]
        self._leave_out([each.plan for each in intolerable], self._explain_intolerable)

        missing = [plan.id for plan in self.whole if self._without_outcome(plan)]
        self._leave_out(missing, self._explain_missing)
        self._supersede_letters({*missing, *(each.plan for each in intolerable)})
        self._record()

    def check_copies(self) -> None:
        """Leave out plans that would count what copies elsewhere count by now, or nobody.

        Refused where none is left.
        """
        if not self.asset.unique:
            return
        plan_of = {each.id: plan.id for plan in self.whole for each in self.batches[plan.id]}
        outdated = self.ledger.stays.outdated(plan_of)
        self._leave_out([plan_of[batch_id] for batch_id in outdated], self._explain_outdated)
        self._record()

    def _supersede_letters(self, plan_ids: Collection[str]) -> None:
        """Let letters of blocks that were replaced count no more, though nothing is folded."""
        if self._is_rebuild:
            return  # until it is finished, the old profiles stand
        plans = [plan for flaw in self.flaws for plan in flaw.plans if plan.id in plan_ids]
        partitions = [plan.partition for plan in plans]
        newest = self.ledger.newest_plans(self.asset.name, partitions)
        letters = self.ledger.dead_letters

        with_letters = letters.partitions(self.asset.name, partitions) if partitions else []
        for plan in plans:
            if plan.partition not in with_letters or newest[plan.partition].id != plan.id:
                continue
            batches = self.batches[plan.id]
            blocks = {(range_.key, range_.etag) for batch in batches for range_ in batch.ranges}
            partition = {"asset": self.asset.name, "partition": plan.partition}
            letters.supersede_replaced(partition, counted_attempts(batches), blocks)

    def _leave_out(
        self, plan_ids: Sequence[str], explain: Callable[[Sequence[Plan], str], str]
    ) -> None:
        flawed = [plan for plan in self.whole if plan.id in plan_ids]
        if flawed:
            self.flaws.append(Flaw(flawed, explain))
            self.whole = [plan for plan in self.whole if plan.id not in plan_ids]

    def _record(self) -> None:
        """Record why plans are not folded; Refused where none is left to be folded."""
        unrecorded = self.flaws[self._recorded :]
        if not unrecorded:
            return

        is_over = self._is_rebuild or not self.whole
        whys: dict[str, str] = {}
        for flaw in unrecorded:
            for plan in flaw.plans:
                nothing = NOTHING if is_over else _nothing_of([plan])
                whys[plan.id] = self._sentence(flaw.explain([plan], nothing))
        self._recorded = len(self.flaws)

        if is_over:
            texts = [flaw.explain(flaw.plans, NOTHING) for flaw in self.flaws]
            why = self._sentence(". ".join(texts))
            self.ledger.refuse({plan.id: why for plan in self.whole} | whys)
            raise Refused(why)
        self.ledger.refuse(whys)

    def _sentence(self, text: str) -> str:
        return f"{self.asset.name}: {text}"

    def _counts_of(self, plans: Sequence[Plan]) -> list[Counts]:
        return [self._counts[plan.id] for plan in plans]

    def _explain_removed(self, plans: Sequence[Plan], _nothing: str) -> str:
        removals = [(plan.partition, plan.removed) for plan in plans]
        text = explain_removals(self.asset, removals, self._is_rebuild)
        return text.removeprefix(self._sentence(""))

    def _explain_intolerable(self, plans: Sequence[Plan], nothing: str) -> str:
        counts = self._counts_of(plans)
        stopped = sum(partition.batches_pending for partition in counts)
        early = f" ({stopped} batches were not started any more)" if stopped else ""
        return (
            f"{why_not_folded(self.asset, counts)}, so {nothing} is folded{early}: "
            f"{explain_unused(self.asset, self.ledger, counts)}"
        )

    def _explain_missing(self, plans: Sequence[Plan], nothing: str) -> str:
        missing = [text for plan in plans for text in self._without_outcome(plan)]
        more = f"; and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        planned = sum(len(plan.batches) for plan in plans)
        return (
            f"{len(missing)} of {planned} planned batches have no outcome, so "
            f"{nothing} is folded ({'; '.join(missing[:MAX_NAMED])}{more}). Start a new run of the "
            "same partitions: it runs only these; do not execute this one again from its failure"
        )

    def _explain_outdated(self, plans: Sequence[Plan], nothing: str) -> str:
        batch_ids = [batch.id for plan in plans for batch in self.batches[plan.id]]
        outdated = self.ledger.stays.outdated(batch_ids)
        names = sorted(plan.partition for plan in plans)
        return (
            "blocks with copies of items came or went while this run was on its "
            f"way, so {len(outdated)} batches of {', '.join(names[:MAX_NAMED])} have to count "
            f"anew, and {nothing} is folded. Start a new run of the same partitions"
        )

    def _without_outcome(self, plan: Plan) -> list[str]:
        """Return the planned batches that neither finished nor failed, each with the reason."""
        known: dict[str, Batch] = {batch.id: batch for batch in self.batches[plan.id]}
        missing = []
        for batch_id in plan.batches:
            batch = known.get(batch_id)
            if batch and (batch.is_done or batch.is_failed):
                continue
            why = batch.error or f"is {batch.state}" if batch else "is unknown"
            missing.append(f"{batch_id} of {plan.partition}: {why}")
        return missing


def _nothing_of(plans: Sequence[Plan]) -> str:
    """Return how a sentence calls what is not folded while other partitions are."""
    if len(plans) == 1:
        return f"{NOTHING} of {plans[0].partition}"
    return f"{NOTHING} of these {len(plans)} partitions"
