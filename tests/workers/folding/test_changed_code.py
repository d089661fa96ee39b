"""Changed code redoes what it changes: what profiles show reads no block, and no result whole."""

from tests.support.pipeline import DAY, USER_TASK, event
from workers.declare import Task

NEXT = "1998-04-02"


def derives(monkeypatch, derive, shown_version):
    """Let profiles show what they hold by other code."""
    task = Task(USER_TASK.item, USER_TASK.fields, USER_TASK.contributions, derive)
    task.__dict__["shown_version"] = shown_version
    monkeypatch.setattr("workers.tasks.user_profiles.task", task)


def test_profiles_of_a_partition_show_what_they_hold_by_the_code_as_it_is(pipeline, monkeypatch):
    pipeline.put([event("ann"), event("bo")])
    pipeline.put([event("ann")], NEXT)
    pipeline.run(DAY, NEXT)
    derives(monkeypatch, lambda profile: {"is_busy": profile["events"] > 1}, "other")

    opened = []
    real = pipeline.store.open
    monkeypatch.setattr(
        pipeline.store, "open", lambda key, *range_: opened.append(key) or real(key, *range_)
    )
    summary = pipeline.run(DAY, NEXT)
    assert (summary["batches"], summary["batches_reused"]) == (2, 2)
    assert opened == []
    assert (pipeline.profile("ann")["is_busy"], pipeline.profile("bo")["is_busy"]) == (True, False)
    assert "preferences" not in pipeline.profile("ann")
    assert pipeline.verify().match


def test_profiles_are_shown_anew_once(pipeline, monkeypatch):
    pipeline.put([event("ann")])
    pipeline.run()
    derives(monkeypatch, lambda _: {"level": 1}, "other")
    pipeline.run()
    version = pipeline.profiles.find_one({"_id": "ann"})["_fold"]["version"]
    pipeline.run()
    assert pipeline.profiles.find_one({"_id": "ann"})["_fold"]["version"] == version
