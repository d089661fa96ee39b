"""Verify: profiles held against what they have to say."""

import pytest

from tests.support.pipeline import DAY, event
from workers.errors import Refused
from workers.tasks import influence_scores
from workers.verify import spot_check

NEXT = "1998-04-02"


def test_verify_notices_a_profile_that_was_changed_lost_or_made_up(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    assert pipeline.verify().match

    pipeline.profiles.update_one({"_id": "ann"}, {"$inc": {"events": 1}})
    pipeline.profiles.delete_one({"_id": "bo"})
    pipeline.profiles.insert_one({"_id": "cy", "events": 1, "_fold": {}})

    verdict = pipeline.verify()
    assert not verdict.match
    assert verdict.differing == ["ann", "bo", "cy"]
    assert verdict.digest != verdict.expected_digest


def test_verify_of_a_range_compares_what_profiles_hold_of_it(pipeline):
    pipeline.put([event("ann")])
    pipeline.put([event("bo")], NEXT)
    pipeline.run(DAY)
    assert pipeline.verify(DAY).match
    assert not pipeline.verify(DAY, NEXT).match


def test_a_spot_check_of_scores_compares_what_readers_see(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    scores = pipeline.changed()
    scores.asset = influence_scores.asset
    scores.run()
    plan = scores.ledger.last_plan("influence_scores", DAY)

    check = spot_check(*scores.four, plan)
    assert (check.compared, check.differing) == (2, [])

    scores.profiles.update_one({"_id": "bo"}, {"$set": {"score": 99.0}})
    assert spot_check(*scores.four, plan).differing == ["bo"]


def test_a_spot_check_beside_many_results_compares_those_of_its_partition(pipeline, monkeypatch):
    monkeypatch.setattr("workers.verify.SPOT_RESULTS", 0)
    for day in (DAY, NEXT):
        pipeline.put([event("ann"), event("bo")], day)
    pipeline.run(DAY, NEXT)
    plan = pipeline.ledger.last_plan("user_profiles", DAY)
    check = spot_check(*pipeline.four, plan)
    assert (check.compared, check.differing) == (2, [])

    pipeline.profiles.update_one({"_id": "bo"}, {"$set": {"events": 9}})
    assert spot_check(*pipeline.four, plan).differing == ["bo"]


@pytest.mark.parametrize("results", [0, 20], ids=["its partition", "whole profiles"])
def test_a_spot_check_leaves_out_what_another_run_is_folding(pipeline, monkeypatch, results):
    monkeypatch.setattr("workers.verify.SPOT_RESULTS", results)
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    plan = pipeline.ledger.last_plan("user_profiles", DAY)

    pipeline.put([event("ann")], NEXT)
    work = pipeline.plan(NEXT)
    pipeline.work(work)
    reconciled = pipeline.reconcile(work)
    folded = pipeline.fold(reconciled)
    check = spot_check(*pipeline.four, plan)
    assert (check.compared, check.differing) == (1, [])

    pipeline.publish(reconciled, folded)
    check = spot_check(*pipeline.four, plan)
    assert (check.compared, check.differing) == (2, [])


def test_verify_of_a_range_beside_results_that_are_gone_says_what_can_be_compared(pipeline):
    for day in (DAY, NEXT):
        pipeline.put([event("ann")], day)
    pipeline.run(DAY, NEXT)
    for block in pipeline.store.list(f"_fanfold/results/user_profiles/{NEXT}"):
        pipeline.store.delete(block.key)
    with pytest.raises(Refused, match=r"no longer in S3.*`fanfold verify user_profiles`"):
        pipeline.verify(DAY)
    assert pipeline.verify().match
