"""Documents that others own: they keep what is theirs, whatever Fanfold does to its part."""

import threading
from datetime import UTC, datetime

import pytest

from tests.support.anew import rebuild
from tests.support.pipeline import DAY, USER_TASK, event
from tests.workers.folding.conftest import beginning
from workers.contributions.fields import Latest, LatestBy, Max, Min, Set, Sum, SumBy
from workers.declare import Task

NEXT = "1998-04-02"


def theirs(pipeline, user="ann"):
    return {name: pipeline.profile(user).get(name) for name in ("name", "address")}


ANN = {"name": "Ann", "address": {"town": "Ulm"}}


def test_a_document_that_was_there_before_becomes_a_profile_and_keeps_its_fields(pipeline):
    pipeline.profiles.insert_one({"_id": "ann", **ANN})
    pipeline.put([event("ann")])
    summary = pipeline.run()
    assert pipeline.profile("ann")["events"] == 1
    assert theirs(pipeline) == ANN
    assert (summary["documents_adopted"], summary["values_replaced"]) == (1, 0)
    assert pipeline.verify().match


def test_a_value_of_a_field_of_fanfold_gives_way_and_is_counted(pipeline):
    pipeline.profiles.insert_one({"_id": "ann", "events": 70, "preferences": ["old"], "name": "A"})
    pipeline.put([event("ann")])
    summary = pipeline.run()
    assert pipeline.profile("ann")["events"] == 1
    assert summary["values_replaced"] == 2
    assert pipeline.verify().match


@pytest.fixture
def owned(pipeline):
    """A profile to which its owner adds fields between two folds."""
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    pipeline.profiles.update_one({"_id": "ann"}, {"$set": ANN})
    return pipeline


def test_fields_that_are_set_on_a_profile_stay_when_it_is_folded_again(owned):
    owned.put([event("ann")], name="b.jsonl")
    owned.run()
    assert owned.profile("ann")["events"] == 2
    assert theirs(owned) == ANN
    assert owned.verify().match


def test_a_profile_with_fields_of_others_is_as_it_was_written(owned):
    """So it is merged with what is new, and not computed anew from all results."""
    profile = owned.profiles.find_one({"_id": "ann"})
    owned.profiles.delete_one({"_id": "ann"})
    moved = {name: profile[name] for name in ("_id", "name", "_fold", "events")}
    owned.profiles.insert_one(moved | profile)
    for block in owned.store.list("_fanfold/results/"):
        owned.store.delete(block.key)
    owned.put([event("ann")], NEXT)
    owned.run(NEXT)
    assert owned.profile("ann")["events"] == 2


def test_fields_of_others_stay_when_a_block_is_replaced(owned):
    owned.put([event("ann"), event("ann")])
    owned.run()
    assert owned.profile("ann")["events"] == 2
    assert theirs(owned) == ANN


def test_a_profile_of_which_nothing_is_left_leaves_its_document_to_its_owner(owned):
    owned.put([event("cy")])
    owned.run(drop_removed=True)
    assert owned.profiles.find_one({"_id": "ann"}) == {"_id": "ann", **ANN}
    assert owned.profile("bo") is None
    assert owned.verify().match


def test_a_document_that_its_owner_made_of_a_profile_can_become_one_again(owned):
    owned.put([event("cy")])
    owned.run(drop_removed=True)
    owned.put([event("ann")], name="b.jsonl")
    owned.run()
    assert owned.profile("ann")["events"] == 1
    assert theirs(owned) == ANN
    assert owned.verify().match


def test_a_rebuild_keeps_the_fields_of_others(owned):
    owned.profiles.insert_one({"_id": "eve", "name": "Eve"})
    rebuild(owned)
    assert theirs(owned) == ANN
    assert owned.profile("eve") == {"_id": "eve", "name": "Eve"}
    assert owned.verify().match


def test_a_rebuild_leaves_the_document_of_a_profile_that_is_gone_to_its_owner(owned):
    owned.put([event("cy")])
    rebuild(owned)
    assert owned.profiles.find_one({"_id": "ann"}) == {"_id": "ann", **ANN}
    assert owned.profile("bo") is None
    assert owned.verify().match


def test_fields_that_are_set_without_a_pause_all_stay(owned):
    """Through folds, replaced blocks, removals, redrives and a rebuild."""
    users = ["ann", "bo", "cy"]
    is_over = threading.Event()
    last = {}

    def keep_setting():
        number = 0
        while not is_over.is_set():
            number += 1
            for user in users:
                done = owned.profiles.update_one({"_id": user}, {"$set": {"seen": number}})
                if done.matched_count:
                    last[user] = number

    owner = threading.Thread(target=keep_setting)
    owner.start()
    try:
        for number in range(1, 5):
            owned.put([event("ann"), event("bo")] * number + [event("cy")] * (number % 2))
            owned.run(drop_removed=True)
        owned.redrive()
        rebuild(owned)
        rebuild(owned)
    finally:
        is_over.set()
        owner.join()

    for user in ("ann", "bo"):
        assert owned.profile(user)["seen"] == last[user]
    assert owned.verify().match


def test_a_field_that_a_task_no_longer_has_goes_from_its_documents(owned, monkeypatch):
    fields = {name: field for name, field in USER_TASK.fields.items() if name != "events"}

    def contributions(items):
        said = USER_TASK.contributions(items)
        return {name: said[name] for name in fields}

    changed = Task(USER_TASK.item, fields, contributions)
    monkeypatch.setattr("workers.tasks.user_profiles.task", changed)
    owned.run()
    assert set(owned.profile("ann")) == {"_id", *fields, *ANN}
    assert owned.verify().match


# Profiles that begin with what a document said


BEFORE = {"_id": "ann", "events": 10, "actions": {"like": 5, "wave": 1}, "name": "Ann"}


@pytest.fixture
def begun(pipeline, monkeypatch):
    """A profile that begins with ten events."""
    beginning(monkeypatch, "events", "actions")
    pipeline.profiles.insert_one(BEFORE)
    pipeline.put([event("ann"), event("ann", "view")])
    pipeline.run()
    return pipeline


def says(pipeline, events, actions):
    profile = pipeline.profile("ann")
    assert (profile["events"], profile["actions"]) == (events, actions)
    assert profile["name"] == "Ann"
    assert pipeline.verify().match


def test_a_profile_begins_with_what_its_document_said(begun):
    says(begun, 12, {"like": 6, "wave": 1, "view": 1})


def test_what_a_profile_began_with_stays_under_all_later_folds(begun):
    begun.put([event("ann")])
    begun.run()
    says(begun, 11, {"like": 6, "wave": 1})
    begun.put([event("ann")], NEXT)
    begun.run(NEXT)
    says(begun, 12, {"like": 7, "wave": 1})


def test_a_profile_of_which_nothing_is_left_says_what_it_began_with(begun):
    begun.put([event("bo")])
    begun.run(drop_removed=True)
    says(begun, 10, {"like": 5, "wave": 1})


def test_a_rebuild_keeps_what_profiles_began_with(begun):
    rebuild(begun)
    says(begun, 12, {"like": 6, "wave": 1, "view": 1})


def test_a_rebuild_keeps_what_a_profile_began_with_of_which_nothing_else_is_left(begun):
    begun.put([event("bo")])
    rebuild(begun)
    says(begun, 10, {"like": 5, "wave": 1})


def test_a_rebuild_adopts_documents_that_no_run_has_met(begun):
    begun.profiles.insert_one({"_id": "bo", "events": 3})
    begun.put([event("bo")], NEXT)
    rebuild(begun)
    assert begun.profile("bo")["events"] == 4
    assert begun.verify().match


def test_a_value_of_another_kind_fails_its_profile_by_name_and_no_other(pipeline, monkeypatch):
    beginning(monkeypatch, "events")
    pipeline.profiles.insert_one({"_id": "ann", "events": "many"})
    pipeline.put([event("ann"), event("bo")])
    summary = pipeline.run()
    assert summary["profiles_failed"] == 1
    (failed,) = pipeline.ledger.last_plan("user_profiles", DAY).failed_profiles
    assert (failed.profile, failed.field) == ("ann", "events")
    assert "before Fanfold: int is needed, not 'many'" in failed.why
    assert pipeline.profile("ann") == {"_id": "ann", "events": "many"}
    assert pipeline.profile("bo")["events"] == 1


@pytest.mark.parametrize(
    ("field", "value", "state"),
    [
        (Sum(), 3, 3),
        (Sum(float), 0.75, "3p-2"),
        (Sum(float), 3, "3p0"),
        (SumBy(), {"a.b": 2}, {"a%2Eb": 2}),
        (Min(datetime), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1000),
        (Max(bool), True, 1),
        (Set(), ["b", "a.b"], {"b": 1, "a%2Eb": 1}),
        (Latest(str), "x", [-62_135_596_800_000, "x"]),
        (LatestBy(int), {"k": 4}, {"k": [-62_135_596_800_000, 4]}),
    ],
    ids=str,
)
def test_a_value_of_a_reader_is_read_back_as_a_state(field, value, state):
    assert field.state_of(value) == state


@pytest.mark.parametrize(
    ("field", "value"),
    [(Sum(), True), (Sum(), 1.5), (Sum(float), float("nan")), (SumBy(), [1]), (Set(), "ab")],
    ids=str,
)
def test_a_value_that_is_no_state_is_refused(field, value):
    with pytest.raises((TypeError, ValueError)):
        field.state_of(value)
