"""Folds and swaps side by side with an application that writes the same documents, in any order."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import DuplicateKeyError

from tests.support.folds import EVENTS, any_order, fold, planned, reset, start, turns
from tests.support.interleaving import Actor, perform, turn_taking_ledger
from tests.support.pipeline import USER_TASK
from workers.declare import Task
from workers.errors import Refused
from workers.planning.rebuild import begin_rebuild, finish_swap, swap

DAYS = ("1998-04-01", "1998-04-02")
USERS = ("ann", "bo", "cy", "dee", "eve")
COUNTED = Counter(EVENTS["new"][1]) + Counter(EVENTS["other"][1])

STEPS = st.lists(
    st.tuples(st.sampled_from(["set", "set", "unset", "put", "begin"]), st.sampled_from(USERS)),
    min_size=1,
    max_size=12,
)
DEATHS = st.tuples(*[st.one_of(st.none(), st.integers(1, 40)) for _ in EVENTS])


@pytest.fixture(autouse=True)
def begins(monkeypatch):
    """A sum that begins with what documents say; two profiles at a time, in one thread."""
    fields = USER_TASK.fields | {"events": replace(USER_TASK.fields["events"], adopt="begin")}
    task = Task(USER_TASK.item, fields, USER_TASK.contributions, USER_TASK.derive, by_item=True)
    monkeypatch.setattr("workers.tasks.user_profiles.task", task)
    monkeypatch.setattr("workers.folding.writing.CHUNK_PROFILES", 2)
    monkeypatch.setattr("workers.folding.writing.CHUNKS_AT_ONCE", 1)


@dataclass
class Application:
    """What an application does with documents, and what of it has to be there in the end."""

    documents: object
    fields: dict[str, dict] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)

    def play(self, actor, steps):
        for number, (step, user) in enumerate(steps):
            actor.take_turn()
            getattr(self, step)(user, f"{step} {number}")

    def set(self, user, value):
        if self.documents.update_one({"_id": user}, {"$set": {"note": value}}).matched_count:
            self.fields.setdefault(user, {})["note"] = value

    def unset(self, user, _value):
        self.documents.update_one({"_id": user}, {"$unset": {"note": ""}})
        self.fields.get(user, {}).pop("note", None)

    def put(self, user, value):
        """Put a document, where there is none, and a map on it."""
        self.documents.update_one({"_id": user}, {"$set": {"address.town": value}}, upsert=True)
        self.fields.setdefault(user, {})["address"] = {"town": value}

    def begin(self, user, _value):
        """Add to a sum of its own, until the document is a profile."""
        with suppress(DuplicateKeyError):  # it is one
            is_mine = {"_id": user, "_fold": None}
            self.documents.update_one(is_mine, {"$inc": {"events": 10}}, upsert=True)
            self.begun[user] += 10

    def check(self, pipeline):
        """Everything is there, and profiles hold what was counted and what they began with."""
        names = {"note": 1, "address": 1}
        found = {each.pop("_id"): each for each in self.documents.find({}, names)}
        for user, fields in self.fields.items():
            assert found.get(user, {}) == fields
        events = self.documents.find({"events": {"$gt": 0}}, {"events": 1})
        assert Counter({each["_id"]: each["events"] for each in events}) == COUNTED + self.begun
        assert pipeline.verify().match


@pytest.fixture
def plans(pipeline):
    """The ids of three plans that are worked, and what MongoDB holds where examples start."""
    return start(pipeline, planned(pipeline))


def folds(pipeline, actors, ids, zombie=False):
    return [
        lambda actor=actor, plan=plan: fold(pipeline, actor, plan, zombie=zombie)
        for actor, plan in zip(actors, ids, strict=True)
    ]


@any_order
@given(order=turns(4), deaths=DEATHS, steps=STEPS)
def test_folds_and_an_application_lose_nothing_of_each_other(pipeline, plans, order, deaths, steps):
    ids = reset(pipeline, plans)
    application = Application(pipeline.profiles)
    actors = [Actor(last_call) for last_call in (*deaths, None)]
    scripts = folds(pipeline, actors[:3], ids.values(), zombie=True)
    perform(actors, [*scripts, lambda: application.play(actors[3], steps)], order)

    pipeline.run(*DAYS)
    application.check(pipeline)


@pytest.fixture
def rebuilt(pipeline):
    """The same, with a rebuild that is folded and not yet swapped; its generation."""
    ids = planned(pipeline)
    generation = begin_rebuild(pipeline.asset, pipeline.ledger)
    pipeline.run(*DAYS, generation=generation)
    return start(pipeline, ids), generation


@any_order
@given(order=turns(4), deaths=DEATHS, steps=STEPS)
def test_a_swap_and_an_application_lose_nothing_of_each_other(
    pipeline, rebuilt, order, deaths, steps
):
    plans, generation = rebuilt
    ids = reset(pipeline, plans)
    application = Application(pipeline.profiles)
    actors = [Actor(last_call) for last_call in (*deaths, None)]

    def swap_in_turns():
        ledger = turn_taking_ledger(actors[2], pipeline.ledger)
        swap(pipeline.asset, pipeline.task, ledger, generation)

    scripts = folds(pipeline, actors[:2], [ids["new"], ids["other"]])
    scripts += [swap_in_turns, lambda: application.play(actors[3], steps)]
    perform(actors, scripts, order)

    with suppress(Refused):  # it was entered before the swap was killed
        swap(pipeline.asset, pipeline.task, pipeline.ledger, generation)
    finish_swap(pipeline.asset, pipeline.task, pipeline.ledger)
    pipeline.run(*DAYS)
    application.check(pipeline)
