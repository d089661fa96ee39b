"""Scores of users, made of their profiles: the formula by hand, and which scores are made anew."""

from datetime import UTC, datetime

import pytest

from tests.support.pipeline import Pipeline, event
from workers.batch import attempt_batch
from workers.tasks import influence_scores
from workers.tasks.influence_scores import Profile, score

NEXT = "1998-04-02"
WEEK = "1998-03-30"  # the Monday before DAY


@pytest.fixture
def scores(pipeline):
    """The pipeline of scores over the profiles of the same database."""
    return Pipeline(pipeline.store, pipeline.database, pipeline.ledger, influence_scores.asset)


def scored(**fields):
    return score(Profile(id="ann", at=0, **fields))


def bookkeeping(pipeline):
    """Return what folding keeps in each profile."""
    return {profile["_id"]: profile["_fold"] for profile in pipeline.profiles.find()}


def test_a_user_with_nothing_to_their_name_scores_0():
    assert scored() == (0, 0, 0, 0, 0)


def test_fifty_likes_received_this_week_are_half_of_what_reach_can_give():
    assert scored(likes_received={WEEK: 50}).score == 30  # 60 x 50 / (50 + 50)


def test_a_share_received_counts_two_likes():
    assert scored(shares_received={WEEK: 25}) == scored(likes_received={WEEK: 50})


def test_what_happened_eight_weeks_before_the_last_week_counts_half():
    faded = scored(likes_received={"1998-02-02": 100}, weeks={WEEK: 50})
    assert faded.reach == 50
    assert faded.score == 30 + 12.5  # and 25 x 50 / (50 + 50) for the activity
    assert datetime.fromtimestamp(faded.as_of / 1000, UTC) == datetime(1998, 3, 30, tzinfo=UTC)


def test_five_topics_alike_are_half_of_what_breadth_can_give_and_one_is_nothing():
    assert scored(topics=dict.fromkeys("abcde", 7)).breadth == 4
    assert scored(topics=dict.fromkeys("abcde", 7)).score == 7.5  # 15 x 4 / (4 + 4)
    assert scored(topics={"a": 7}).score == 0
    assert scored(topics={"a": 7, "b": -4}).breadth == 0


def test_a_topic_hardly_touched_hardly_counts():
    # 0.9 and 0.1: exp(0.9 x 0.105361 + 0.1 x 2.302585) = exp(0.325083) = 1.384145
    assert scored(topics={"a": 9, "b": 1}).breadth == 0.3841


def test_no_activity_makes_up_for_nobody_listening():
    busy = scored(weeks={WEEK: 10**9}, topics={str(n): 1 for n in range(10_000)})
    heard = scored(likes_received={WEEK: 100})
    assert busy.score <= 40 == heard.score


def test_likes_and_shares_of_others_count_for_the_author_and_ones_own_do_not(pipeline):
    pipeline.put(
        [
            event("bo", "like", author="ann"),
            event("bo", "share", author="ann"),
            event("bo", "view", author="ann"),
            event("ann", "like", author="ann"),
            event("bo", "like"),
        ]
    )
    pipeline.run()
    ann = pipeline.profile("ann")

    assert ann["likes_received"] == {WEEK: 1}
    assert ann["shares_received"] == {WEEK: 1}
    assert ann["weeks"] == {WEEK: 1}
    assert pipeline.profile("bo")["likes_received"] == {}
    assert pipeline.verify().match


def test_a_user_whom_others_only_mention_has_a_profile_with_no_events(pipeline):
    pipeline.put([event("bo", "like", author="cy")])
    pipeline.run()
    assert pipeline.profile("cy")["events"] == 0
    assert pipeline.profile("cy")["likes_received"] == {WEEK: 1}


def test_a_score_is_stored_with_its_parts_and_matches_its_profile(pipeline, scores):
    pipeline.put([event(f"user{n}", author="ann") for n in range(50)])
    pipeline.run()
    summary = scores.run()
    assert (summary["items"], summary["items_skipped"], summary["profiles"]) == (51, 0, 51)
    ann = scores.profile("ann")
    assert (ann["score"], ann["reach"], ann["activity"]) == (30, 50, 0)
    assert ann["as_of"] == datetime(1998, 3, 30, tzinfo=UTC)
    verdict = scores.verify()
    assert verdict.match
    assert verdict.against == "the profiles of user_profiles as they are"


def test_a_second_run_makes_nothing_anew_and_new_events_only_what_changed(pipeline, scores):
    pipeline.put([event(f"user{n}", author="ann") for n in range(20)])
    pipeline.run()
    scores.run()
    before = bookkeeping(scores)
    again = scores.run()

    assert (again["items"], again["items_used"], again["items_skipped"]) == (21, 21, 21)
    assert again["profiles"] == 0
    assert bookkeeping(scores) == before

    pipeline.put([event("user3", "view", author="ann"), event("new")], NEXT)
    pipeline.run(NEXT)
    later = scores.run(NEXT)

    assert (later["items"], later["items_skipped"], later["profiles"]) == (22, 20, 2)

    after = bookkeeping(scores)
    changed = {user for user in after if after[user] != before.get(user)}

    assert changed == {"user3", "new"}
    assert scores.verify().match


def test_folding_a_partition_again_without_news_leaves_scores_as_they_are(pipeline, scores):
    pipeline.put([event("ann")])
    pipeline.run()
    scores.run()
    pipeline.run()  # the profile is written again, and says the same
    assert scores.run()["items_skipped"] == 1


def test_a_score_goes_with_its_profile_and_comes_back_with_it(pipeline, scores):
    pipeline.put([event("ann")])
    key = pipeline.put([event("bo")], name="b.jsonl")
    pipeline.run()
    scores.run()
    pipeline.remove(key)
    pipeline.run()

    assert not scores.verify().match
    assert scores.run()["items"] == 2
    assert scores.profile("bo") is None
    assert scores.verify().match

    pipeline.put([event("bo")], name="b.jsonl")
    pipeline.run()
    scores.run()

    assert scores.profile("bo")["activity"] == 1
    assert scores.verify().match


def test_profiles_are_cut_by_ranges_of_ids_that_leave_none_out(pipeline, scores):
    names = [
        "",
        "a.b",
        "Zoë",
        "\U0001f600",
        "\uffff",
        "1",
        "10",
        "2",
        *(f"u{n}" for n in range(40)),
    ]
    pipeline.put([event(name) for name in names if name])
    pipeline.run()
    several = scores.sized(5)
    work = several.plan()

    assert len(work.plans[0].batches) > 5

    several.work(work)
    batches = several.ledger.batches_of(several.ledger.plan(work.plans[0].id))

    assert sum(batch.outcome.items for batch in batches) == len(names) - 1
    assert several.run()["batches_reused"] == len(batches)
    assert several.verify().match


def test_a_run_that_was_not_folded_is_continued_and_a_folded_one_is_not(pipeline, scores):
    pipeline.put([event(f"user{n}") for n in range(30)])
    pipeline.run()
    several = scores.sized(5)
    died = several.plan()
    (first, *_rest) = died.to_run
    attempt_batch(several.ledger, several.store, first)
    summary = several.run()
    assert summary["batches_reused"] == 1
    assert several.run()["batches_reused"] == 0
    assert several.verify().match


def test_a_profile_that_cannot_be_scored_is_a_dead_letter_and_is_redriven(pipeline, scores):
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    pipeline.profiles.update_one({"_id": "bo"}, {"$set": {"weeks": "none"}})
    few = scores.tolerant(count=1)
    summary = few.run()

    assert (summary["items_used"], summary["dead_letters"]) == (1, 1)

    (letter,) = [letter for letter in few.letters() if letter["asset"] == "influence_scores"]

    assert (letter["block"], letter["place"]) == ("user_profiles", "profile bo")

    pipeline.profiles.update_one({"_id": "bo"}, {"$set": {"weeks": {WEEK: 1}}})
    again = few.redrive()

    assert (again["items"], again["items_used"], again["items_redriven"]) == (2, 2, 1)
    assert few.profile("bo")["activity"] == 1
    assert few.verify().match
