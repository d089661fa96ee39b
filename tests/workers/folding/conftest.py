"""What tests of documents that others own share: their collection, and what fields begin with."""

from dataclasses import replace

import pytest

from tests.support.pipeline import USER_TASK
from workers.declare import Task


def beginning(monkeypatch, *names):
    """Let fields of the task begin with what documents say."""
    fields = {
        name: replace(field, adopt="begin") if name in names else field
        for name, field in USER_TASK.fields.items()
    }
    task = Task(USER_TASK.item, fields, USER_TASK.contributions, USER_TASK.derive)
    monkeypatch.setattr("workers.tasks.user_profiles.task", task)


@pytest.fixture
def users(pipeline):
    """Profiles in the documents of an application, which have ids of MongoDB's own."""
    users = pipeline.database["users"]
    users.create_index("user_id", unique=True)
    users.insert_many({"user_id": user, "name": user.title()} for user in ("ann", "bo"))
    return pipeline.changed(collection="users", key="user_id")


def user_of(pipeline, user):
    return pipeline.database["users"].find_one({"user_id": user}, {"_id": 0, "_fold": 0})
