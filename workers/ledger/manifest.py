"""One JSON document in S3 for each run of a partition: what it did, readable without Fanfold."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from workers.ledger.counts import count_plan, counted_attempts, redriven_letters
from workers.ledger.ledger import Ledger
from workers.store import OWN_PREFIX, BlockStore
from workers.values import Document

AT_ONCE = 8  # manifests written at a time; a range of days has one each
FORMAT = 1


def manifest_key(plan: Document) -> str:
    """Return where the manifest of a plan lies."""
    return f"{OWN_PREFIX}manifests/{plan['asset']}/{plan['partition']}/{plan['run']}.json"


def write_manifests(store: BlockStore, ledger: Ledger, plan_ids: Iterable[str]) -> None:
    """Write the manifests of plans as they stand; an earlier one of the same run is replaced."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda plan_id: _write(store, ledger, plan_id), plan_ids):
            pass


def _write(store: BlockStore, ledger: Ledger, plan_id: str) -> None:
    plan = ledger.plan(plan_id)
    store.put_json(manifest_key(plan), describe_manifest(ledger, plan))


def describe_manifest(ledger: Ledger, plan: Document) -> dict[str, Any]:
    """Return what the ledger knows of a plan, its batches and its dead letters."""
    batches = ledger.batches_of(plan)
    counts = count_plan(ledger, plan, batches).to_json()
    blocks = {(cut["key"], cut["etag"], cut["size"]) for b in batches for cut in b["ranges"]}
    return {
        "format": FORMAT,
        "asset": plan["asset"],
        "partition": plan["partition"],
        "run": plan["run"],
        "state": plan["state"],
        "why": plan.get("why", ""),
        "created": plan["created"].isoformat(),
        "code_version": plan["version"],
        "generation": plan["generation"],
        "epoch": plan.get("epoch"),
        "blocks_digest": plan["news"],
        "blocks": [{"key": k, "etag": e, "size": s} for k, e, s in sorted(blocks)],
        "counts": {k: v for k, v in counts.items() if k not in ("plan", "partition")},
        "profiles_failed": plan.get("unfit", []),
        "batches": _batches(plan, batches),
        "dead_letters": {
            "open": counts["dead"] - counts["discarded"],
            "discarded": counts["discarded"],
            "redriven": len(redriven_letters(ledger, batches)),
            "by_reason": _by_reason(ledger, batches) if counts["dead"] else {},
        },
    }


def _batches(plan: Document, batches: Iterable[Document]) -> dict[str, Any]:
    known = {batch["_id"]: batch for batch in batches}
    said: dict[str, list[Any]] = {"used": [], "failed": [], "pending": []}
    for batch_id in plan["batches"]:
        batch = known.get(batch_id, {"state": "unknown"})
        one = {"id": batch_id}
        if batch["state"] == "done":
            names = ("items", "used", "dead", "seconds", "result", "digest")
            one |= {name: batch["outcome"][name] for name in names}
            one |= {"is_redrive": bool(batch["redrives"]), "attempts": batch["attempts"]}
            said["used"].append(one)
        elif batch["state"] == "failed":
            one |= {"items_estimated": batch["items"], "error": batch["error"]}
            said["failed"].append(one | {"attempts": batch["attempts"]})
        else:
            said["pending"].append(one | {"state": batch["state"]})
    return said | {"reused": plan["reused"]}


def _by_reason(ledger: Ledger, batches: Iterable[Document]) -> dict[str, int]:
    return dict(ledger.dead_letters.causes(counted_attempts(batches), most=100))
