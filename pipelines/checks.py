"""Checks that the UI shows on each asset after a run: nothing lost, nothing twice, in tolerance."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from pipelines.fanout import Blocks, Mongo, explained
from workers.declare.asset import Asset
from workers.declare.task import load_task
from workers.errors import Refused
from workers.ledger.claims import FOLDED
from workers.ledger.counts import (
    MAX_NAMED,
    Counts,
    counted_attempts,
    explain_unused,
    redriven_letters,
)
from workers.ledger.ledger import Ledger
from workers.store import BlockStore
from workers.values import Document
from workers.verify import spot_check

SPOT_BYTES = 16 << 20  # bytes of blocks that a check recomputes, at most: some seconds


def fold_checks(asset: Asset) -> dg.AssetChecksDefinition:
    """Return the asset's checks: one step, after the partitions of a run are folded."""
    names = {
        "nothing_lost": "Items planned = items used + dead letters, and every letter is there.",
        "nothing_twice": "A sample of profiles says what the raw blocks of a partition say.",
        "within_tolerance": "Every item could be used; where not, warns with the reasons.",
    }
    specs = [
        dg.AssetCheckSpec(name, asset=asset.name, description=text) for name, text in names.items()
    ]

    @dg.multi_asset_check(name=f"{asset.name}_checks", specs=specs)
    def checks(
        context: dg.AssetCheckExecutionContext, blocks: Blocks, mongo: Mongo
    ) -> Iterator[dg.AssetCheckResult]:
        ledger = Ledger(mongo)
        with explained(context.op_execution_context):
            plans = folded_plans(ledger, asset, context.run.run_id)
            found = [Counts.of(plan["counts"]) for plan in plans]
            results = {
                "nothing_lost": nothing_lost(ledger, plans, found),
                "nothing_twice": nothing_twice(ledger, asset, blocks, plans),
                "within_tolerance": within_tolerance(ledger, asset, found),
            }
        for name, result in results.items():
            yield dg.AssetCheckResult(asset_key=asset.name, check_name=name, **result)

    return checks


def folded_plans(ledger: Ledger, asset: Asset, run: str) -> list[Document]:
    """Return what a run folded; where it folded nothing, what is newest of the profiles.

    A check can be executed by itself, in a run of its own.
    """
    mine = [
        plan
        for plan in ledger.plans_of_run(run)
        if plan["asset"] == asset.name and plan["state"] in FOLDED
    ]
    if mine:
        return mine
    newest = ledger.claims.newest_folds(asset.name, ledger.claims.generation(asset.name))
    return [ledger.plan(newest[max(newest)]["_id"])] if newest else []


def nothing_lost(
    ledger: Ledger, plans: Sequence[Document], found: Sequence[Counts]
) -> dict[str, Any]:
    """Hold the counts of folded plans against each other, and against the letters there are."""
    wrong = []
    for plan, one in zip(plans, found, strict=True):
        letters = 0
        if one.dead:
            batches = ledger.batches_of(plan)
            met = {
                letter["_id"] for letter in ledger.dead_letters.found_by(counted_attempts(batches))
            }
            letters = len(met - redriven_letters(ledger, batches))
        if one.items != one.used + one.dead + one.failed or letters != one.dead:
            wrong.append(
                f"{one.partition}: {one.items:,} items planned, {one.used:,} used, {one.dead:,} "
                f"dead and {one.failed:,} failed; {letters:,} dead letters"
            )
        wrong += [
            f"{one.partition}: profile {lacking['profile']!r} lacks it; {lacking['field']}: "
            f"{lacking['why']}"
            for lacking in plan["unfit"]
        ]
    return {
        "passed": not wrong,
        "description": "; ".join(wrong[:MAX_NAMED]) or "items planned = used + dead letters",
        "metadata": {
            "items": sum(one.items for one in found),
            "used": sum(one.used for one in found),
            "dead_letters": sum(one.dead for one in found),
            "failed": sum(one.failed for one in found),
            "profiles_failed": sum(len(plan["unfit"]) for plan in plans),
        },
    }


def nothing_twice(
    ledger: Ledger,
    asset: Asset,
    blocks: BlockStore,
    plans: Sequence[Document],
) -> dict[str, Any]:
    """Recompute the latest partition that is small enough, and compare some of its profiles."""
    fit = [
        plan
        for plan in plans
        if plan["state"] == "folded"
        and 0 < plan["bytes"] <= SPOT_BYTES
        and not plan["counts"]["failed"]
        and not plan["unfit"]
        and plan["generation"] == ledger.claims.generation(asset.name)
    ]
    if not fit:
        text = f"no open partition of this run has blocks of at most {SPOT_BYTES >> 20} MB in all"
        return {"passed": True, "description": f"nothing compared: {text}; see `fanfold verify`"}
    plan, of_asset = max(fit, key=lambda plan: plan["partition"]), load_task(asset.task)
    try:
        compared, differing, against = spot_check(asset, of_asset, blocks, ledger, plan)
    except Refused as error:
        return {"passed": True, "description": f"nothing compared: {error}"}
    text = f"{compared} profiles compared with {against} ({plan['partition']})"
    if differing:
        text += f"; {len(differing)} differ: {', '.join(differing[:MAX_NAMED])}"
    return {"passed": not differing, "description": text, "metadata": {"compared": compared}}


def within_tolerance(ledger: Ledger, asset: Asset, found: Sequence[Counts]) -> dict[str, Any]:
    """Warn of items that could not be used, although they are few enough to be tolerated."""
    some = [one for one in found if one.bad]
    text = explain_unused(ledger, asset, some) if some else "every item was used"
    return {
        "passed": not some,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": text,
        "metadata": {"items_not_used": sum(one.bad for one in found)},
    }
