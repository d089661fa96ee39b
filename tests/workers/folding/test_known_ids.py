"""Profiles that have to be known: items of others are dead letters, until there is a document."""

import pytest

from tests.support.pipeline import USER_TASK, event
from tests.workers.folding.conftest import user_of
from workers.declare import Task
from workers.errors import Refused


@pytest.fixture
def known(users):
    return users.changed(known_only=True).tolerant(count=5)


def test_an_item_of_a_profile_without_a_document_is_a_dead_letter(known):
    known.put([event("ann"), event("cy"), event("bo"), event("cy")])
    summary = known.run()
    assert (summary["items_used"], summary["dead_letters"]) == (2, 2)
    assert user_of(known, "cy") is None
    assert {each["reason"] for each in known.letters()} == {"no document of users has user_id 'cy'"}
    assert [each["place"] for each in known.letters()] != []
    assert known.verify().match


def test_an_item_is_used_whole_or_not_at_all(known):
    """A like counts for who likes, and for the author."""
    known.put([event("ann", author="cy"), event("ann", author="bo")])
    assert known.run()["dead_letters"] == 1
    assert user_of(known, "ann")["events"] == 1
    assert known.verify().match


def test_a_redrive_uses_the_items_of_a_profile_that_has_got_a_document(known):
    known.put([event("ann"), event("cy")])
    known.run()
    known.database["users"].insert_one({"user_id": "cy", "name": "Cy"})
    known.redrive()
    assert (user_of(known, "cy")["events"], user_of(known, "cy")["name"]) == (1, "Cy")
    assert known.verify().match


def test_a_task_that_cannot_tell_by_which_item_a_row_is_cannot_know_profiles(known, monkeypatch):
    monkeypatch.setattr(
        "workers.tasks.user_profiles.task",
        Task(USER_TASK.item, USER_TASK.fields, USER_TASK.contributions, USER_TASK.derive),
    )
    known.put([event("ann")])
    with pytest.raises(Refused, match="by_item=True"):
        known.run()
