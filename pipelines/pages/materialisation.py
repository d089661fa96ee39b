"""What the UI shows of a partition that was folded: a sentence, a picture, tables and numbers.

All of it is made of what the ledger knows, read for many partitions at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median, quantiles
from typing import Any

import dagster as dg

from pipelines.pages.chart import Kind, bars, chart, in_seconds
from pipelines.summaries import counted
from workers.declare.asset import Asset
from workers.ledger.counts import counted_attempts
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch, Plan
from workers.planning.sizing import batch_seconds
from workers.values import Counts

BATCHES_AT_ONCE = 2_000  # that are read from the ledger together
MAX_SLOWEST = 4  # batches that a page names
MAX_REASONS = 5  # reasons of dead letters that it has
MAX_KEY = 40  # characters of a block's key that it shows
TREND = 14  # partitions that its trend has
LEVELS = "▁▂▃▄▅▆▇█"
Metadata = dict[str, Any]
ALWAYS = ("items", "items_used", "dead_letters", "profiles", "blocks", "batches", "work_seconds")


def pages(
    asset: Asset, ledger: Ledger, counts: Sequence[Counts], profiles: Mapping[str, int]
) -> dict[str, Metadata]:
    """Return what the UI shows of each folded partition, given how many profiles it is about."""
    plans = {plan.id: plan for plan in ledger.plans_by_id([each.plan for each in counts])}
    trends = _trends(asset, ledger, list(plans.values()))

    shown: dict[str, Metadata] = {}
    for chunk in _chunks(counts):
        batches = ledger.batches_by_plan([plans[each.plan] for each in chunk])
        with_dead = [batch for each in chunk if each.dead for batch in batches[each.plan]]
        attempts = counted_attempts(with_dead)
        causes = ledger.dead_letters.causes_by_partition(attempts) if attempts else {}
        for each in chunk:
            plan = plans[each.plan]
            numbers = partition_numbers(each, profiles.get(each.partition, 0))
            shown[each.partition] = {
                "summary": dg.MetadataValue.md(_sentence(each, numbers["profiles"])),
                **_of_batches(asset, plan, batches[each.plan]),
                **_reasons(causes.get(each.partition, {})),
                **trends.get(each.partition, {}),
                **numbers,
            }
            if each.warnings:
                told = "\n".join(f"- {warning}" for warning in each.warnings)
                shown[each.partition]["warnings"] = dg.MetadataValue.md(told)
    return shown


def partition_numbers(counts: Counts, profiles: int) -> dict[str, int | float]:
    """Return the numbers of a partition that the UI plots; some only where there are any."""
    numbers = {
        "items": counts.items,
        "items_used": counts.used,
        "items_skipped": counts.skipped,
        "items_redriven": counts.redriven,
        "dead_letters": counts.dead,
        "duplicates": counts.duplicates,
        "unread_parts": counts.unread_parts,
        "unread_items": counts.unread_items,
        "profiles": profiles,
        "blocks": counts.blocks,
        "bytes": counts.bytes,
        "batches": counts.batches,
        "batches_reused": counts.reused,
        "work_seconds": counts.work_seconds,
    }
    return {name: number for name, number in numbers.items() if number or name in ALWAYS}


def _chunks(counts: Sequence[Counts]) -> Iterator[list[Counts]]:
    """Yield partitions in groups that have few enough batches."""
    chunk: list[Counts] = []
    batches = 0
    for each in counts:
        if chunk and batches + each.batches > BATCHES_AT_ONCE:
            yield chunk
            chunk, batches = [], 0
        chunk.append(each)
        batches += each.batches
    if chunk:
        yield chunk


def _sentence(counts: Counts, profiles: int) -> str:
    """Return what became of a partition."""
    if not counts.items:
        return f"No items in {counted(counts.blocks, 'block')}."

    text = (
        f"**{counts.used:,} of {counted(counts.items, 'item')}** used, from "
        f"{counted(counts.blocks, 'block')}, for {counted(profiles, 'profile')}"
    )
    if counts.dead:
        text += f"; **{counted(counts.dead, 'dead letter')}**"
    if counts.duplicates:
        text += f"; {counted(counts.duplicates, 'duplicate')}"
    text += f". {in_seconds(counts.work_seconds)} of work in {counted(counts.batches, 'batch')}"
    if counts.reused:
        of_them = f"{counts.reused:,} of them " if counts.batches > 1 else ""
        text += f", {of_them}finished before"
    return f"{text}."


def _of_batches(asset: Asset, plan: Plan, batches: Sequence[Batch]) -> Metadata:
    """Return the picture of a partition's batches, how their seconds spread, and the slowest."""
    done = [batch for batch in batches if batch.is_done]
    if not done:
        return {}
    seconds = [batch.finished_outcome.seconds for batch in done]
    drawn = bars(seconds, [batch.attempts for batch in done], [False] * len(done))
    target = asset.sizes.target_seconds
    shown: Metadata = {"seconds": dg.MetadataValue.md(chart(drawn, target))}
    if len(done) == 1:
        return shown

    shown["quantiles"] = _spread(plan, done, seconds, target)
    kinds = {batch.id: bar.kind for batch, bar in zip(done, drawn, strict=True)}
    slowest = sorted(done, key=lambda batch: -batch.finished_outcome.seconds)[:MAX_SLOWEST]
    lines = [_line(plan, batch, kinds[batch.id]) for batch in slowest]
    header = "| slowest | block | items | s | |\n|---|---|--:|--:|---|\n"
    shown["slowest"] = dg.MetadataValue.md(header + "\n".join(lines))
    return shown


def _spread(
    plan: Plan, batches: Sequence[Batch], seconds: Sequence[float], target: float
) -> dg.TableMetadataValue:
    """Return what batches took beside what the plan expected of them."""
    expected = [
        batch_seconds(plan.seconds_per_item, batch.items, len(batch.ranges)) for batch in batches
    ]
    rows = []
    for name, numbers in (("took", seconds), ("planned", expected)):
        low, _, high = quantiles(numbers, n=4, method="inclusive")
        five = {"min": min(numbers), "25 %": low, "median": median(numbers), "75 %": high}
        values = {**five, "max": max(numbers), "target": target}
        shown = {column: round(value, 2) for column, value in values.items()}
        rows.append(dg.TableRecord({"seconds": name, **shown}))
    return dg.MetadataValue.table(rows)


def _line(plan: Plan, batch: Batch, kind: Kind) -> str:
    """Return a batch as a line of a table, with a link to the run whose workers list it."""
    name = batch.id[:8]
    if batch.id not in plan.reused:
        name = f"[{name}](/runs/{plan.run})"
    key = next((range_.key for range_ in batch.ranges), "")
    block = f"…{key[-MAX_KEY:]}" if len(key) > MAX_KEY else key
    outcome = batch.finished_outcome
    note = "" if kind is Kind.FINE else kind.value
    seconds = f"{outcome.seconds:,.2f}"
    return f"| {name} | `{block}` | {outcome.items:,} | {seconds} | {note} |"


def _reasons(causes: Mapping[str, int]) -> Metadata:
    """Return why items are dead letters, the most frequent reasons first."""
    rows = [
        dg.TableRecord({"letters": letters, "reason": cause})
        for cause, letters in list(causes.items())[:MAX_REASONS]
    ]
    return {"reasons": dg.MetadataValue.table(rows)} if rows else {}


def _trends(asset: Asset, ledger: Ledger, plans: Sequence[Plan]) -> dict[str, Metadata]:
    """Return how the items of partitions compare with those of the ones before, as small bars."""
    if not plans:
        return {}
    keys = [plan.partition for plan in plans]
    history = ledger.folded.history(asset, plans[0].generation, min(keys), max(keys))
    items = {each.partition: each.items for each in history.numbers}
    order = list(items)
    places = {partition: place for place, partition in enumerate(order)}

    trends: dict[str, Metadata] = {}
    for key in keys:
        if key in places and (place := places[key]):
            around = order[max(place + 1 - TREND, 0) : place + 1]
            numbers = [items[partition] for partition in around]
            usual = median(numbers[:-1])
            text = (
                f"{_levels(numbers)} {around[0]}...{key}: {numbers[-1]:,} items, "
                f"where the median of the {len(numbers) - 1} before is {usual:,.0f}"
            )
            trends[key] = {"trend": dg.MetadataValue.text(text)}
    return trends


def _levels(numbers: Sequence[int]) -> str:
    highest = max(*numbers, 1)
    return "".join(LEVELS[(len(LEVELS) - 1) * number // highest] for number in numbers)
