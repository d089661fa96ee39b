"""The manifest: one document in S3 for each run of a partition."""

import hashlib

import pytest

from tests.support.pipeline import DAY, event
from workers.errors import Refused
from workers.ledger.manifest import write_manifests


def manifest_of(pipeline, plan_id):
    write_manifests(pipeline.ledger, pipeline.store, [plan_id])
    run = plan_id.rpartition("/")[2]
    return pipeline.store.get_json(f"_fanfold/manifests/user_profiles/{DAY}/{run}.json")


def test_a_manifest_tells_blocks_batches_counts_reasons_and_digests(pipeline):
    key = pipeline.put([event("ann"), event("bo"), b"bad", b'{"user": 1}'])
    pipeline.run()
    (plan,) = pipeline.ledger.plans.find()

    manifest = manifest_of(pipeline, plan["_id"])

    assert (manifest["asset"], manifest["partition"], manifest["state"]) == (
        "user_profiles",
        DAY,
        "folded",
    )
    assert [block["key"] for block in manifest["blocks"]] == [key]
    counts = manifest["counts"]
    assert (counts["items"], counts["used"], counts["dead"]) == (4, 2, 2)
    assert manifest["dead_letters"]["open"] == 2
    assert sum(manifest["dead_letters"]["by_reason"].values()) == 2

    (used,) = manifest["batches"]["used"]
    assert used["digest"] == hashlib.sha256(pipeline.store.get(used["result"])).hexdigest()
    assert (manifest["batches"]["failed"], manifest["batches"]["pending"]) == ([], [])
    assert len(manifest["blocks_digest"]) == 64


def test_a_run_that_got_no_further_than_its_plan_shows_what_is_pending(pipeline):
    pipeline.put([event()])
    work = pipeline.plan()
    manifest = manifest_of(pipeline, work.plans[0].id)
    assert manifest["state"] == "planned"
    assert [batch["id"] for batch in manifest["batches"]["pending"]] == list(work.to_run)


def test_a_refused_run_shows_what_failed_and_why(pipeline):
    strict = pipeline.tolerant()
    pipeline.put([event()])
    work = strict.plan()
    (batch,) = work.to_run

    strict.ledger.begin(batch)
    strict.ledger.fail(batch, "the disk is full")
    with pytest.raises(Refused):
        strict.reconcile(work)

    manifest = manifest_of(pipeline, work.plans[0].id)
    assert manifest["state"] == "refused"
    assert "the disk is full" in manifest["why"]
    assert [batch["error"] for batch in manifest["batches"]["failed"]] == ["the disk is full"]


def test_a_later_run_names_the_batches_it_reused(pipeline):
    pipeline.put([event()])
    pipeline.run()
    pipeline.put([event()], name="b.jsonl")
    pipeline.run()

    newest = pipeline.ledger.last_plan("user_profiles", DAY)
    manifest = manifest_of(pipeline, newest.id)

    (reused,) = manifest["batches"]["reused"]
    assert reused in [batch["id"] for batch in manifest["batches"]["used"]]
    assert len(manifest["batches"]["used"]) == 2
