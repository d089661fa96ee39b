"""Redrive: dead items again, alone, counted once however often it is tried."""

import gzip
import io

import pandas as pd
import pytest

from tests.world import DAY, event, fragile, lines
from workers.errors import Refused

NEXT = "1998-04-02"


def totals(summary):
    return summary["items"], summary["items_used"], summary["dead_letters"]


def test_an_item_that_works_now_is_counted_once_and_its_letter_is_redriven(world, monkeypatch):
    fragile(monkeypatch, lambda user: user in ("bo", "cy"))
    world.put([event("ann"), event("bo"), event("cy"), event("ann")])
    assert totals(world.run()) == (4, 2, 2)
    fragile(monkeypatch, lambda user: user == "cy", version="mended")
    assert totals(world.redrive()) == (4, 3, 1)
    assert world.profile("bo")["events"] == 1
    mended, still = sorted(world.letters(), key=lambda letter: letter["attempts"])
    assert (mended["state"], mended["attempts"]) == ("redriven", 1)
    assert (still["state"], still["attempts"]) == ("open", 2)
    assert world.verify().match


def test_only_the_dead_items_are_run_again(world, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    world.put([event(f"user{n}") for n in range(500)] + [event("bo")])
    world.run()
    calls = fragile(monkeypatch, lambda user: False, version="mended")
    world.redrive()
    assert calls == [1]
    assert world.verify().match


def test_redriving_again_and_again_changes_nothing_but_the_attempts(world, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    world.put([event("ann"), event("bo")])
    world.run()
    for attempt in (2, 3, 4):
        assert totals(world.redrive()) == (2, 1, 1)
        (letter,) = world.letters()
        assert (letter["attempts"], letter["state"]) == (attempt, "open")
    fragile(monkeypatch, lambda user: False, version="mended")
    assert totals(world.redrive()) == (2, 2, 0)
    assert totals(world.redrive()) == (2, 2, 0)
    assert world.verify().match


def test_a_plain_run_after_a_redrive_keeps_what_it_mended(world, monkeypatch):
    """Without a change of code: a task that looks at the outside world may just work later."""
    fragile(monkeypatch, lambda user: user == "bo")
    world.put([event("ann"), event("bo")])
    world.run()
    fragile(monkeypatch, lambda user: False)
    world.redrive()
    world.put([event("cy")], name="late.jsonl")
    assert totals(world.run()) == (3, 3, 0)
    assert world.verify().match


def test_a_redrive_that_died_before_its_fold_is_finished_by_a_plain_run(world, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    world.put([event("ann"), event("bo")])
    world.run()
    fragile(monkeypatch, lambda user: False)
    monkeypatch.setattr("tests.world.settle", lambda *args: None)
    monkeypatch.setattr("tests.world.World.fold", lambda *args: None)
    world.redrive()
    assert world.profile("bo") is None
    monkeypatch.undo()
    assert totals(world.run()) == (2, 2, 0)
    assert [letter["state"] for letter in world.letters()] == ["redriven"]
    assert world.verify().match


def test_a_redrive_killed_before_its_batch_is_replaced_by_the_next(world, monkeypatch):
    fragile(monkeypatch, lambda user: user in ("bo", "cy"))
    world.put([event("ann"), event("bo"), event("cy")])
    world.run()
    fragile(monkeypatch, lambda user: False)
    work = world.work
    monkeypatch.setattr("tests.world.World.work", lambda *args: None)
    with pytest.raises(Refused, match="have no outcome"):
        world.redrive()
    world.ledger.letters.collection.update_one({}, {"$inc": {"attempts": 1}})  # a zombie's
    monkeypatch.setattr("tests.world.World.work", lambda self, made: work(made))
    assert totals(world.redrive()) == (3, 3, 0)
    assert world.verify().match


def test_when_the_block_beside_it_changes_a_mended_item_is_run_anew(world, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    world.put([event("ann"), event("bo")])
    world.put([event("cy")], name="b.jsonl")
    world.run()
    fragile(monkeypatch, lambda user: False)
    assert world.redrive()["items_redriven"] == 1
    world.put([event("dee")], name="b.jsonl")  # both blocks share a batch
    assert totals(world.run()) == (3, 3, 0)
    assert world.profile("bo")["events"] == 1
    assert world.verify().match


def test_after_a_change_of_code_a_plain_run_makes_everything_anew(world, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    world.put([event("ann"), event("bo")])
    world.run()
    fragile(monkeypatch, lambda user: False, version="mended")
    world.redrive()
    summary = world.run()
    assert (summary["batches"], summary["batches_reused"]) == (1, 0)
    assert totals(summary) == (2, 2, 0)
    assert world.verify().match


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.csv.gz", "a.parquet"])
@pytest.mark.parametrize("size", [20, 100_000])
def test_dead_items_are_found_again_in_every_format(world, monkeypatch, name, size):
    frame = pd.DataFrame(
        {
            "user": [f"user{n % 9}" if n % 7 else f"bad{n}" for n in range(300)],
            "action": "like",
            "ts": 891388800,
        }
    )
    if name.endswith(".parquet"):
        file = io.BytesIO()
        frame.to_parquet(file, row_group_size=50)
        body = file.getvalue()
    elif "csv" in name:
        body = frame.to_csv(index=False).encode()
    else:
        body = lines(frame.to_dict("records"))
    body = gzip.compress(body) if name.endswith(".gz") else body
    world.store.put(f"events/dt={DAY}/{name}", body)
    small = world.sized(size).tolerant(count=1_000)
    fragile(monkeypatch, lambda user: user.startswith("bad"))
    assert totals(small.run()) == (300, 257, 43)
    fragile(monkeypatch, lambda user: user in ("bad0", "bad49"))
    assert totals(small.redrive()) == (300, 298, 2)
    assert world.verify().match
    fragile(monkeypatch, lambda user: False)
    assert totals(small.redrive()) == (300, 300, 0)
    assert world.verify().match


def test_a_block_that_breaks_off_stays_one_letter_with_one_more_attempt(world):
    body = gzip.compress(lines([event(f"user{n}", item=str(hash(n))) for n in range(5_000)]))
    world.store.put(f"events/dt={DAY}/a.jsonl.gz", body[:-5_000])
    first = world.run()
    again = world.redrive()
    assert totals(again) == totals(first)
    (letter,) = world.letters()
    assert (letter["attempts"], letter["state"]) == (2, "open")
    assert world.verify().match


def test_a_failed_batch_is_run_again_by_a_redrive_even_with_new_code(world, monkeypatch):
    fragile(monkeypatch, lambda user: True)
    world.put([event(f"user{n}") for n in range(100)])
    work = world.plan()
    with pytest.raises(Refused, match="fails on every item"):
        world.work(work)
    with pytest.raises(Refused, match="more items could not be used"):
        world.reconcile(work)
    fragile(monkeypatch, lambda user: False, version="mended")
    assert totals(world.redrive()) == (100, 100, 0)
    assert world.verify().match


def test_blocks_that_landed_since_are_left_to_a_plain_run(world, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    world.put([event("bo"), event("ann")])
    world.run()
    world.put([event("cy")], name="late.jsonl")
    fragile(monkeypatch, lambda user: False)
    assert totals(world.redrive()) == (2, 2, 0)
    assert totals(world.run()) == (3, 3, 0)
    assert world.verify().match


def test_a_partition_that_never_ran_has_nothing_to_redrive(world):
    with pytest.raises(Refused, match=f"partition {NEXT} was never run"):
        world.redrive(NEXT)


def test_what_somebody_discarded_is_not_redriven(world, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    world.put([event("bo"), event("ann")])
    world.run()
    world.ledger.letters.discard({}, "not worth it")
    fragile(monkeypatch, lambda user: False)
    assert totals(world.redrive()) == (2, 1, 1)
