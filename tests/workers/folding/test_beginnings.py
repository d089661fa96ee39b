"""Profiles begin with what documents say when they are written, whoever changes that before."""

from dataclasses import replace

import pytest

from tests.support.anew import rebuild
from tests.support.pipeline import DAY, USER_TASK, event
from workers.declare import Task
from workers.folding import writing

NEXT = "1998-04-02"


def level(profile):
    """Make a field whose name nobody knows before."""
    return {f"level{profile['events']}": True}


@pytest.fixture(autouse=True)
def task(monkeypatch):
    """A task whose sum of events begins with what documents say."""
    fields = USER_TASK.fields | {"events": replace(USER_TASK.fields["events"], adopt="begin")}
    task = Task(USER_TASK.item, fields, USER_TASK.contributions, level)
    monkeypatch.setattr("workers.tasks.user_profiles.task", task)


def says(pipeline, user, events):
    profile = pipeline.profile(user)
    assert profile["events"] == events
    assert [name for name in profile if name.startswith("level")] == [f"level{events}"]
    assert pipeline.verify().match


def test_a_value_that_changes_while_its_document_is_adopted_counts(pipeline, monkeypatch):
    pipeline.profiles.insert_one({"_id": "ann", "events": 3})
    real = writing.write_all
    increments = [{"$inc": {"events": 10}}]

    def changed_before(profiles, writes):
        if increments:
            pipeline.profiles.update_one({"_id": "ann"}, increments.pop())
        return real(profiles, writes)

    monkeypatch.setattr(writing, "write_all", changed_before)
    pipeline.put([event("ann")])
    pipeline.run()
    says(pipeline, "ann", 14)


def test_a_document_that_comes_before_a_rebuild_swaps_is_begun_with(pipeline):
    pipeline.put([event("ann"), event("bo")])
    rebuild(pipeline, lambda: pipeline.profiles.insert_one({"_id": "bo", "events": 3}))
    says(pipeline, "bo", 4)
    pipeline.run()
    says(pipeline, "bo", 4)


def test_a_value_that_changes_before_a_rebuild_swaps_counts(pipeline):
    pipeline.profiles.insert_one({"_id": "bo", "events": 1})
    pipeline.put([event("ann"), event("bo")])
    more = {"$inc": {"events": 1}}
    rebuild(pipeline, lambda: pipeline.profiles.update_one({"_id": "bo"}, more))
    says(pipeline, "bo", 3)


def test_what_a_run_adopts_before_a_rebuild_swaps_is_begun_with(pipeline):
    pipeline.put([event("ann"), event("bo")])

    def adopt():
        pipeline.profiles.insert_one({"_id": "bo", "events": 3})
        pipeline.run()

    rebuild(pipeline, adopt)
    says(pipeline, "bo", 4)


def test_what_a_run_adopts_that_the_rebuild_says_nothing_of_is_kept(pipeline):
    pipeline.put([event("ann")])

    def adopt():
        pipeline.profiles.insert_one({"_id": "bo", "events": 3})
        pipeline.put([event("bo")], NEXT)
        pipeline.run(NEXT)

    rebuild(pipeline, adopt)
    pipeline.remove(f"events/dt={NEXT}/a.jsonl")
    pipeline.run(NEXT, drop_removed=True)
    says(pipeline, "bo", 3)


def test_a_value_of_another_kind_fails_its_profile_in_a_rebuild_and_no_other(pipeline):
    pipeline.profiles.insert_one({"_id": "bo", "events": "many"})
    pipeline.put([event("ann"), event("bo")])
    summary = rebuild(pipeline)
    assert summary["profiles_failed"] == 1
    (failed,) = pipeline.ledger.last_plan("user_profiles", DAY).failed_profiles
    assert (failed.profile, failed.field) == ("bo", "events")
    assert pipeline.profile("bo") == {"_id": "bo", "events": "many"}
    assert pipeline.profile("ann")["events"] == 1


def test_a_value_that_comes_to_be_of_another_kind_before_a_rebuild_swaps_stays(pipeline):
    pipeline.put([event("ann"), event("bo")])
    rebuild(pipeline, lambda: pipeline.profiles.insert_one({"_id": "bo", "events": "many"}))
    assert pipeline.profile("bo") == {"_id": "bo", "events": "many"}
    assert pipeline.profile("ann")["events"] == 1


def test_a_document_that_comes_without_a_value_before_a_rebuild_swaps_is_kept_in_the_end(pipeline):
    pipeline.put([event("ann"), event("bo")])
    rebuild(pipeline, lambda: pipeline.profiles.insert_one({"_id": "bo"}))
    says(pipeline, "bo", 1)
    pipeline.put([event("ann")])
    pipeline.run(drop_removed=True)
    assert pipeline.profile("bo") == {"_id": "bo"}


def test_a_field_that_is_made_of_a_beginning_alone_is_fanfolds(pipeline):
    pipeline.profiles.insert_one({"_id": "bo", "events": 9})
    pipeline.put([event("bo"), event("ann")])
    pipeline.run()
    pipeline.put([event("ann")])
    rebuild(pipeline)
    says(pipeline, "bo", 9)
