"""Tasks that look at the world: each run after a folded one looks again, and nothing is lost."""

import sys
from types import SimpleNamespace

import msgspec
import pytest

from tests.support.pipeline import DAY, Pipeline, lines
from workers.batch import attempt_batch
from workers.contributions.fields import Latest, Sum
from workers.declare import Tolerance
from workers.declare.asset import Asset, Partitions, Sizes
from workers.declare.task import Observe, Task, load_task, rows
from workers.declare.types import Text
from workers.errors import Refused
from workers.folding.publish import record_folded
from workers.planning.plans import preview
from workers.planning.rebuild import begin_rebuild, list_seen, partitions_to_rebuild, swap

NEXT = "1998-04-02"


class Place(msgspec.Struct):
    name: Text


class Sight(msgspec.Struct):
    name: str
    at: int
    value: int
    changed: bool


class Outside:
    """A world that can be looked at; it counts the looks, and knows what it was told of each."""

    def __init__(self):
        self.values, self.looks, self.known = {}, [], {}

    def look(self, places, known):
        return [self.at(place.name, said) for place, said in zip(places, known, strict=True)]

    def at(self, name, known):
        self.looks.append(name)
        self.known[name] = known.get("value")
        value = self.values.get(name, 0)
        if isinstance(value, Exception):
            return value
        if value is None:
            return None
        changed = "value" in known and known["value"] != value
        return Sight(name=name, at=len(self.looks), value=value, changed=changed)


def contributions(sights):
    name = sights["name"]
    return {
        "value": rows(name, sights["value"], at=sights["at"]),
        "looks": rows(name),
        "changes": rows(name, sights["changed"].astype("int64")),
    }


@pytest.fixture
def outside(monkeypatch):
    made = Outside()
    task = Task(
        item=Place,
        fields={"value": Latest(), "looks": Sum(), "changes": Sum()},
        contributions=contributions,
        observe=Observe(lambda place: place.name, ["value"], Sight, made.look),
    )
    monkeypatch.setitem(sys.modules, "workers.tasks.places", SimpleNamespace(task=task))
    return made


@pytest.fixture
def places(pipeline, outside):
    """A world of two places, one in each block of a day, each a batch of its own."""
    asset = Asset(
        name="places",
        description="Places that are looked at.",
        partitions=Partitions(start="1998-01-01"),
        template="places/dt={partition}/",
        sizes=Sizes(min_items=1, max_items=1),
        tolerance=Tolerance(count=1),
    )
    made = Pipeline(pipeline.store, pipeline.database, pipeline.ledger, asset)
    for name in ("a", "b"):
        put(made, name)
    return made


def put(pipeline, name, day=DAY):
    pipeline.store.put(f"places/dt={day}/{name}.jsonl", lines([{"name": name}]))


def test_a_run_after_a_folded_one_looks_again_and_both_looks_count(places, outside):
    assert places.run()["items_used"] == 2
    outside.values["a"] = 7
    again = places.run()
    assert (again["batches_reused"], again["items_used"]) == (0, 2)
    assert places.profile("a") == {"_id": "a", "value": 7, "looks": 2, "changes": 1}
    assert places.profile("b") == {"_id": "b", "value": 0, "looks": 2, "changes": 0}
    assert outside.known == {"a": 0, "b": 0}


def test_a_run_after_one_that_was_not_folded_goes_on_where_that_stopped(places, outside):
    died = places.plan()
    attempt_batch(next(iter(died.to_run)), places.ledger, places.store)
    seen = list(outside.looks)
    summary = places.run()
    assert (len(seen), summary["batches_reused"]) == (1, 1)
    assert sorted(outside.looks) == ["a", "b"]
    assert places.profile("a")["looks"] == 1


def test_a_batch_run_twice_looks_once(places, outside):
    for batch in places.plan().to_run:
        attempt_batch(batch, places.ledger, places.store)
        attempt_batch(batch, places.ledger, places.store)
    assert len(outside.looks) == 2


def test_a_late_block_is_looked_at_with_the_others_in_a_new_round(places, outside):
    places.run()
    put(places, "c")
    assert places.run()["items_used"] == 3
    assert {one["_id"]: one["looks"] for one in places.profiles.find()} == {"a": 2, "b": 2, "c": 1}


def test_verify_folds_the_stored_results_again_and_says_so(places, outside):
    for value in range(3):
        outside.values["a"] = value
        places.run()
    put(places, "a", NEXT)
    places.run(NEXT)
    outside.values["a"] = 99  # what the world says by now is not the question
    looks = len(outside.looks)
    verdict = places.verify()
    assert verdict.match
    assert verdict.against == "the stored results of what workers saw"
    assert (verdict.profiles, verdict.items, len(outside.looks)) == (2, 7, looks)
    assert places.verify(NEXT).match
    places.profiles.update_one({"_id": "b"}, {"$set": {"looks": 9}})
    assert places.verify().differing == ["b"]


def test_earlier_rounds_of_a_partition_merge_for_good(places):
    for _ in range(4):
        places.run()
    fold = places.profiles.find_one({"_id": "a"})["_fold"]
    assert len(fold["open"]) <= 2
    assert fold["base"]["looks"] >= 2
    assert places.profile("a")["looks"] == 4
    assert places.verify().match
    assert places.verify(DAY).match


def test_what_failed_is_a_dead_letter_of_its_round_and_a_redrive_looks_at_it_alone(places, outside):
    places.run()
    outside.values["b"] = OSError("no such place")
    failed = places.run()
    assert (failed["items_used"], failed["dead_letters"]) == (1, 1)
    (letter,) = places.letters()
    assert letter["reason"] == "OSError in the task: no such place"
    outside.values["b"], before = 5, len(outside.looks)
    mended = places.redrive()
    assert (mended["items_used"], mended["items_redriven"]) == (2, 1)
    assert outside.looks[before:] == ["b"]
    assert places.profile("b") == {"_id": "b", "value": 5, "looks": 2, "changes": 1}
    assert places.verify().match


def test_what_needs_nothing_is_used_and_counted_as_skipped(places, outside):
    outside.values["a"] = None
    summary = places.run()
    assert (summary["items"], summary["items_used"], summary["items_skipped"]) == (2, 2, 1)
    assert places.profile("a") is None
    assert places.verify().match


def test_a_rebuild_keeps_what_was_seen_and_does_not_look_again(places, outside):
    places.run()
    places.run()
    put(places, "b", NEXT)
    places.run(NEXT)
    digest, looks = places.verify().digest, len(outside.looks)
    of_task = load_task("places")
    todo = partitions_to_rebuild(
        places.ledger, places.store, places.asset, of_task, drop_removed=False
    )
    assert todo == [DAY, NEXT]
    generation = begin_rebuild(places.database, places.ledger, places.asset)
    work = places.planned(
        list_seen(places.ledger, places.asset, of_task.version, day, generation) for day in todo
    )
    assert work.to_run == {}
    reconciled = places.reconcile(work)
    record_folded(places.ledger, places.asset, reconciled, places.fold(reconciled))
    swap(places.database, places.ledger, places.asset, generation)
    assert len(outside.looks) == looks
    verdict = places.verify()
    assert verdict.match
    assert verdict.digest == digest
    places.run()
    assert places.profile("b")["looks"] == 4
    assert places.verify().match


def test_of_two_runs_at_once_over_one_round_the_later_one_counts(places, outside):
    slow, fast = places.plan(), places.plan()
    places.work(fast)
    places.work(slow)
    assert len(outside.looks) == 2
    places.fold(places.reconcile(fast))
    with pytest.raises(Refused, match="another run took over"):
        found = places.reconcile(slow)
        record_folded(places.ledger, places.asset, found, places.fold(found))
    assert places.profile("a")["looks"] == 1


def test_the_plan_shows_a_new_round(places):
    places.run()
    work, _ = preview(
        places.store, places.ledger, places.asset, load_task("places"), [DAY], slots=1
    )
    assert len(work.new) == 2
    assert work.plans[0].round == 1
