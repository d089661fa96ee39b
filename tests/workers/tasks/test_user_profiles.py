import pandas as pd
import pyarrow as pa
import pytest

from tests.support.pipeline import event
from workers.declare import Task
from workers.declare.task import load_task
from workers.errors import Refused
from workers.sources.formats.lines import Lines
from workers.sources.items import ItemReader
from workers.tasks.user_profiles import Event, derive


def test_the_fields_of_a_profile_follow_from_its_events(pipeline):
    pipeline.put(
        [
            event("ann", "like", "1998-04-01T10:00:00Z", item="Alien", topics=["Horror", "Sci-Fi"]),
            event("ann", "view", "1998-04-01T09:00:00Z", item="Big", topics=["Comedy"]),
            event("ann", "dislike", "1998-04-01T11:00:00Z", item="Big", topics=["Comedy"]),
            event("ann", "wave", "1998-04-01T12:00:00Z", topics=["Horror"]),
        ]
    )
    pipeline.run()
    profile = pipeline.profile("ann")

    assert profile["events"] == 4
    assert profile["actions"] == {"like": 1, "view": 1, "dislike": 1, "wave": 1}
    assert profile["topics"] == {"Horror": 4, "Sci-Fi": 4, "Comedy": -3}
    assert profile["liked"] == ["Alien"]
    assert profile["first_seen"].isoformat() == "1998-04-01T09:00:00+00:00"
    assert profile["last_seen"].isoformat() == "1998-04-01T12:00:00+00:00"
    assert profile["preferences"] == [
        {"topic": "Horror", "weight": 0.5},
        {"topic": "Sci-Fi", "weight": 0.5},
    ]


def test_the_latest_opinion_of_an_item_rules_whatever_the_order(pipeline):
    pipeline.put(
        [
            event(action="dislike", ts=891388800 + 300, item="Big"),
            event(action="like", ts=891388800 + 200, item="Big"),
            event(action="like", ts=891388800 + 100, item="Alien"),
        ]
    )
    pipeline.run()
    assert pipeline.profile("ann")["liked"] == ["Alien"]


def test_preferences_are_the_twenty_strongest_and_add_up_to_one():
    topics = {f"t{n:02}": n for n in range(-3, 40)}
    preferences = derive({"topics": topics})["preferences"]
    assert [preference["topic"] for preference in preferences] == [
        f"t{n:02}" for n in range(39, 19, -1)
    ]
    assert sum(preference["weight"] for preference in preferences) == pytest.approx(1, abs=1e-12)


def test_a_user_who_likes_nothing_has_no_preferences():
    assert derive({"topics": {"War": -4}}) == {"preferences": []}


def test_an_event_without_item_or_topics_counts(pipeline):
    pipeline.put([event(topics=None, item=None), event(author="bo")])
    pipeline.run()
    assert pipeline.profile("ann")["events"] == 2
    assert pipeline.profile("ann")["liked"] == []


def test_events_become_columns_with_times_as_milliseconds():
    reader = ItemReader(Event)
    line = b'{"user":"a","action":"like","ts":891388800.5}'
    items = reader.items(Lines(0, [line]), pytest.fail).items
    frame = reader.frame(items)
    assert frame["ts"].tolist() == [891388800500]
    assert list(frame.columns) == ["user", "action", "ts", "item", "topics", "author"]


@pytest.mark.parametrize("kind", [object, pd.ArrowDtype(pa.list_(pa.string()))], ids=str)
def test_topics_weigh_what_the_action_says_whatever_pandas_holds_the_lists_in(kind):
    events = pd.DataFrame(
        {
            "user": ["ann", "bo", "bo", "cy", "dan"],
            "action": ["like", "view", "wave", "dislike", "view"],
            "ts": [891388800000] * 5,
            "item": None,
            "topics": pd.Series([["War", "Drama"], ["War"], ["War"], None, []], dtype=kind),
            "author": None,
        }
    ).astype({"item": "str", "author": "str"})
    topics = load_task("user_profiles").contribute(events)["topics"]
    assert topics[["profile", "key", "value"]].values.tolist() == [
        ["ann", "War", 4],
        ["ann", "Drama", 4],
        ["bo", "War", 1],
    ]


def test_a_task_that_contributes_to_an_undeclared_field_is_refused_by_name():
    declared = load_task("user_profiles")

    def task(contributions):
        return Task(declared.item, declared.fields, contributions)

    frame = pd.DataFrame({"user": ["a"]})
    with pytest.raises(Refused, match="'karma'"):
        task(lambda _: {"karma": frame}).contribute(frame)
    with pytest.raises(Refused, match="profile, value"):
        task(lambda items: {"events": items}).contribute(frame)
    with pytest.raises(Refused, match="no task 'nothing'"):
        load_task("nothing")
