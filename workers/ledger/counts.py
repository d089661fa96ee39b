"""What became of a plan's items, as the ledger knows it: used, dead, failed, not run yet."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.ledger.dead_letters import attempt_id
from workers.ledger.fingerprint import cause_of
from workers.ledger.ledger import Ledger
from workers.values import Document, Outcome, Value

MAX_REASONS = 3  # most frequent reasons that a message names
MAX_NAMED = 5  # partitions or batches that a message names


class Counts(Value, frozen=True, kw_only=True):
    """What became of one partition's items. items = used + dead + failed + pending, always."""

    plan: str
    partition: str
    blocks: int
    bytes: int
    batches: int
    reused: int
    # Counted by workers; estimated where a batch has no outcome.
    items: int
    used: int
    # Those of `used` that needed nothing: see `Observe`.
    skipped: int
    # Dead letters, and those of them that a person discarded: these are tolerated.
    dead: int
    discarded: int
    # Items of batches that failed for good, and of batches that did not run.
    failed: int
    pending: int
    batches_failed: int
    batches_pending: int
    # Items that redrives among the plan's batches used (they are in `used`), and dead letters
    # that such batches are still to run again.
    redriven: int
    redrivable: int
    # Seconds of work over all its batches, whichever run did them.
    work_seconds: float
    # The plan that a closed partition was folded from, where nothing has changed since.
    unchanged_since: str

    @property
    def bad(self) -> int:
        """The items that tolerance is about."""
        return self.dead - self.discarded + self.failed


def counted_attempts(batches: Iterable[Document]) -> list[str]:
    """Return the attempts whose letters count: those whose outcomes do."""
    return [
        attempt_id(one["_id"], one["outcome"]["attempt"])
        for one in batches
        if one["state"] == "done" and not one["redrives"]
    ]


def redriven_letters(ledger: Ledger, batches: Iterable[Document]) -> set[str]:
    """Return the letters whose items the finished redrives among a plan's batches used."""
    used: set[str] = set()
    for one in batches:
        if one["redrives"] and one["state"] == "done":
            again = ledger.dead_letters.found_by(
                [attempt_id(one["_id"], one["outcome"]["attempt"])]
            )
            used |= set(one["redrives"]) - {letter["_id"] for letter in again}
    return used


def count_plan(ledger: Ledger, plan: Document, batches: Sequence[Document]) -> Counts:
    """Count a plan's items from its batches' outcomes; Refused where one does not add up."""
    base = [one for one in batches if not one["redrives"]]
    done = [_outcome(one) for one in base if one["state"] == "done"]
    again = [_outcome(one) for one in batches if one["redrives"] and one["state"] == "done"]
    failed = [one for one in base if one["state"] == "failed"]
    pending = [one for one in batches if one["state"] in ("planned", "running")]
    redriven, dead = sum(one.used for one in again), sum(one.dead for one in done)
    failed_items = sum(one["items"] for one in failed)
    pending_items = sum(one["items"] for one in pending if not one["redrives"])
    closed = ledger.claims.closed(plan)
    states = ledger.dead_letters.states(counted_attempts(base)) if dead else {}
    return Counts(
        plan=plan["_id"],
        partition=plan["partition"],
        blocks=plan["blocks"],
        bytes=plan["bytes"],
        batches=len(plan["batches"]),
        reused=len(plan["reused"]),
        items=sum(one.items for one in done) + failed_items + pending_items,
        used=sum(one.used for one in done) + redriven,
        skipped=sum(one.skipped for one in [*done, *again]),
        dead=dead - redriven,
        discarded=states.get("discarded", 0),
        failed=failed_items,
        pending=pending_items,
        batches_failed=len(failed),
        batches_pending=len(pending) + len(plan["batches"]) - len(batches),
        redriven=redriven,
        redrivable=sum(len(one["redrives"]) for one in pending),
        work_seconds=round(sum(one.seconds for one in [*done, *again]), 3),
        unchanged_since=closed["_id"] if closed else "",
    )


def _outcome(batch: Document) -> Outcome:
    outcome = Outcome.of(batch["outcome"])
    if outcome.items != outcome.used + outcome.dead or outcome.bytes != batch["bytes"]:
        raise Refused(
            f"batch {batch['_id']} does not add up: {outcome.items} items, {outcome.used} used, "
            f"{outcome.dead} dead; {outcome.bytes} of {batch['bytes']} bytes; this is a bug"
        )
    return outcome


def exceeds_tolerance(asset: Asset, counts: Counts) -> bool:
    """Tell whether a partition has more bad items than tolerated, whatever is still to come.

    What did not run yet is only estimated, so it counts twice in favour of going on; and what is
    to be redriven may all work.
    """
    return not asset.tolerance.allows(counts.bad - counts.redrivable, counts.items + counts.pending)


def run_exceeds_tolerance(ledger: Ledger, asset: Asset, run: str) -> bool:
    """Tell whether a run is beyond tolerance already, so that no worker needs to start."""
    plans = ledger.plans_of_run(run)
    spoiled = ledger.spoiled(one for plan in plans for one in plan["batches"])
    for plan in plans:
        bad = sum(spoiled.get(one, 0) for one in plan["batches"])
        if bad <= asset.tolerance.count:
            continue
        if exceeds_tolerance(asset, count_plan(ledger, plan, ledger.batches_of(plan))):
            return True
    return False


def frequent_reasons(ledger: Ledger, plans: Iterable[Document]) -> list[tuple[str, int]]:
    """Return the most frequent reasons why items of these plans were not used, with counts."""
    batches = [one for plan in plans for one in ledger.batches_of(plan)]
    found = dict(ledger.dead_letters.causes(counted_attempts(batches), MAX_REASONS))
    failed = defaultdict[str, list[Document]](list)
    for one in batches:
        if one["state"] == "failed" and not one["redrives"]:
            failed[cause_of(one["error"])].append(one)
    for cause, alike in failed.items():
        errors = {one["error"] for one in alike}
        why = f"batch failed: {cause if len(errors) > 1 else errors.pop()}"
        found[why] = sum(one["items"] for one in alike)
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_REASONS]


def explain_unused(ledger: Ledger, asset: Asset, counts: list[Counts]) -> str:
    """Say what of these partitions could not be used, why, and what to type; one sentence each."""
    named = "; ".join(_said(one) for one in counts[:MAX_NAMED])
    more = f"; and {len(counts) - MAX_NAMED} partitions more" if len(counts) > MAX_NAMED else ""
    why = frequent_reasons(ledger, (ledger.plan(one.plan) for one in counts))
    listed = "; ".join(f"{number:,} x {reason}" for reason, number in why)
    where = f" --partition {counts[0].partition}" if len(counts) == 1 else ""
    return (
        f"{named}{more}. Most frequent: {listed or 'no reason is known'}. "
        f"`fanfold dead-letters {asset.name}{where}` lists them; "
        f"`fanfold redrive {asset.name}{where}` runs them again once the cause is mended; "
        "blocks that were put anew are for a plain run"
    )


def _said(one: Counts) -> str:
    parts = [f"{one.dead:,} dead letters"]
    if one.discarded:
        parts.append(f"{one.discarded:,} of them discarded")
    if one.failed:
        parts.append(f"about {one.failed:,} items of {one.batches_failed} failed batches")
    left_out = one.dead + one.failed
    return f"{left_out:,} of {one.items:,} items of {one.partition} ({', '.join(parts)})"
