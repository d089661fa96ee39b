"""Explain: the items that make a number are as many as the number says."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.pipeline import DAY, event, fragile, lines
from workers.contributors import Question, made_of
from workers.errors import Refused
from workers.explain import Explanation
from workers.tasks import device_profiles, influence_scores

NEXT = "1998-04-02"


def explained(pipeline, profile_id, field=""):
    """Return what makes a profile, and its items."""
    made = made_of(*pipeline.four, profile_id)
    question = Question.of_text(pipeline.task, made, field)
    explanation = Explanation(pipeline.task, pipeline.ledger, pipeline.store, made, question)
    return explanation, list(explanation.items())


def of_users(*users, action="view"):
    return [event(user, action, 891388800 + n) for n, user in enumerate(users)]


def test_a_count_of_two_days_lists_its_items_with_partition_block_and_place(pipeline):
    first = pipeline.put(of_users("ann", "bo", "ann"))
    second = pipeline.put(of_users("ann"), NEXT)
    pipeline.put(of_users("bo"), name="b.jsonl")
    pipeline.run(DAY, NEXT)

    explanation, items = explained(pipeline, "ann", "events")
    assert explanation.value == {"events": 3} == {"events": pipeline.profile("ann")["events"]}
    assert explanation.is_as_stored
    third = f"byte {len(lines(of_users('ann', 'bo')))}"
    expected = [(DAY, first, "byte 0"), (DAY, first, third), (NEXT, second, "byte 0")]
    assert [(item.partition, item.block, item.place) for item in items] == expected
    assert {item.says["events"] for item in items} == {1}
    assert '"ann"' in items[0].item


def test_only_batches_that_mention_the_profile_are_read(pipeline):
    for day in (DAY, NEXT):
        pipeline.put(of_users("ann" if day == DAY else "bo"), day)
    pipeline.run(DAY, NEXT)
    explanation, _ = explained(pipeline, "ann")
    assert [batch.partition for batch in explanation.contributors] == [DAY]
    assert (explanation.made.results, explanation.ranges) == (2, 1)


def test_a_key_of_a_map_is_asked_for_by_its_name(pipeline):
    pipeline.put([event("ann", topics=["a.b", "c"]), event("ann", topics=["c"]), event("ann")])
    pipeline.run()
    explanation, items = explained(pipeline, "ann", "topics.a.b")
    assert explanation.value == {"topics": {"a%2Eb": 4}}
    assert [item.place for item in items] == ["byte 0"]
    assert len(explained(pipeline, "ann", "topics")[1]) == 2


def test_what_others_said_of_a_profile_is_listed_with_their_items(pipeline):
    pipeline.put([event("bo", author="ann"), event("ann")])
    pipeline.run()
    _, items = explained(pipeline, "ann", "likes_received")
    assert ['"bo"' in item.item for item in items] == [True]


def test_what_cannot_be_asked_is_refused_in_a_sentence(pipeline):
    pipeline.put([event("ann", topics=["c"])])
    pipeline.run()
    with pytest.raises(Refused, match="user_profiles has no profile 'An'"):
        explained(pipeline, "An")
    with pytest.raises(Refused, match="no field 'event'; items say events, actions"):
        explained(pipeline, "ann", "event")
    with pytest.raises(Refused, match="preferences is derived"):
        explained(pipeline, "ann", "preferences")
    with pytest.raises(Refused, match="one value"):
        explained(pipeline, "ann", "events.c")

    pipeline.profiles.insert_one({"_id": "cy"})
    with pytest.raises(Refused, match="of others"):
        explained(pipeline, "cy")


def test_readings_of_a_task_that_tells_nothing_by_item_are_found_by_halves(pipeline):
    devices = pipeline.changed()
    devices.asset = device_profiles.asset
    rows = [f"s{n % 3},t,{n}.5,2024-01-01T00:{n:02}:00Z" for n in range(20)]
    csv = "\n".join(["device,metric,value,ts", *rows, "s0,t,nothing,2024-01-01", ""])
    key = "readings/dt=2024-01-01/a.csv"
    pipeline.store.put(key, csv.encode())
    devices.tolerant(1).run("2024-01-01")

    explanation, items = explained(devices, "s0", "count.t")
    assert len(items) == explanation.value["count"]["t"] == 7
    assert [item.place for item in items][1] == f"byte {csv.index(rows[3])}"


def test_rows_of_parquet_are_told_by_their_number(pipeline):
    columns = {"user": ["ann", "bo"] * 30, "action": ["view"] * 60, "ts": [891388800] * 60}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, row_group_size=25)
    pipeline.store.put(f"events/dt={DAY}/a.parquet", file.getvalue())
    pipeline.run()
    explanation, items = explained(pipeline, "bo", "events")
    assert [item.place for item in items] == [f"row {n}" for n in range(1, 60, 2)]
    assert explanation.value == {"events": 30}


def test_dead_items_are_not_listed_and_redriven_ones_are_once(pipeline, monkeypatch):
    pipeline.put([event("ann"), b"bad", event("ann", "odd", author="x"), event("ann")])
    fragile(monkeypatch, lambda user: user == "ann", "broken")
    tolerant = pipeline.tolerant(4)
    pipeline.put([event("bo")], name="b.jsonl")
    tolerant.run()
    monkeypatch.undo()
    with pytest.raises(Refused, match="no profile 'ann'"):
        explained(tolerant, "ann")

    tolerant.redrive()
    explanation, items = explained(tolerant, "ann", "events")
    assert tolerant.profile("ann")["events"] == len(items) == 3
    assert explanation.is_redrive(explanation.contributors[0])


def test_items_of_a_block_that_was_replaced_since_are_told_to_be_unread(pipeline):
    key = pipeline.put(of_users("ann", "ann"))
    kept = pipeline.put(of_users("ann"), name="b.jsonl")
    pipeline.run()
    pipeline.put(of_users("bo", "ann"))
    explanation, items = explained(pipeline, "ann", "events")
    assert explanation.value == {"events": 3}
    assert [item.block for item in items] == [kept]
    assert [unread.block for unread in explanation.unread] == [key]

    pipeline.run()
    explanation, items = explained(pipeline, "ann", "events")
    assert explanation.value["events"] == len(items) == 2
    assert not explanation.unread


def test_copies_of_an_item_are_listed_once(pipeline):
    once = pipeline.changed(unique=("user", "action", "ts"))
    once.put(of_users("ann", "bo", "ann"))
    once.put([*of_users("ann"), *of_users("ann")], name="b.jsonl")
    once.put([*of_users("bo", "ann"), *of_users("ann")], NEXT)
    once.run(DAY, NEXT)
    explanation, items = explained(once, "ann", "events")
    assert explanation.value["events"] == len(items) == 3
    assert len({item.item for item in items}) == 3


def test_a_score_names_the_profile_that_it_was_made_of(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    scores = pipeline.changed()
    scores.asset = influence_scores.asset
    scores.run()
    explanation, items = explained(scores, "bo", "score")
    assert [(item.block, item.place) for item in items] == [("user_profiles", "profile bo")]
    assert explanation.value == {"score": scores.profile("bo")["score"]}


def test_results_that_are_gone_are_told_by_their_partition(pipeline):
    for day in (DAY, NEXT):
        pipeline.put(of_users("ann"), day)
    pipeline.run(DAY, NEXT)
    for block in pipeline.store.list(f"_fanfold/results/user_profiles/{NEXT}"):
        pipeline.store.delete(block.key)
    explanation, items = explained(pipeline, "ann", "events")
    assert explanation.made.lost == [NEXT]
    assert not explanation.is_as_stored
    assert len(items) == 1
