"""One JSON document in S3 for each run of a partition: what it did, readable without Fanfold."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from workers.ledger.counts import (
    count_plans,
    counted_attempts,
    redriven_letters,
    unread_rests,
)
from workers.ledger.ledger import Ledger
from workers.ledger.records import Batch, Plan
from workers.store import OWN_PREFIX, REQUESTS_AT_ONCE, BlockStore
from workers.values import Counts

MANIFEST_FORMAT = 1
MAX_CAUSES = 100  # causes of dead letters that a manifest counts
MAX_UNREAD = 100  # parts of blocks that it describes
OUTCOME_FIELDS = ("items", "used", "dead", "seconds", "result", "digest")


def manifest_key(plan: Plan) -> str:
    """Return where the manifest of a plan lies."""
    return f"{OWN_PREFIX}manifests/{plan.asset}/{plan.partition}/{plan.run}.json"


def write_manifests(ledger: Ledger, store: BlockStore, plan_ids: Sequence[str]) -> None:
    """Write the manifests of plans as they stand; an earlier one of the same run is replaced."""
    plans = ledger.plans_by_id(plan_ids)
    batches = ledger.batches_by_plan(plans)

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        writes = []
        for plan, counts in zip(plans, count_plans(ledger, plans, batches), strict=True):
            manifest = describe_manifest(ledger, plan, batches[plan.id], counts)
            writes.append(pool.submit(store.put_json, manifest_key(plan), manifest))
        for write in writes:
            write.result()


def describe_manifest(
    ledger: Ledger, plan: Plan, batches: Sequence[Batch], counts: Counts
) -> dict[str, Any]:
    """Return what the ledger knows of a plan, its batches and its dead letters."""
    numbers = counts.to_json()
    blocks = {(part.key, part.etag, part.size) for batch in batches for part in batch.ranges}

    return {
        "format": MANIFEST_FORMAT,
        "asset": plan.asset,
        "partition": plan.partition,
        "run": plan.run,
        "state": plan.state,
        "why": plan.why,
        "created": plan.created.isoformat() if plan.created else None,
        "code_version": plan.version,
        "generation": plan.generation,
        "epoch": plan.epoch,
        "blocks_digest": plan.blocks_digest,
        "blocks": [{"key": k, "etag": e, "size": s} for k, e, s in sorted(blocks)],
        "counts": {k: v for k, v in numbers.items() if k not in ("plan", "partition")},
        "profiles_failed": [profile.to_json() for profile in plan.failed_profiles],
        "batches": _describe_batches(plan, batches),
        "dead_letters": {
            "open": counts.dead - counts.discarded,
            "discarded": counts.discarded,
            "redriven": len(redriven_letters(ledger, batches)),
            "by_reason": _letters_by_cause(ledger, batches) if counts.dead else {},
        },
        "unread": _describe_unread(ledger, batches) if counts.unread_parts else [],
    }


def _describe_batches(plan: Plan, batches: Sequence[Batch]) -> dict[str, Any]:
    known = {batch.id: batch for batch in batches}
    described: dict[str, list[Any]] = {"used": [], "failed": [], "pending": []}

    for batch_id in plan.batches:
        batch = known.get(batch_id)
        if batch is None:
            described["pending"].append({"id": batch_id, "state": "unknown"})
        elif batch.is_done:
            described["used"].append(_describe_done(batch))
        elif batch.is_failed:
            failure = {"items_estimated": batch.items, "error": batch.error}
            described["failed"].append({"id": batch_id, **failure, "attempts": batch.attempts})
        else:
            described["pending"].append({"id": batch_id, "state": batch.state})

    return described | {"reused": plan.reused}


def _describe_done(batch: Batch) -> dict[str, Any]:
    outcome = batch.finished_outcome.to_json()
    numbers = {name: outcome[name] for name in OUTCOME_FIELDS}
    return {
        "id": batch.id,
        **numbers,
        "is_redrive": batch.is_redrive,
        "attempts": batch.attempts,
    }


def _describe_unread(ledger: Ledger, batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """Return the parts of blocks that were not read, each with an estimate of its items."""
    return [
        {
            "block": letter.block,
            "place": str(letter.place),
            "items_estimated": letter.items,
            "reason": letter.reason,
        }
        for letter in unread_rests(ledger, batches)[:MAX_UNREAD]
    ]


def _letters_by_cause(ledger: Ledger, batches: Sequence[Batch]) -> dict[str, int]:
    return dict(ledger.dead_letters.causes(counted_attempts(batches), MAX_CAUSES))
