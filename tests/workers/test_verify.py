"""Verify: profiles held against what they have to say."""

from tests.support.pipeline import DAY, event
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
