"""Which copy holds an id: one, whoever asks at once, and for as long as its block is there."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.support.pipeline import event
from workers.ledger.copies import Copies, CopiesRead, Copy, Counting, KnownCopies
from workers.ledger.stays import StayState
from workers.values import Block

IDS = 3_000
DAY, NEXT = "1998-04-01", "1998-04-02"


@pytest.fixture
def copies(database):
    return Copies(database, "events")


def read(stay, numbers, first_place=0):
    """Copies of a block, with the ids of these numbers."""
    ids = b"".join(f"{number:016}".encode() for number in numbers)
    places = np.arange(first_place, first_place + len(numbers))
    return CopiesRead(np.frombuffer(ids, "V16"), np.full(len(numbers), stay), places)


class World:
    """An asset's blocks, each with a batch that reads it."""

    def __init__(self, pipeline):
        self.ledger = pipeline.ledger
        self.copies = self.ledger.copies("user_profiles")
        self.batches = {}
        self.stays = {}
        once = pipeline.changed(unique=("user",))
        for day in (DAY, NEXT):
            once.put([event(day)], day)
        for batch in once.plan(DAY, NEXT).new:
            planned = self.ledger.batch(batch.id)
            self.batches[batch.partition] = planned
            (self.stays[batch.partition],) = self.ledger.stays.by_id(planned.stays).values()

    def counting(self, day):
        return Counting(self.copies, self.ledger.stays, self.batches[day])

    def count(self, day, numbers, first_place=0):
        found = read(self.stays[day].id, numbers, first_place)
        return self.counting(day).those_that_count(found).tolist()


@pytest.fixture
def world(pipeline):
    return World(pipeline)


def test_of_copies_that_several_workers_read_at_once_one_counts(world):
    days = [DAY, NEXT] * 3
    with ThreadPoolExecutor(len(days)) as pool:
        # Each reads the same ids at places of its own.
        answers = pool.map(
            lambda turn: world.count(days[turn], range(IDS), turn * IDS), range(len(days))
        )
    assert (np.array(list(answers)).sum(axis=0) == 1).all()


def test_what_counts_is_the_same_copy_again_whatever_is_read_with_it(world):
    assert world.count(DAY, [1, 2, 1]) == [True, True, False]
    assert world.count(DAY, [2], first_place=1) == [True]
    assert world.count(DAY, [1], first_place=2) == [False]
    assert world.count(NEXT, [1, 2, 3]) == [False, False, True]


def test_a_batch_is_outdated_once_a_block_is_gone_whose_copies_it_left_items_to(world):
    world.count(DAY, [1])
    world.count(NEXT, [1])
    stays = world.ledger.stays
    stays.leave("user_profiles", {DAY: [world.stays[DAY].id]})
    assert stays.outdated([batch.id for batch in world.batches.values()]) == [world.batches[DAY].id]
    assert stays.end("user_profiles", {DAY: ()}) == [NEXT]
    assert world.count(NEXT, [1]) == [True]


def test_other_partitions_take_nothing_over_while_profiles_may_hold_it(world):
    world.count(DAY, [1])
    world.ledger.stays.leave("user_profiles", {DAY: [world.stays[DAY].id]})
    assert world.count(NEXT, [1]) == [False]
    assert world.count(DAY, [1], first_place=5) == [False]


def test_a_stay_that_ended_while_nobody_was_marked_is_ended_again(world, monkeypatch):
    world.count(DAY, [1])
    world.count(NEXT, [1])
    stays = world.ledger.stays
    stays.leave("user_profiles", {DAY: [world.stays[DAY].id]})
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(stays, "_outdate", lambda _: 1 / 0)
        stays.end("user_profiles", {DAY: ()})
    assert stays.end("user_profiles", {DAY: ()}) == [NEXT]
    assert stays.by_id([world.stays[DAY].id]).popitem()[1].state is StayState.SETTLED


def test_a_block_that_comes_back_begins_another_stay(world):
    before = world.stays[DAY]
    stays = world.ledger.stays
    stays.leave("user_profiles", {DAY: [before.id]})
    block = Block(key=before.key, etag=before.etag, size=1)
    stays.begin("user_profiles", {DAY: [block]})
    stays.begin("user_profiles", {DAY: [block]})
    (after,) = stays.newest("user_profiles", [block]).values()
    assert (after.number, after.state) == (1, StayState.HERE)
    assert after.id != before.id


def test_what_counted_is_told_without_a_change(world, copies):
    world.count(DAY, [1, 2])
    known = KnownCopies(world.copies, world.ledger.stays)
    of_other = known.those_that_count(read(world.stays[NEXT].id, [1, 3, 3]))
    assert of_other.tolist() == [False, True, False]
    assert known.those_that_count(read(world.stays[DAY].id, [1, 2])).tolist() == [True, True]
    assert world.count(NEXT, [3]) == [True]


def test_an_id_passes_on_only_while_it_is_held_as_was_seen(copies):
    one, two, three = Copy(1, 1), Copy(2, 2), Copy(3, 3)
    (id_,) = read(1, [7]).ids.tolist()
    copies.hold(read(1, [7], first_place=1))
    copies.pass_on({id_: (one, two)})
    copies.pass_on({id_: (one, three)})
    assert copies.holders([id_]) == {id_: two}
