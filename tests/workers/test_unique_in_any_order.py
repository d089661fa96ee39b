"""Blocks with copies come and go while runs are on their way; at no time does one count twice."""

from contextlib import suppress
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.anew import forget
from tests.support.pipeline import event
from workers.errors import Refused

DAYS = ("1998-04-01", "1998-04-02")
NAMES = ("a.jsonl", "b.jsonl")
EVENTS = range(6)

days = st.sampled_from(DAYS)
blocks = st.tuples(days, st.sampled_from(NAMES))
held = st.lists(st.sampled_from(EVENTS), min_size=1, max_size=5).map(tuple)
steps = st.one_of(
    st.tuples(st.just("put"), blocks, held),
    st.tuples(st.just("remove"), blocks, st.none()),
    st.tuples(st.just("plan"), days, st.booleans()),
    st.tuples(st.just("work"), st.integers(0, 2), st.none()),
    st.tuples(st.just("finish"), st.integers(0, 2), st.booleans()),
)


class Killed(Exception):
    """The end of a run's process."""


class World:
    """Blocks, and the runs that are on their way over them; each event is of a user of its own."""

    def __init__(self, pipeline):
        self.pipeline = pipeline
        self.blocks = {}
        self.runs = []

    def do(self, what, where, how):
        if what == "put":
            self.blocks[where] = set(how)
            day, name = where
            self.pipeline.put([event(f"u{number}") for number in how], day, name)
        elif what == "remove":
            if self.blocks.pop(where, None):
                self.pipeline.remove("events/dt={}/{}".format(*where))
        else:
            with suppress(Refused, Killed):  # Refused: another run has overtaken this one
                self.step(what, where, is_killed=how)
        assert set(self.counts().values()) <= {1}

    def step(self, what, where, is_killed):
        """Take a run one step further; or kill it where others depend on what it records."""
        if what != "plan" and where >= len(self.runs):
            return
        if what == "work":
            self.pipeline.work(self.runs[where])
            return

        stays = self.pipeline.ledger.stays
        with patch.object(stays, "_outdate", side_effect=Killed if is_killed else stays._outdate):
            if what == "plan":
                self.runs.append(self.pipeline.plan(where, drop_removed=True))
            else:
                self.pipeline.finish(self.runs.pop(where))

    def settle(self):
        """Run what has news until nothing has."""
        self.pipeline.run(*DAYS, drop_removed=True)
        for _ in DAYS:
            if outdated := self.pipeline.ledger.outdated_partitions(self.pipeline.asset.name, 0):
                self.pipeline.run(*outdated, drop_removed=True)
        again = self.pipeline.run(*DAYS, drop_removed=True)
        assert again["batches_reused"] == again["batches"]

    def counts(self):
        return {
            profile["_id"]: profile["events"]
            for profile in self.pipeline.profiles.find()
            if "events" in profile
        }


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(done=st.lists(steps, min_size=4, max_size=18))
def test_each_event_of_the_blocks_that_are_there_counts_once(pipeline, done):
    forget(pipeline)
    world = World(pipeline.changed(unique=("user",)))
    for step in done:
        world.do(*step)
    world.settle()
    there = set().union(*world.blocks.values())
    assert world.counts() == {f"u{number}": 1 for number in there}
    assert world.pipeline.verify().match
