"""What `fanfold plan` says of changed code: what changed, what it costs, what is reused."""

import inspect

import pytest

from tests.support.pipeline import DAY, USER_TASK, event
from workers.declare import Task
from workers.declare.versions import versions_of
from workers.planning.changed_code import NOT_RECORDED
from workers.tasks import user_profiles

NEXT = "1998-04-02"
SOURCE = inspect.getsource(user_profiles)
A_COMMENT = ('"""Return what each action', '"""Tell what each action')
DERIVE = ("strength > 0", "strength > 1")
WEIGHTS = ('"like": 4', '"like": 5')


def edit(monkeypatch, *replacements):
    """Let the code be as after an edit of the task's file."""
    source = SOURCE
    for old, new in replacements:
        assert old in source
        source = source.replace(old, new)
    task = Task(USER_TASK.item, USER_TASK.fields, USER_TASK.contributions, USER_TASK.derive)
    task.__dict__["versions"] = versions_of(source)
    monkeypatch.setattr("workers.tasks.user_profiles.task", task)


@pytest.fixture
def ran(pipeline):
    """Two partitions of a batch each, which mention three profiles."""
    pipeline.put([event("ann"), event("bo")])
    pipeline.put([event("ann"), event("cy")], NEXT)
    pipeline.run(DAY, NEXT)
    return pipeline


def code(pipeline, *days):
    return pipeline.preview(*(days or (DAY, NEXT))).summary["code"]


def test_nothing_is_said_where_nothing_was_run_before(pipeline):
    pipeline.put([event("ann")])
    assert code(pipeline, DAY)["text"] == ""


def test_a_comment_or_formatting_leaves_nothing_to_do(ran, monkeypatch):
    edit(monkeypatch, A_COMMENT)
    change = code(ran)
    assert change["is_idle"]
    assert change["text"] == (
        "The code does what it did; comments and formatting do not count. "
        "Nothing is to do: 2 batches are reused."
    )


def test_a_change_of_derive_reads_no_block_and_shows_profiles_anew(ran, monkeypatch):
    edit(monkeypatch, DERIVE)
    change = code(ran)
    assert change["changed"] == ["derive"]
    assert (change["batches_again"], change["blocks_again"], change["batches_reused"]) == (0, 0, 2)
    assert (change["partitions_shown_anew"], change["profiles_shown_anew"]) == (2, 3)
    assert not change["is_idle"]
    assert change["text"] == (
        "Changed code: derive. For it no block is read. Profiles of 2 partitions are shown anew, "
        "at most 3 profiles. 2 batches are reused."
    )


def test_a_change_of_what_items_say_runs_batches_again(ran, monkeypatch):
    edit(monkeypatch, WEIGHTS)
    change = code(ran)
    assert change["changed"] == ["TOPIC_WEIGHTS"]
    assert (change["partitions_again"], change["batches_again"]) == (2, 2)
    assert (change["blocks_again"], change["batches_reused"]) == (2, 0)
    assert change["bytes_again"] == ran.preview(DAY, NEXT).summary["bytes"]
    assert change["seconds_again"] >= 0
    assert change["text"].startswith(
        "Changed code: TOPIC_WEIGHTS. For it 2 batches of 2 partitions are run again: 2 blocks ("
    )
    assert change["text"].endswith("s of work. 0 batches are reused.")


def test_a_change_of_both_tells_both(ran, monkeypatch):
    edit(monkeypatch, DERIVE, WEIGHTS)
    change = code(ran)
    assert change["changed"] == ["TOPIC_WEIGHTS", "derive"]
    assert (change["batches_again"], change["profiles_shown_anew"]) == (2, 3)


def test_what_is_new_is_told_apart_from_what_is_run_for_the_code(ran, monkeypatch):
    ran.put([event("dee")], name="b.jsonl")
    ran.put([event("ann")], "1998-04-03")
    edit(monkeypatch, WEIGHTS)
    change = code(ran.sized(1), DAY, NEXT, "1998-04-03")
    assert (change["partitions_again"], change["blocks_again"]) == (2, 2)
    assert change["batches_beside"] == 2
    assert change["text"].endswith("and 2 other batches are run in any case.")


def test_a_new_block_alone_is_no_change_of_the_code(ran):
    ran.put([event("dee")], name="b.jsonl")
    change = code(ran)
    assert (change["changed"], change["batches_again"], change["is_idle"]) == ([], 0, False)
    assert change["text"].endswith(
        "do not count. 2 batches are reused, and 1 other batch is run in any case."
    )


def test_a_removed_block_leaves_something_to_do(ran):
    ran.put([event("dee")], name="b.jsonl")
    ran.run()
    ran.remove(f"events/dt={DAY}/b.jsonl")
    assert not code(ran)["is_idle"]


def test_code_that_goes_back_to_what_it_was_finds_its_results(ran, monkeypatch):
    edit(monkeypatch, WEIGHTS)
    ran.run(DAY, NEXT)
    edit(monkeypatch)
    change = code(ran)
    assert (change["changed"], change["batches_again"]) == (["TOPIC_WEIGHTS"], 0)
    assert change["text"] == (
        "Changed code: TOPIC_WEIGHTS. For it no block is read. 2 batches are reused."
    )


def test_profiles_are_held_against_the_code_that_made_them_not_against_a_run_that_failed(
    ran, monkeypatch
):
    edit(monkeypatch, WEIGHTS)
    ran.plan(DAY)  # and no further
    edit(monkeypatch, A_COMMENT)
    assert code(ran)["is_idle"]


def test_code_that_the_ledger_does_not_know_is_named_so(ran, monkeypatch):
    ran.database["code"].delete_many({})
    edit(monkeypatch, WEIGHTS)
    change = code(ran)
    assert (change["changed"], change["batches_again"]) == ([NOT_RECORDED], 2)


def test_plans_that_say_no_version_of_what_is_shown_are_shown_anew(ran):
    """As those of before it was kept."""
    ran.database["plans"].update_many({}, {"$unset": {"shown_version": ""}})
    change = code(ran)
    assert (change["changed"], change["profiles_shown_anew"]) == ([NOT_RECORDED], 3)
    assert change["batches_reused"] == 2


def test_a_profile_that_failed_is_tried_again_and_so_something_is_to_do(pipeline):
    rule = {"$jsonSchema": {"properties": {"events": {"maximum": 1}}}}
    pipeline.database.create_collection("user_profiles", validator=rule)
    pipeline.put([event("ann"), event("ann")])
    pipeline.run()
    assert not code(pipeline, DAY)["is_idle"]
