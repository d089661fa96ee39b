"""The commands that look at one profile."""

import json

import pytest

from tests.pipelines.conftest import told
from tests.support.pipeline import DAY, event

NEXT = "1998-04-02"


@pytest.fixture
def ann(pipeline):
    """A profile of two days with long maps, in a document that holds a field of others."""
    topics = [f"topic {n}" for n in range(15)]
    pipeline.put([event("ann", "view", topics=topics[: n + 1]) for n in range(15)])
    pipeline.put([event("ann", item="a, b"), event("bo")], NEXT)
    pipeline.run(DAY, NEXT)
    pipeline.profiles.update_one({"_id": "ann"}, {"$set": {"name": "Ann Lee"}})
    return pipeline


def is_narrow(text):
    return max(map(len, text.splitlines())) <= 80


def test_a_profile_is_shown_with_its_partitions_and_the_fields_of_others(ann, fanfold):
    code, out, _ = fanfold("show", "user_profiles", "ann")
    assert code == 0
    assert is_narrow(out)
    assert "  events           16\n" in out
    assert "topic 0 15, topic 1 14" in out
    assert "and 5 more" in " ".join(out.split())
    assert "name  Ann Lee" in out
    assert "made of 2 partitions, 2 batches" in out
    assert f"  {DAY}  events 15\n" in out

    _, document = told(fanfold("show", "user_profiles", "ann", "--json"))
    assert document["fields"]["events"] == 16
    assert document["fields"]["topics"]["topic 14"] == 1
    assert [row["partition"] for row in document["partitions"]] == [DAY, NEXT]
    assert [row["says"]["events"] for row in document["partitions"]] == [15, 1]


@pytest.mark.parametrize("command", ["show", "explain"])
def test_the_help_ends_with_lines_to_type(fanfold, command):
    _, out, _ = fanfold(command, "--help")
    assert is_narrow(out)
    assert f"\n    fanfold {command} user_profiles 405" in out


@pytest.mark.parametrize("command", ["show", "explain"])
def test_a_profile_that_does_not_exist_is_one_sentence(ann, fanfold, command):
    code, out, err = fanfold(command, "user_profiles", "cy")
    assert (code, out, err) == (2, "", "fanfold: user_profiles has no profile 'cy'\n")


def test_explain_lists_as_many_items_as_the_number_says(ann, fanfold):
    _, document = told(fanfold("explain", "user_profiles", "ann", "events", "--json"))
    assert document["value"]["events"] == len(document["items"]) == 16
    assert not document["has_more_items"]
    assert [row["says"]["events"] for row in document["batches"]] == [15, 1]
    assert document["batches"][0]["blocks"] == [f"events/dt={DAY}/a.jsonl"]
    assert document["read"]["ranges"] == 2


def test_explain_stops_at_a_limit_and_says_how_to_go_on(ann, fanfold):
    code, out, _ = fanfold("explain", "user_profiles", "ann", "topics.topic 2", "--limit", "3")
    assert code == 0
    assert is_narrow(out)
    assert "3 items, and there are more: --limit N" in out
    assert out.count(": topics topic 2 1\n") == 3
    assert f"    events/dt={DAY}/a.jsonl\n" in out
    assert "1 range" in out


def test_explain_of_a_whole_profile_names_what_could_not_be_read(ann, fanfold):
    ann.put([event("bo")], NEXT)
    code, out, _ = fanfold("explain", "user_profiles", "ann")
    assert code == 0
    assert is_narrow(out)
    assert "15 items\n" in out
    assert f"not read: s3://{ann.store.bucket}/events/dt={NEXT}/a.jsonl" in out


def test_a_value_that_somebody_else_wrote_is_told_apart(ann, fanfold):
    ann.profiles.update_one({"_id": "ann"}, {"$set": {"events": 99}})
    _, out, _ = fanfold("explain", "user_profiles", "ann", "events")
    assert "MongoDB holds another value" in out
    document = json.loads(fanfold("explain", "user_profiles", "ann", "events", "--json")[1])
    assert not document["is_as_stored"]
