"""The same event twice counts once, where an asset says what identifies one."""

import pytest

from tests.support.anew import rebuild
from tests.support.pipeline import DAY, USER_TASK, event, fragile
from workers.declare import Task
from workers.tasks.user_profiles import Event

NEXT = "1998-04-02"


@pytest.fixture
def once(pipeline):
    """A pipeline in which a user, an action and a moment make an event."""
    return pipeline.changed(unique=("user", "action", "ts"))


def events(number, first=0):
    return [event(f"u{n % 7}", ts=891388800 + n) for n in range(first, first + number)]


def counted(pipeline):
    return sum(profile["events"] for profile in pipeline.profiles.find())


def duplicates(summary):
    assert summary["items"] == (
        summary["items_used"] + summary["dead_letters"] + summary["duplicates"]
    )
    return summary["duplicates"]


def test_an_event_that_is_twice_in_a_block_counts_once(once):
    once.put([event(), event(), event("bo")])
    assert duplicates(once.run()) == 1
    assert counted(once) == 2
    assert once.verify().match


def test_a_file_under_a_second_key_and_half_of_it_in_the_next_day_count_once(once):
    first = once.put(events(1_000))
    once.put(events(1_000), name="b.jsonl")
    once.put(events(500), day=NEXT)
    assert duplicates(once.run(DAY, NEXT)) == 1_500
    assert counted(once) == 1_000
    assert once.verify().match

    once.remove(first)
    assert duplicates(once.run(DAY, drop_removed=True)) == 0
    assert counted(once) == 1_000
    assert duplicates(once.run(NEXT)) == 500
    assert counted(once) == 1_000
    assert once.verify().match


@pytest.mark.parametrize("batch_items", [100, 400, 10_000])
def test_copies_in_other_batches_and_blocks_count_once_however_the_batches_are_cut(
    once, batch_items
):
    small = once.sized(batch_items)
    for name in "abc":
        small.put(events(600), name=f"{name}.jsonl")
    assert duplicates(small.run()) == 1_200
    assert counted(small) == 600


def test_a_partition_that_runs_again_says_the_same(once):
    once.put([*events(50), *events(20)])
    first = once.run()
    again = once.run()
    assert again["batches_reused"] == again["batches"]
    assert (duplicates(again), again["items_used"]) == (duplicates(first), first["items_used"])


def test_a_copy_in_an_older_partition_that_comes_late_is_the_duplicate(once):
    once.put(events(10), day=NEXT)
    once.run(NEXT)
    once.put(events(10))
    assert duplicates(once.run()) == 10
    assert counted(once) == 10
    assert once.verify().match


def test_the_copy_of_another_day_counts_once_the_first_is_gone(once):
    first = once.put(events(10))
    once.put(events(10), day=NEXT)
    once.run(DAY, NEXT)

    once.remove(first)
    (warning,) = once.run(drop_removed=True)["warnings"]
    assert NEXT in warning
    assert once.ledger.outdated_partitions(once.asset.name, 0) == [NEXT]
    assert duplicates(once.run(NEXT)) == 0
    assert counted(once) == 10
    assert once.ledger.outdated_partitions(once.asset.name, 0) == []
    assert once.verify().match


def test_a_block_that_comes_back_is_the_duplicate_of_what_took_its_place(once):
    first = once.put(events(10))
    once.put(events(10), name="b.jsonl")
    once.run()
    once.remove(first)
    once.run(drop_removed=True)
    once.put(events(10))
    assert duplicates(once.run()) == 10
    assert counted(once) == 10
    assert once.verify().match


def test_what_a_run_that_was_given_up_took_over_is_given_back(once):
    first = once.put(events(10))
    once.put(events(10), name="b.jsonl")
    once.run()

    once.remove(first)
    once.work(once.plan(drop_removed=True))  # and never folds
    assert counted(once) == 10
    once.put(events(10))
    assert duplicates(once.run()) == 10
    assert counted(once) == 10
    assert once.run()["batches_reused"] == 2
    assert once.verify().match


def test_other_days_leave_items_to_a_block_that_profiles_hold_still(once):
    first = once.put(events(10))
    once.put(events(10), day=NEXT)
    once.run(DAY, NEXT)

    once.remove(first)
    once.work(once.plan(drop_removed=True))
    once.put(events(11), day=NEXT)
    assert duplicates(once.run(NEXT)) == 10
    assert counted(once) == 11


def test_a_replaced_block_counts_what_the_old_one_counted(once):
    once.put(events(10))
    once.put(events(5), day=NEXT)
    once.run(DAY, NEXT)
    once.put(events(8, first=2))
    once.run(DAY)
    once.run(NEXT)
    assert counted(once) == 10
    assert once.verify().match


def test_an_item_without_what_identifies_it_is_a_dead_letter(pipeline):
    once = pipeline.changed(unique=("item",)).tolerant(2)
    once.put([event(item="x"), event(), event(item="")])
    summary = once.run()
    assert (summary["items_used"], summary["dead_letters"]) == (1, 2)
    assert {letter["reason"] for letter in once.letters()} == {
        "item is missing or empty, which identifies an item"
    }


def test_a_copy_of_a_dead_letter_is_its_duplicate_and_redriving_counts_one(once, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    once = once.tolerant(1)
    once.put([event("ann"), event("bo")])
    once.put([event("bo")], name="b.jsonl")
    assert duplicates(once.run()) == 1
    fragile(monkeypatch, lambda user: False, version="newer")
    assert duplicates(once.redrive()) == 1
    assert counted(once) == 2
    assert once.verify().match


class Signed(Event, kw_only=True):
    """An event that needs an author."""

    author: str


def test_a_redriven_item_whose_copy_counts_is_a_duplicate(once, monkeypatch):
    strict = Task(Signed, USER_TASK.fields, USER_TASK.contributions, USER_TASK.derive)
    once = once.tolerant(1)
    with monkeypatch.context() as patch:
        patch.setattr("workers.tasks.user_profiles.task", strict)
        once.put([event()])
        once.put([event(author="bo")], name="b.jsonl")
        assert duplicates(once.run()) == 0
        assert counted(once) == 1

    summary = once.redrive()
    assert (duplicates(summary), summary["items_used"], summary["dead_letters"]) == (1, 1, 0)
    assert once.letters()[0]["state"] == "redriven"
    assert once.verify().match


def test_a_rebuild_counts_what_counted(once):
    once.put(events(10))
    once.put(events(10), day=NEXT)
    once.run(DAY, NEXT)
    rebuild(once)
    assert counted(once) == 10
    assert once.verify().match


def test_a_rebuild_without_a_removed_partition_lets_the_copies_count(once):
    first = once.put(events(10))
    once.put(events(10), day=NEXT)
    once.run(DAY, NEXT)
    once.remove(first)
    rebuild(once)
    assert once.ledger.outdated_partitions(once.asset.name, 1) == [NEXT]
    once.run(NEXT)
    assert counted(once) == 10
    assert once.verify().match


def test_saying_what_identifies_an_item_later_runs_partitions_again(pipeline):
    pipeline.put(events(10))
    pipeline.put(events(10), name="b.jsonl")
    pipeline.run()
    assert counted(pipeline) == 20
    once = pipeline.changed(unique=("user", "ts"))
    assert duplicates(once.run()) == 10
    assert counted(once) == 10
