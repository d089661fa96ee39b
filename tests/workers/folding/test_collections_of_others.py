"""Collections that applications own: where profiles are in them, and what they do not take."""

import pytest

from tests.support.anew import rebuild
from tests.support.pipeline import DAY, USER_TASK, event
from tests.workers.folding.conftest import beginning, user_of
from workers.declare import Task
from workers.errors import Refused

NEXT = "1998-04-02"

# What a collection does not take


def test_a_document_that_a_validator_refuses_fails_by_name_and_the_others_go_on(pipeline):
    rule = {"$jsonSchema": {"properties": {"events": {"maximum": 1}}}}
    pipeline.database.create_collection("user_profiles", validator=rule)
    pipeline.put([event("ann"), event("ann"), event("bo")])
    assert pipeline.run()["profiles_failed"] == 1
    (failed,) = pipeline.ledger.last_plan("user_profiles", DAY).failed_profiles
    assert (failed.profile, failed.why) == (
        "ann",
        "the collection's validator refuses the document",
    )
    assert pipeline.profile("bo")["events"] == 1


def test_a_document_that_a_unique_index_refuses_fails_by_name(pipeline):
    pipeline.profiles.create_index("email", unique=True)
    pipeline.put([event("ann"), event("bo")])
    assert pipeline.run()["profiles_failed"] == 1
    (failed,) = pipeline.ledger.last_plan("user_profiles", DAY).failed_profiles
    assert failed.why == "a unique index of the collection refuses the document (on email)"


def test_a_name_that_derive_cannot_give_fails_its_profile(pipeline, monkeypatch):
    task = Task(USER_TASK.item, USER_TASK.fields, USER_TASK.contributions, lambda _: {"a.b": 1})
    monkeypatch.setattr("workers.tasks.user_profiles.task", task)
    pipeline.put([event("ann")])
    assert pipeline.run()["profiles_failed"] == 1


# Collections of applications


def test_profiles_are_in_the_collection_of_an_application_found_by_a_field_of_it(users):
    before = {each["user_id"]: each["_id"] for each in users.database["users"].find()}
    users.put([event("ann"), event("cy")])
    summary = users.run()
    assert summary["documents_adopted"] == 1
    assert (user_of(users, "ann")["name"], user_of(users, "ann")["events"]) == ("Ann", 1)
    assert user_of(users, "bo") == {"user_id": "bo", "name": "Bo"}
    assert user_of(users, "cy")["events"] == 1
    after = {each["user_id"]: each["_id"] for each in users.database["users"].find()}
    assert before.items() <= after.items()
    assert "user_profiles" not in users.database.list_collection_names()
    assert users.verify().match


def test_there_too_documents_keep_what_is_theirs_and_those_of_fanfold_are_deleted(users):
    users.put([event("ann"), event("cy")])
    users.run()
    users.put([event("dee")])
    users.run(drop_removed=True)
    assert user_of(users, "ann") == {"user_id": "ann", "name": "Ann"}
    assert user_of(users, "cy") is None
    assert users.verify().match


def test_a_document_that_says_nothing_but_its_id_is_never_deleted(users):
    users.database["users"].insert_one({"user_id": "cy"})
    users.put([event("cy")])
    users.run()
    users.put([event("dee")])
    users.run(drop_removed=True)
    assert user_of(users, "cy") == {"user_id": "cy"}


def test_there_too_a_profile_is_merged_with_what_is_new(users):
    users.put([event("ann")])
    users.run()
    for block in users.store.list("_fanfold/results/"):
        users.store.delete(block.key)
    users.put([event("ann")], NEXT)
    users.run(NEXT)
    assert user_of(users, "ann")["events"] == 2


def test_there_too_a_rebuild_keeps_documents_and_their_ids(users):
    users.put([event("ann"), event("cy")])
    users.run()
    before = {each["user_id"]: each["_id"] for each in users.database["users"].find()}
    users.put([event("ann"), event("ann"), event("dee")])
    rebuild(users)
    assert user_of(users, "ann")["events"] == 2
    assert user_of(users, "ann")["name"] == "Ann"
    assert (user_of(users, "cy"), user_of(users, "dee")["events"]) == (None, 1)
    after = {each["user_id"]: each["_id"] for each in users.database["users"].find()}
    assert after["ann"] == before["ann"]
    assert users.verify().match

    users.put([event("dee")])  # and `ann` was adopted by its first run: the rebuild remembers
    users.run(drop_removed=True)
    assert user_of(users, "ann") == {"user_id": "ann", "name": "Ann"}


def test_there_too_profiles_begin_with_what_documents_said(users, monkeypatch):
    beginning(monkeypatch, "events")
    users.database["users"].update_one({"user_id": "ann"}, {"$set": {"events": 40}})
    users.put([event("ann")])
    users.run()
    assert user_of(users, "ann")["events"] == 41
    rebuild(users)
    assert user_of(users, "ann")["events"] == 41
    assert users.verify().match


def test_a_key_without_a_unique_index_is_refused_with_the_way_out(users):
    users.database["users"].drop_index("user_id_1")
    users.put([event("ann")])
    with pytest.raises(Refused, match=r"createIndex\({user_id: 1}, {unique: true}\)") as refused:
        users.run()
    assert is_untouched(users)
    assert users.preview().summary["remarks"] == [str(refused.value)]


def is_untouched(pipeline):
    """Tell whether no run has written anything: neither to the ledger nor to S3."""
    names = set(pipeline.database.list_collection_names())
    of_tests = {"users", "user_profiles", "system.views", "system.buckets.user_profiles"}
    return names <= of_tests and not list(pipeline.store.list("_fanfold/"))


def test_a_unique_index_of_some_documents_alone_does_not_do(users):
    users.database["users"].drop_index("user_id_1")
    some = {"user_id": {"$exists": True}}
    users.database["users"].create_index("user_id", unique=True, partialFilterExpression=some)
    users.put([event("ann")])
    with pytest.raises(Refused, match="no unique index on user_id"):
        users.run()


@pytest.mark.parametrize("kind", ["a view", "a timeseries", "capped"])
def test_a_collection_whose_documents_cannot_change_is_refused(pipeline, kind):
    how = {
        "a view": {"viewOn": "users", "pipeline": []},
        "a timeseries": {"timeseries": {"timeField": "t"}},
        "capped": {"capped": True, "size": 4096},
    }
    pipeline.database.create_collection("user_profiles", **how[kind])
    pipeline.put([event("ann")])
    with pytest.raises(Refused, match=f"the collection user_profiles is {kind}"):
        pipeline.run()
    assert is_untouched(pipeline)


def test_a_rebuild_to_such_a_collection_is_refused_before_it_begins(pipeline):
    pipeline.put([event("ann")])
    pipeline.run()
    pipeline.database.create_collection("seen", viewOn="user_profiles", pipeline=[])
    before = pipeline.database.list_collection_names()
    with pytest.raises(Refused, match="the collection seen is a view"):
        rebuild(pipeline.changed(collection="seen"))
    assert pipeline.database.list_collection_names() == before
    assert pipeline.ledger.claims.latest_generation("user_profiles") == 0


def test_documents_whose_ids_are_no_text_are_refused_with_the_way_out(pipeline):
    pipeline.profiles.insert_one({"name": "Ann"})
    pipeline.put([event("ann")])
    with pytest.raises(Refused, match=r"an _id that is no text.*key="):
        pipeline.run()
    assert is_untouched(pipeline)


def test_profiles_move_to_another_collection_by_a_rebuild_alone(users):
    users.put([event("ann")])
    elsewhere = users.changed(collection="user_profiles", key="_id")
    elsewhere.run()
    with pytest.raises(Refused, match="`fanfold rebuild user_profiles` makes them there"):
        users.run()
    rebuild(users)
    assert user_of(users, "ann")["events"] == 1
    assert users.verify().match
