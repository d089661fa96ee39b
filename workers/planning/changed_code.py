"""What changed code costs a run: what is run again, what is only shown anew, what is reused.

A partition is held against the plan that its profiles were made by; where none was folded, against
its newest. These are numbers and sentences; nothing depends on them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from workers.declare.asset import Asset
from workers.declare.task import Task
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch, Plan, PlanState
from workers.planning.listing import PARTITIONS_AT_ONCE
from workers.planning.plans import Work
from workers.values import Value

MAX_NAMES = 8  # parts of the code that a sentence names
NOT_RECORDED = "parts that the ledger does not know"


class CodeChange(Value, frozen=True, kw_only=True):
    """How the code differs from what partitions were run with, and what a run does for it."""

    # Functions, constants and files that changed, as far as the ledger knows those of before.
    changed: list[str]
    # What is run again for it, and what that reads.
    partitions_again: int
    batches_again: int
    blocks_again: int
    bytes_again: int
    seconds_again: float
    # Partitions whose profiles are shown anew, for which no block is read; at most how many
    # profiles these are.
    partitions_shown_anew: int
    profiles_shown_anew: int
    # Batches that are run in any case, and those that are not run.
    batches_beside: int
    batches_reused: int
    # Whether a run would leave all profiles as they are.
    is_idle: bool
    # All of it for people; "" where no partition was run before.
    text: str = ""


class _Compared(NamedTuple):
    """A plan that a run is about to make, held against the one of before."""

    plan: Plan
    before: Plan
    # Batches that are run again for the code.
    again: list[Batch]
    # How many times its batches of before mention a profile; None where none is shown anew.
    shown_anew: int | None
    # Whether its profiles are to be as they are.
    is_same: bool


def code_change(asset: Asset, task: Task, ledger: Ledger, work: Work) -> CodeChange:
    """Return how the code differs from what the partitions of a run were run with."""
    compared = list(_compare(asset, task, ledger, work))
    again = [batch for each in compared for batch in each.again]
    shown_anew = [each.shown_anew for each in compared if each.shown_anew is not None]
    same = {each.plan.id for each in compared if each.is_same}

    change = CodeChange(
        changed=_changed_parts(task, ledger, [each.before for each in compared]),
        partitions_again=sum(bool(each.again) for each in compared),
        batches_again=len(again),
        blocks_again=len({range_.key for batch in again for range_ in batch.ranges}),
        bytes_again=sum(batch.bytes for batch in again),
        seconds_again=round(sum(work.to_run[batch.id] for batch in again), 1),
        partitions_shown_anew=len(shown_anew),
        profiles_shown_anew=_at_most(asset, ledger, sum(shown_anew)),
        batches_beside=len(work.to_run) - len(again),
        batches_reused=sum(len(plan.reused) for plan in work.plans),
        is_idle=not work.to_run and all(p.id in same for p in work.plans if p.batches),
    )
    return CodeChange.of(change.to_json() | {"text": _text(change) if compared else ""})


def _compare(asset: Asset, task: Task, ledger: Ledger, work: Work) -> Iterator[_Compared]:
    """Yield the plans of a run whose partitions were run before."""
    to_run = {batch.id: batch for batch in work.new}
    to_run |= ledger.batches_by_id(work.to_run.keys() - to_run.keys())
    generation = ledger.claims.generation(asset.name)

    for start in range(0, len(work.plans), PARTITIONS_AT_ONCE):
        plans = work.plans[start : start + PARTITIONS_AT_ONCE]
        partitions = [plan.partition for plan in plans]
        before = ledger.newest_plans(asset.name, partitions)
        before |= ledger.folded.newest_folds(asset.name, generation, *partitions)

        other = [each for each in before.values() if _differs(each, task)]
        batches = ledger.batches_by_plan(other)
        for plan in plans:
            if plan.partition in before:
                each = before[plan.partition]
                yield _compared(plan, each, batches.get(each.id, []), task, to_run)


def _differs(before: Plan, task: Task) -> bool:
    return (before.version, before.shown_version) != (task.version, task.shown_version)


def _compared(
    plan: Plan, before: Plan, batches: Iterable[Batch], task: Task, to_run: Mapping[str, Batch]
) -> _Compared:
    """Return a plan held against the one of before, whose batches are given if its code differs."""
    done = [batch for batch in batches if batch.is_done]
    again: list[Batch] = []
    if before.version != task.version and not task.observe:  # what observes is run in any case
        read = {(range_.key, range_.etag) for batch in done for range_ in batch.ranges}
        again = [to_run[batch_id] for batch_id in plan.batches if batch_id in to_run]
        again = [
            batch for batch in again if any((part.key, part.etag) in read for part in batch.ranges)
        ]

    is_folded = before.state is PlanState.FOLDED
    is_shown_anew = is_folded and before.shown_version != task.shown_version
    is_whole = is_folded and not before.failed_profiles
    mentions = sum(batch.finished_outcome.profiles for batch in done)
    return _Compared(
        plan=plan,
        before=before,
        again=again,
        shown_anew=mentions if is_shown_anew else None,
        is_same=is_whole and not is_shown_anew and before.batches == plan.batches,
    )


def _at_most(asset: Asset, ledger: Ledger, mentions: int) -> int:
    """Return how many profiles there can be that are mentioned so many times."""
    if not mentions:
        return 0
    return min(mentions, ledger.profiles(asset.name).documents.estimated_document_count())


def _changed_parts(task: Task, ledger: Ledger, before: Iterable[Plan]) -> list[str]:
    """Return the parts of the code that differ from those that plans were made with."""
    now = task.versions
    others = {
        **{plan.version: now.parts_of_batches for plan in before if plan.version != task.version},
        **{
            plan.shown_version: now.parts_of_profiles
            for plan in before
            if plan.shown_version != task.shown_version
        },
    }
    known = ledger.code_parts.of(others)
    names = {
        name
        for version, parts in others.items()
        if version in known
        for name in parts.keys() | known[version].keys()
        if parts.get(name) != known[version].get(name)
    }
    return sorted(names) + ([NOT_RECORDED] if others.keys() - known.keys() else [])


def _text(change: CodeChange) -> str:
    """Return for people what changed and what it costs."""
    if not change.changed:
        head = "The code does what it did; comments and formatting do not count."
        if change.is_idle:
            return f"{head} Nothing is to do: {_reused(change)}."
        return f"{head} {_rest(change)}."

    named = ", ".join(change.changed[:MAX_NAMES])
    named += ", ..." if len(change.changed) > MAX_NAMES else ""
    return " ".join([f"Changed code: {named}.", *_costs(change), f"{_rest(change)}."])


def _costs(change: CodeChange) -> Iterator[str]:
    """Yield sentences on what is done for changed code."""
    if change.batches_again:
        batches = _count(change.batches_again, "batch", "batches")
        yield (
            f"For it {batches} of {_count(change.partitions_again, 'partition')} "
            f"{_are(change.batches_again)} run again: {_count(change.blocks_again, 'block')} "
            f"({_count(change.bytes_again, 'byte')}) to read, about {change.seconds_again} s of "
            "work."
        )
    else:
        yield "For it no block is read."
    if change.partitions_shown_anew:
        profiles = _count(change.profiles_shown_anew, "profile")
        partitions = _count(change.partitions_shown_anew, "partition")
        yield f"Profiles of {partitions} are shown anew, at most {profiles}."


def _rest(change: CodeChange) -> str:
    """Return what a run does with batches that changed code does not concern."""
    reused = _reused(change)
    if not change.batches_beside:
        return reused
    beside = _count(change.batches_beside, "other batch", "other batches")
    return f"{reused}, and {beside} {_are(change.batches_beside)} run in any case"


def _reused(change: CodeChange) -> str:
    batches = _count(change.batches_reused, "batch", "batches")
    return f"{batches} {_are(change.batches_reused)} reused"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _count(number: int, noun: str, nouns: str = "") -> str:
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
