"""The manifest: one document in S3 for each run of a partition."""

import hashlib

import pytest

from tests.support.pipeline import DAY, event
from workers.errors import Refused
from workers.ledger.manifest import write_manifests


def manifest(pipeline, plan_id):
    write_manifests(pipeline.store, pipeline.ledger, [plan_id])
    run = plan_id.rpartition("/")[2]
    return pipeline.store.get_json(f"_fanfold/manifests/user_profiles/{DAY}/{run}.json")


def test_it_tells_blocks_batches_counts_reasons_and_digests(pipeline):
    key = pipeline.put([event("ann"), event("bo"), b"bad", b'{"user": 1}'])
    pipeline.run()
    (plan,) = pipeline.ledger.plans.find()
    said = manifest(pipeline, plan["_id"])
    assert (said["asset"], said["partition"], said["state"]) == ("user_profiles", DAY, "folded")
    assert [block["key"] for block in said["blocks"]] == [key]
    assert (said["counts"]["items"], said["counts"]["used"], said["counts"]["dead"]) == (4, 2, 2)
    assert said["dead_letters"]["open"] == 2
    assert sum(said["dead_letters"]["by_reason"].values()) == 2
    (used,) = said["batches"]["used"]
    assert used["digest"] == hashlib.sha256(pipeline.store.get(used["result"])).hexdigest()
    assert (said["batches"]["failed"], said["batches"]["pending"]) == ([], [])
    assert len(said["blocks_digest"]) == 64


def test_a_run_that_got_no_further_than_its_plan_shows_what_is_pending(pipeline):
    pipeline.put([event()])
    work = pipeline.plan()
    said = manifest(pipeline, work.plans[0].id)
    assert said["state"] == "planned"
    assert [one["id"] for one in said["batches"]["pending"]] == list(work.to_run)


def test_a_refused_run_shows_what_failed_and_why(pipeline):
    strict = pipeline.tolerant()
    pipeline.put([event()])
    work = strict.plan()
    (batch,) = work.to_run
    strict.ledger.begin(batch)
    strict.ledger.fail(batch, "the disk is full")
    with pytest.raises(Refused):
        strict.reconcile(work)
    said = manifest(pipeline, work.plans[0].id)
    assert said["state"] == "refused"
    assert "the disk is full" in said["why"]
    assert [one["error"] for one in said["batches"]["failed"]] == ["the disk is full"]


def test_a_later_run_names_the_batches_it_reused(pipeline):
    pipeline.put([event()])
    pipeline.run()
    pipeline.put([event()], name="b.jsonl")
    pipeline.run()
    newest = pipeline.ledger.last_plan("user_profiles", DAY)
    said = manifest(pipeline, newest["_id"])
    (reused,) = said["batches"]["reused"]
    assert reused in [one["id"] for one in said["batches"]["used"]]
    assert len(said["batches"]["used"]) == 2
