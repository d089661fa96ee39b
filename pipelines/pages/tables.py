"""Tables for people, as metadata of a run's steps: batches, shards, and what a run lacks.

They are bounded, the worst rows first; the ledger has all of them, and the commands list them.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import dagster as dg

from pipelines.jobs import redrive_job_name
from workers.declare.asset import Asset
from workers.folding.fold import FoldedShard
from workers.ledger.counts import counted_attempts, unread_rests
from workers.ledger.dead_letters import DeadLetter
from workers.ledger.ledger import Ledger
from workers.ledger.losses import can_be_redriven, frequent_reasons, has_new_blocks
from workers.ledger.records import UNFINISHED_STATES, Batch, BatchState, Plan
from workers.values import BUCKETS

MAX_ROWS = 50  # of a table of batches
MAX_NAMED_ROWS = 20  # of a table of what is lacking
MAX_WHY_CHARACTERS = 200
UNFINISHED_RANKS = {BatchState.FAILED: 0, BatchState.RUNNING: 1, BatchState.PLANNED: 2}
Metadata = dict[str, dg.MetadataValue[Any]]
Row = dict[str, str | int | float | bool]


def table(rows: Sequence[Row]) -> dg.TableMetadataValue:
    """Return rows, of which there is one at least, as a table with their columns."""
    types = {int: "int", float: "float"}
    columns = [
        dg.TableColumn(name, type=types.get(type(value), "string"))
        for name, value in rows[0].items()
    ]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], dg.TableSchema(columns))


def share_metadata(ledger: Ledger, asset: Asset, batches: Sequence[Batch]) -> Metadata:
    """Return what a worker made of its batches: a table of them, and one of its dead letters."""
    if not batches:
        return {}
    ranked = sorted(batches, key=_rank)
    is_whole = all(batch.is_done for batch in batches)
    shown: Metadata = {
        "batches": table([_batch_row(batch, is_whole) for batch in ranked[:MAX_ROWS]])
    }
    more = len(batches) - MAX_ROWS
    if more > 0:
        text = f"{more:,} more, all of them faster: `fanfold batches {asset.name}` lists them"
        shown["batches_left_out"] = dg.MetadataValue.text(text)

    with_letters = [batch for batch in batches if batch.is_done and batch.finished_outcome.dead]
    if with_letters:
        shown |= dead_letters(ledger, with_letters)
    return shown


def _rank(batch: Batch) -> tuple[int, float]:
    """Return where a batch stands: what failed or did not finish first, then dead letters."""
    if not batch.is_done:
        return UNFINISHED_RANKS[batch.state], 0.0
    outcome = batch.finished_outcome
    return (3 if outcome.dead else 4), -outcome.seconds


def _batch_row(batch: Batch, is_whole: bool) -> Row:
    """Return a batch with its numbers; with what became of it only where some are not done."""
    outcome = batch.outcome if batch.is_done else None
    row: Row = {
        "batch": batch.id,
        "block": block_of(batch),
        "items": outcome.items if outcome else batch.items,
        "used": outcome.used if outcome else 0,
        "dead": outcome.dead if outcome else 0,
        "seconds": round(outcome.seconds, 2) if outcome else 0.0,
        "attempt": batch.attempts,
        "worker": _worker_of(batch),
    }
    return row if is_whole else row | {"outcome": _outcome_of(batch)}


def _worker_of(batch: Batch) -> str:
    return f"{batch.worker.host} {batch.worker.pid}" if batch.worker else ""


def _outcome_of(batch: Batch) -> str:
    why = f": {_shortened(batch.error)}" if batch.error and not batch.is_done else ""
    return f"{batch.state}{why}"


def block_of(batch: Batch) -> str:
    """Return the first block that a batch reads, and how many more it does.

    Where its items are profiles, the partition.
    """
    keys = sorted({range_.key for range_ in batch.ranges} - {""})
    more = len(keys) - 1
    return f"{keys[0]} and {more:,} more" if more > 0 else (keys or [batch.partition])[0]


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_WHY_CHARACTERS else f"{line[:MAX_WHY_CHARACTERS]}..."


def unfinished(asset: Asset, ledger: Ledger, plans: Sequence[Plan]) -> Metadata:
    """Return the batches of a run that broke off, those that it was at first; and what to do."""
    batches = [batch for of_plan in ledger.batches_by_plan(plans).values() for batch in of_plan]
    left = sorted((batch for batch in batches if not batch.is_done), key=_rank)
    rows: list[Row] = [
        {
            "batch": batch.id,
            "block": block_of(batch),
            "items": batch.items,
            "attempt": batch.attempts,
            "worker": _worker_of(batch),
            "outcome": _outcome_of(batch),
        }
        for batch in left[:MAX_NAMED_ROWS]
    ]
    unfinished = sum(batch.state in UNFINISHED_STATES for batch in left)
    counts: Metadata = {}
    if unfinished:
        counts["batches_without_outcome"] = dg.MetadataValue.int(unfinished)
    shown: Metadata = {"batches": table(rows)} if rows else {}
    return (
        shown
        | {"to_mend": table(_ways(asset, ledger, {plan.partition for plan in plans}, left))}
        | counts
    )


def shard_metadata(shard: FoldedShard, seconds: float) -> Metadata:
    """Return what the fold of a shard did."""
    row: Row = {
        "shard": f"{shard.low} to {shard.high} of {BUCKETS}",
        "profiles": shard.distinct,
        "partitions": len(shard.profiles),
        "failed": len(shard.failed_profiles),
        "seconds": round(seconds, 2),
    }
    return {"shard": table([row])}


def dead_letters(ledger: Ledger, batches: Sequence[Batch]) -> Metadata:
    """Return some dead letters of finished batches, with their places and reasons."""
    letters = ledger.dead_letters.found_by(counted_attempts(batches), MAX_NAMED_ROWS)
    rows = [_letter_row(letter) for letter in letters]
    return {"dead_letters": table(rows)} if rows else {}


def _letter_row(letter: DeadLetter) -> Row:
    return {
        "block": letter.block or letter.partition,
        "place": str(letter.place),
        "reason": _shortened(letter.reason),
        "batch": letter.batch,
    }


def failed_batches(batches: Iterable[Batch]) -> Metadata:
    """Return the batches that failed for good, with their blocks and why."""
    rows: list[Row] = [
        {
            "batch": batch.id,
            "block": block_of(batch),
            "items": batch.items,
            "why": _shortened(batch.error),
            "attempt": batch.attempts,
            "worker": _worker_of(batch),
        }
        for batch in batches
        if batch.is_failed
    ]
    return {"failed_batches": table(rows[:MAX_NAMED_ROWS])} if rows else {}


def losses(asset: Asset, ledger: Ledger, plans: Sequence[Plan]) -> Metadata:
    """Return what plans that are not folded lack, and what mends it; the largest table last."""
    by_plan = ledger.batches_by_plan(plans)
    batches = [batch for of_plan in by_plan.values() for batch in of_plan]
    ranked = frequent_reasons(ledger, plans)
    reasons: list[Row] = [{"items": items, "reason": reason} for reason, items in ranked]
    return (
        failed_batches(batches)
        | _not_read(unread_rests(ledger, batches))
        | ({"reasons": table(reasons)} if reasons else {})
        | {"to_mend": table(_ways(asset, ledger, {plan.partition for plan in plans}, batches))}
        | dead_letters(ledger, batches)
    )


def _not_read(rests: Sequence[DeadLetter]) -> Metadata:
    """Return the parts of blocks that nobody could read."""
    rows: list[Row] = [
        {
            "block": rest.block,
            "place": str(rest.place),
            "items_by_bytes": rest.items,
            "reason": _shortened(rest.reason),
        }
        for rest in rests[:MAX_NAMED_ROWS]
    ]
    return {"not_read": table(rows)} if rows else {}


def to_mend(asset: Asset, ledger: Ledger, batches: Sequence[Batch]) -> Metadata:
    """Return the commands that mend some batches."""
    partitions = {batch.partition for batch in batches}
    return {"to_mend": table(_ways(asset, ledger, partitions, batches))}


def _ways(
    asset: Asset, ledger: Ledger, partitions: Collection[str], batches: Sequence[Batch]
) -> list[Row]:
    """Return what a person can do, each with its command and where the UI has it."""
    first, is_one = min(partitions, default=""), len(partitions) == 1
    where = f"{asset.name} --partition {first}" if is_one else asset.name
    again = where if is_one else f"{asset.name} --failed"

    rows: list[Row] = []
    if can_be_redriven(ledger, batches):
        job = redrive_job_name(asset)
        rows.append(
            _way("the cause is mended", f"fanfold redrive {where}", f"Jobs, {job}, {first}")
        )
    rests = unread_rests(ledger, batches)
    in_catalogue = f"Catalog, {asset.name}, Materialize {first}"
    if rests or has_new_blocks(batches):
        when = "the blocks named above are put anew, or declared anew"
        rows.append(_way(when, f"fanfold run {again}", in_catalogue))
    if rests:
        command = f"fanfold dead-letters {where} --unread --discard WHY"
        rows.append(_way("nobody can read the rest", command, f"then {in_catalogue}"))
    if not rows:
        rows.append(_way("at once", f"fanfold run {again}", in_catalogue))
    return rows


def _way(when: str, command: str, in_the_ui: str) -> Row:
    return {"once": when, "command": command, "in the UI": in_the_ui}
