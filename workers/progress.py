"""How far a run is: its plans and batches, summed up by the ledger."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from workers.ledger.claims import DONE
from workers.ledger.ledger import Ledger
from workers.planning.sizing import BATCH_SECONDS, PART_SECONDS
from workers.values import Document, Value


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
    # Seconds of work that the done batches took, and that the unfinished ones will take.
    work_done: float = 0.0
    work_left: float = 0.0


def figures(ledger: Ledger, run: str, partitions: int) -> Figures:
    """Return how far a run of so many partitions is: two requests, and sums as the answer."""
    plans = list(ledger.plans.find({"run": run}, {"state": 1, "batches": 1, "reused": 1}))
    if len(plans) < partitions:  # they are about to be written
        return Figures(partitions=partitions)
    batches = [one for plan in plans for one in plan["batches"]]
    sums = {
        "_id": {"state": "$state", "again": {"$ne": ["$redrives", []]}},
        "batches": {"$sum": 1},
        "parts": {"$sum": "$parts"},
        "planned": {"$sum": "$items"},
        **{name: {"$sum": f"$outcome.{name}"} for name in ("items", "used", "dead", "seconds")},
    }
    rows = list(ledger.batches.aggregate([{"$match": {"_id": {"$in": batches}}}, {"$group": sums}]))
    done = [row for row in rows if row["_id"]["state"] == "done"]
    failed = [row for row in rows if row["_id"]["state"] == "failed"]
    unfinished = [row for row in rows if row["_id"]["state"] in ("planned", "running")]
    states = Counter(plan["state"] for plan in plans)
    items_done = _sum(done, "items", again=False)
    return Figures(
        partitions=partitions,
        stage=_stage(states, partitions, bool(unfinished)),
        is_planned=True,
        folded=sum(states[state] for state in DONE),
        batches=len(batches),
        finished=_sum([*done, *failed], "batches"),
        reused=sum(len(plan["reused"]) for plan in plans),
        failed=_sum(failed, "batches"),
        items=items_done + _sum([*failed, *unfinished], "planned", again=False),
        items_done=items_done,
        dead=_sum(done, "dead", again=False) - _sum(done, "used", again=True),
        work_done=_sum(done, "seconds"),
        work_left=_work_left(done, unfinished),
    )


def _sum(rows: Iterable[Document], name: str, again: bool | None = None) -> Any:
    """Sum a number over kinds of batches; over redrives alone, or all but those, where asked."""
    return sum(row[name] for row in rows if again in (None, row["_id"]["again"]))


def _stage(states: Counter[str], partitions: int, is_unfinished: bool) -> str:
    folded = sum(states[state] for state in DONE)
    if states["refused"]:
        return "refused"
    if folded:
        return "publishing" if folded < partitions else "checking"
    return "working" if is_unfinished and not states["folding"] else "folding"


def _work_left(done: Sequence[Document], unfinished: Sequence[Document]) -> float:
    """Return the seconds that unfinished batches will take, if they are like those done."""

    def set_up(rows: Sequence[Document]) -> float:
        return float(_sum(rows, "batches") * BATCH_SECONDS + _sum(rows, "parts") * PART_SECONDS)

    items, seconds = _sum(done, "items"), _sum(done, "seconds")
    each = max(seconds - set_up(done), seconds / 10) / items if items else 0.0
    return set_up(unfinished) + float(_sum(unfinished, "planned") * each)
