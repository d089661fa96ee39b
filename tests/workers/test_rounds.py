"""Tasks that observe: each run after a folded one observes again, and nothing is lost."""

import sys
from types import SimpleNamespace

import msgspec
import pytest

from tests.support.pipeline import DAY, Pipeline, lines
from workers.batch import attempt_batch
from workers.declare import (
    Asset,
    Latest,
    Observe,
    Partitions,
    Sizes,
    Sum,
    Task,
    Text,
    Tolerance,
    rows,
)
from workers.errors import Refused
from workers.planning.rebuild import begin_rebuild, partitions_to_rebuild, swap

NEXT = "1998-04-02"


class Town(msgspec.Struct):
    name: Text


class Sight(msgspec.Struct):
    name: str
    seen_at: int
    value: int
    changed: bool


class Outside:
    """A world that can be observed; it keeps who was looked at, and what was known of each."""

    def __init__(self):
        self.values = {}
        self.looks = []
        self.known = {}

    def observe(self, towns, known):
        return [self.answer(town.name, fields) for town, fields in zip(towns, known, strict=True)]

    def answer(self, name, fields):
        self.looks.append(name)
        self.known[name] = fields.get("value")
        value = self.values.get(name, 0)
        if value is None or isinstance(value, Exception):
            return value

        changed = "value" in fields and fields["value"] != value
        return Sight(name=name, seen_at=len(self.looks), value=value, changed=changed)


def contributions(sights):
    name = sights["name"]
    return {
        "value": rows(name, sights["value"], at=sights["seen_at"]),
        "looks": rows(name),
        "changes": rows(name, sights["changed"].astype("int64")),
    }


@pytest.fixture
def outside(monkeypatch):
    world = Outside()
    task = Task(
        item=Town,
        fields={"value": Latest(), "looks": Sum(), "changes": Sum()},
        contributions=contributions,
        observe=Observe(
            profile_id=lambda town: town.name,
            known_fields=["value"],
            observation=Sight,
            observe=world.observe,
        ),
    )
    monkeypatch.setitem(sys.modules, "workers.tasks.towns", SimpleNamespace(task=task))
    return world


@pytest.fixture
def towns(pipeline, outside):
    """A pipeline of two towns, one in each block of a day, each a batch of its own."""
    asset = Asset(
        name="towns",
        description="Towns that are looked at.",
        partitions=Partitions(start="1998-01-01"),
        template="towns/dt={partition}/",
        sizes=Sizes(min_items=1, max_items=1),
        tolerance=Tolerance(count=1),
    )
    of_towns = Pipeline(pipeline.store, pipeline.database, pipeline.ledger, asset)
    for name in ("a", "b"):
        put(of_towns, name)
    return of_towns


def put(pipeline, name, day=DAY):
    pipeline.store.put(f"towns/dt={day}/{name}.jsonl", lines([{"name": name}]))


def test_a_run_after_a_folded_one_observes_again_and_both_observations_count(towns, outside):
    assert towns.run()["items_used"] == 2
    outside.values["a"] = 7
    again = towns.run()
    assert (again["batches_reused"], again["items_used"]) == (0, 2)
    assert towns.profile("a") == {"_id": "a", "value": 7, "looks": 2, "changes": 1}
    assert towns.profile("b") == {"_id": "b", "value": 0, "looks": 2, "changes": 0}
    assert outside.known == {"a": 0, "b": 0}


def test_a_run_after_one_that_was_not_folded_goes_on_where_that_stopped(towns, outside):
    died = towns.plan()
    attempt_batch(towns.ledger, towns.store, next(iter(died.to_run)))
    looks_before = len(outside.looks)
    summary = towns.run()
    assert (looks_before, summary["batches_reused"]) == (1, 1)
    assert sorted(outside.looks) == ["a", "b"]
    assert towns.profile("a")["looks"] == 1


def test_a_batch_run_twice_observes_once(towns, outside):
    for batch_id in towns.plan().to_run:
        attempt_batch(towns.ledger, towns.store, batch_id)
        attempt_batch(towns.ledger, towns.store, batch_id)
    assert len(outside.looks) == 2


def test_a_late_block_is_observed_with_the_others_in_a_new_round(towns, outside):
    towns.run()
    put(towns, "c")
    assert towns.run()["items_used"] == 3
    looks = {profile["_id"]: profile["looks"] for profile in towns.profiles.find()}
    assert looks == {"a": 2, "b": 2, "c": 1}


def test_verify_folds_the_stored_results_again_and_says_so(towns, outside):
    for value in range(3):
        outside.values["a"] = value
        towns.run()
    put(towns, "a", NEXT)
    towns.run(NEXT)
    outside.values["a"] = 99  # what the world says by now is not the question
    looks = len(outside.looks)
    verdict = towns.verify()

    assert verdict.match
    assert verdict.against == "the stored results of what workers saw"
    assert (verdict.profiles, verdict.items, len(outside.looks)) == (2, 7, looks)
    assert towns.verify(NEXT).match

    towns.profiles.update_one({"_id": "b"}, {"$set": {"looks": 9}})

    assert towns.verify().differing == ["b"]


def test_a_profile_keeps_no_more_of_many_rounds_than_of_one(towns):
    for _ in range(4):
        towns.run()
    assert list(towns.profiles.find_one({"_id": "a"})["_fold"]["open"]) == [f"{DAY}~3"]
    assert towns.profile("a")["looks"] == 4
    assert towns.verify().match
    assert towns.verify(DAY).match


def test_an_item_that_failed_is_a_dead_letter_and_a_redrive_observes_it_alone(towns, outside):
    towns.run()
    outside.values["b"] = OSError("no such town")
    failed = towns.run()
    assert (failed["items_used"], failed["dead_letters"]) == (1, 1)

    (letter,) = towns.letters()

    assert letter["reason"] == "OSError in the task: no such town"

    outside.values["b"] = 5
    looks_before = len(outside.looks)
    redriven = towns.redrive()

    assert (redriven["items_used"], redriven["items_redriven"]) == (2, 1)
    assert outside.looks[looks_before:] == ["b"]
    assert towns.profile("b") == {"_id": "b", "value": 5, "looks": 2, "changes": 1}
    assert towns.verify().match


def test_an_item_that_needs_nothing_is_used_and_counted_as_skipped(towns, outside):
    outside.values["a"] = None
    summary = towns.run()
    assert (summary["items"], summary["items_used"], summary["items_skipped"]) == (2, 2, 1)
    assert towns.profile("a") is None
    assert towns.verify().match


def test_a_rebuild_keeps_what_was_observed_and_does_not_observe_again(towns, outside):
    towns.run()
    towns.run()
    put(towns, "b", NEXT)
    towns.run(NEXT)
    digest = towns.verify().digest
    looks = len(outside.looks)

    todo = partitions_to_rebuild(*towns.four, drop_removed=False)
    assert todo == [DAY, NEXT]
    generation = begin_rebuild(towns.asset, towns.ledger)
    work = towns.plan(*todo, generation=generation)
    assert work.to_run == {}
    towns.finish(work)
    swap(towns.asset, towns.task, towns.ledger, generation)

    assert len(outside.looks) == looks
    verdict = towns.verify()
    assert verdict.match
    assert verdict.digest == digest
    towns.run()
    assert towns.profile("b")["looks"] == 4
    assert towns.verify().match


def test_of_two_runs_at_once_over_one_round_the_later_one_counts(towns, outside):
    slow = towns.plan()
    fast = towns.plan()
    towns.work(fast)
    towns.work(slow)
    assert len(outside.looks) == 2
    towns.fold(towns.reconcile(fast))
    with pytest.raises(Refused, match="another run took over"):
        reconciled = towns.reconcile(slow)
        towns.publish(reconciled, towns.fold(reconciled))
    assert towns.profile("a")["looks"] == 1


def test_the_plan_shows_a_new_round(towns):
    towns.run()
    work = towns.preview(DAY).work
    assert len(work.new) == 2
    assert work.plans[0].round == 1


def test_a_plan_says_that_observations_are_made_in_any_case_whatever_code_changed(towns):
    towns.run()
    towns.task.__dict__["version"] = "other"
    code = towns.preview().summary["code"]
    assert (code["batches_again"], code["batches_beside"], code["is_idle"]) == (0, 2, False)
    assert code["text"].endswith("0 batches are reused, and 2 other batches are run in any case.")
