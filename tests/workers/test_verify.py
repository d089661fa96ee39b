"""Verify: profiles held against what they have to say."""

from tests.support.pipeline import DAY, event

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
