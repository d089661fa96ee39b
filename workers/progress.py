"""How far a run is: its plans and batches, summed up by the ledger."""

from collections import Counter
from collections.abc import Iterable, Sequence

from workers.ledger.ledger import BatchSums, Ledger
from workers.ledger.records import UNFINISHED_STATES, BatchState, Plan, PlanState
from workers.planning.sizing import BATCH_SECONDS, RANGE_SECONDS
from workers.values import BUCKETS, Value

SURE_BATCHES = 8  # batches that a run has to finish,
SURE_SHARE = 0.1  # and the part of its work, before the seconds to come are told


class Figures(Value, frozen=True, kw_only=True):
    """How far a run is. Batches and items that it reuses count as done."""

    partitions: int
    # listing (and slicing), working, folding, publishing, checking; refused; and how it ended.
    stage: str = "listing"
    is_planned: bool = False
    folded: int = 0
    batches: int = 0
    # Done or failed for good.
    finished: int = 0
    reused: int = 0
    failed: int = 0
    # Counted by workers; estimated where a batch is not done.
    items: int = 0
    items_done: int = 0
    dead: int = 0
    duplicates: int = 0
    # Of a fold that takes a while: those folded, and about how many there are.
    profiles_folded: int = 0
    profiles: int = 0
    # Seconds of work that the done batches took, and that the unfinished ones will take.
    work_done: float = 0.0
    work_left: float = 0.0


def figures(ledger: Ledger, run: str, partitions: int) -> Figures:
    """Return how far a run of so many partitions is: two requests, and sums as the answer."""
    plans = ledger.plans_under_way(run)
    if len(plans) < partitions:  # they are about to be written
        return Figures(partitions=partitions)

    sums = ledger.sum_batches([batch_id for plan in plans for batch_id in plan.batches])
    done = [row for row in sums if row.state is BatchState.DONE]
    failed = [row for row in sums if row.state is BatchState.FAILED]
    unfinished = [row for row in sums if row.state in UNFINISHED_STATES]

    states = Counter(plan.state for plan in plans)
    planned_items = sum(row.planned for row in [*failed, *unfinished] if not row.is_redrive)
    items_done = sum(row.items for row in done if not row.is_redrive)
    dead = sum(row.dead for row in done if not row.is_redrive)
    profiles_folded, profiles = _fold_progress(plans)
    redriven = sum(row.used + row.duplicates for row in done if row.is_redrive)

    return Figures(
        partitions=partitions,
        stage=_stage(states, partitions, bool(unfinished)),
        is_planned=True,
        folded=_settled(states),
        batches=sum(len(plan.batches) for plan in plans),
        finished=sum(row.batches for row in [*done, *failed]),
        reused=sum(len(plan.reused) for plan in plans),
        failed=sum(row.batches for row in failed),
        items=items_done + planned_items,
        items_done=items_done,
        dead=dead - redriven,
        duplicates=sum(row.duplicates for row in done),
        profiles_folded=profiles_folded,
        profiles=profiles,
        work_done=sum(row.seconds for row in done),
        work_left=_work_left(done, unfinished),
    )


def seconds_left(first: Figures, now: Figures, seconds: float) -> float | None:
    """Return how long a run takes for the rest of its work, at its pace since a first look.

    None where too little is done to tell.
    """
    batches = now.finished - first.finished
    work = now.work_done - first.work_done
    is_sure = batches >= SURE_BATCHES and work > 0 and work >= SURE_SHARE * (work + now.work_left)
    if now.stage != "working" or not is_sure:
        return None
    return now.work_left * seconds / work


def _settled(states: Counter[PlanState]) -> int:
    return sum(count for state, count in states.items() if state.is_settled)


def _fold_progress(plans: Iterable[Plan]) -> tuple[int, int]:
    """Return how many profiles are folded, and about how many there are in all shards."""
    shards = [
        (int(low), *progress) for plan in plans for low, progress in plan.fold_progress.items()
    ]
    buckets = sum(high - low for low, high, _, _ in shards)
    if not buckets:
        return 0, 0
    profiles = sum(of_shard for *_, of_shard in shards) * BUCKETS // buckets
    return sum(done for _, _, done, _ in shards), profiles


def _stage(states: Counter[PlanState], partitions: int, is_unfinished: bool) -> str:
    to_fold = partitions - states[PlanState.REFUSED]
    if not to_fold:
        return "refused"

    folded = _settled(states)
    if folded:
        return "publishing" if folded < to_fold else "checking"
    return "working" if is_unfinished and not states[PlanState.FOLDING] else "folding"


def _work_left(done: Sequence[BatchSums], unfinished: Sequence[BatchSums]) -> float:
    """Return the seconds that unfinished batches will take, if they are like those done."""
    items = sum(row.items for row in done)
    seconds = sum(row.seconds for row in done)

    each = max(seconds - _set_up(done), seconds / 10) / items if items else 0.0
    return _set_up(unfinished) + sum(row.planned for row in unfinished) * each


def _set_up(sums: Iterable[BatchSums]) -> float:
    """Return the seconds that batches take beside their items."""
    return sum(row.batches * BATCH_SECONDS + row.ranges * RANGE_SECONDS for row in sums)
