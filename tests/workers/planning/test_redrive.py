"""Redrive: dead items again, alone, counted once however often it is tried."""

import gzip
import io

import pandas as pd
import pytest

from tests.support.pipeline import DAY, event, fragile, lines
from workers.errors import Refused

NEXT = "1998-04-02"


def totals(summary):
    return summary["items"], summary["items_used"], summary["dead_letters"]


def test_an_item_that_works_now_is_counted_once_and_its_letter_is_redriven(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user in ("bo", "cy"))
    pipeline.put([event("ann"), event("bo"), event("cy"), event("ann")])
    assert totals(pipeline.run()) == (4, 2, 2)

    fragile(monkeypatch, lambda user: user == "cy", version="newer")
    assert totals(pipeline.redrive()) == (4, 3, 1)
    assert pipeline.profile("bo")["events"] == 1

    redriven, still_open = sorted(pipeline.letters(), key=lambda letter: letter["attempts"])
    assert (redriven["state"], redriven["attempts"]) == ("redriven", 1)
    assert (still_open["state"], still_open["attempts"]) == ("open", 2)
    assert pipeline.verify().match


def test_only_the_dead_items_are_run_again(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    pipeline.put([event(f"user{n}") for n in range(500)] + [event("bo")])
    pipeline.run()
    calls = fragile(monkeypatch, lambda user: False, version="newer")
    pipeline.redrive()
    assert calls == [1]
    assert pipeline.verify().match


def test_redriving_again_and_again_changes_nothing_but_the_attempts(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()

    for attempt in (2, 3, 4):
        assert totals(pipeline.redrive()) == (2, 1, 1)
        (letter,) = pipeline.letters()
        assert (letter["attempts"], letter["state"]) == (attempt, "open")

    fragile(monkeypatch, lambda user: False, version="newer")
    assert totals(pipeline.redrive()) == (2, 2, 0)
    assert totals(pipeline.redrive()) == (2, 2, 0)
    assert pipeline.verify().match


def test_a_plain_run_after_a_redrive_keeps_the_redriven_items(pipeline, monkeypatch):
    """Without a change of code: a task that looks at the outside world may just work later."""
    fragile(monkeypatch, lambda user: user == "bo")
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    fragile(monkeypatch, lambda user: False)
    pipeline.redrive()
    pipeline.put([event("cy")], name="late.jsonl")
    assert totals(pipeline.run()) == (3, 3, 0)
    assert pipeline.verify().match


def test_a_redrive_that_died_before_its_fold_is_finished_by_a_plain_run(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()

    fragile(monkeypatch, lambda user: False)
    monkeypatch.setattr("tests.support.pipeline.Pipeline.publish", lambda *args: None)
    monkeypatch.setattr("tests.support.pipeline.Pipeline.fold", lambda *args: None)
    pipeline.redrive()
    assert pipeline.profile("bo") is None

    monkeypatch.undo()
    assert totals(pipeline.run()) == (2, 2, 0)
    assert [letter["state"] for letter in pipeline.letters()] == ["redriven"]
    assert pipeline.verify().match


def test_a_redrive_killed_before_its_batch_is_replaced_by_the_next(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user in ("bo", "cy"))
    pipeline.put([event("ann"), event("bo"), event("cy")])
    pipeline.run()

    fragile(monkeypatch, lambda user: False)
    work = pipeline.work
    monkeypatch.setattr("tests.support.pipeline.Pipeline.work", lambda *args: None)
    with pytest.raises(Refused, match="have no outcome"):
        pipeline.redrive()

    pipeline.ledger.dead_letters.collection.update_one({}, {"$inc": {"attempts": 1}})  # a zombie's
    monkeypatch.setattr("tests.support.pipeline.Pipeline.work", lambda self, planned: work(planned))
    assert totals(pipeline.redrive()) == (3, 3, 0)
    assert pipeline.verify().match


def test_a_redriven_item_is_run_anew_when_a_block_beside_its_own_changes(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    pipeline.put([event("ann"), event("bo")])
    pipeline.put([event("cy")], name="b.jsonl")
    pipeline.run()

    fragile(monkeypatch, lambda user: False)
    assert pipeline.redrive()["items_redriven"] == 1

    pipeline.put([event("dee")], name="b.jsonl")  # both blocks share a batch
    assert totals(pipeline.run()) == (3, 3, 0)
    assert pipeline.profile("bo")["events"] == 1
    assert pipeline.verify().match


def test_after_a_change_of_code_a_plain_run_makes_everything_anew(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    fragile(monkeypatch, lambda user: False, version="newer")
    pipeline.redrive()
    summary = pipeline.run()
    assert (summary["batches"], summary["batches_reused"]) == (1, 0)
    assert totals(summary) == (2, 2, 0)
    assert pipeline.verify().match


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.csv.gz", "a.parquet"])
@pytest.mark.parametrize("size", [20, 100_000])
def test_dead_items_are_found_again_in_every_format(pipeline, monkeypatch, name, size):
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
    pipeline.store.put(f"events/dt={DAY}/{name}", body)

    small = pipeline.sized(size).tolerant(count=1_000)
    fragile(monkeypatch, lambda user: user.startswith("bad"))
    assert totals(small.run()) == (300, 257, 43)

    fragile(monkeypatch, lambda user: user in ("bad0", "bad49"))
    assert totals(small.redrive()) == (300, 298, 2)
    assert pipeline.verify().match

    fragile(monkeypatch, lambda user: False)
    assert totals(small.redrive()) == (300, 300, 0)
    assert pipeline.verify().match


def test_a_block_that_breaks_off_stays_one_letter_with_one_more_attempt(pipeline):
    body = gzip.compress(lines([event(f"user{n}", item=str(hash(n))) for n in range(5_000)]))
    pipeline.store.put(f"events/dt={DAY}/a.jsonl.gz", body[:-5_000])
    for attempt in (pipeline.run, pipeline.redrive):
        with pytest.raises(Refused, match="1 part of a block was not read"):
            attempt()
    (letter,) = pipeline.letters()
    assert (letter["attempts"], letter["state"]) == (2, "open")

    pipeline.give_up_rests()
    again = pipeline.run()
    assert again["items_used"] == again["items"] - 1
    assert pipeline.verify().match


def test_a_failed_batch_is_run_again_by_a_redrive_even_with_new_code(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: True)
    pipeline.put([event(f"user{n}") for n in range(100)])
    work = pipeline.plan()

    with pytest.raises(Refused, match="fails on every item"):
        pipeline.work(work)
    with pytest.raises(Refused, match="1 batch failed"):
        pipeline.reconcile(work)

    fragile(monkeypatch, lambda user: False, version="newer")
    assert totals(pipeline.redrive()) == (100, 100, 0)
    assert pipeline.verify().match


def test_blocks_that_landed_since_the_run_are_left_to_a_plain_run(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    pipeline.put([event("bo"), event("ann")])
    pipeline.run()
    pipeline.put([event("cy")], name="late.jsonl")
    fragile(monkeypatch, lambda user: False)
    assert totals(pipeline.redrive()) == (2, 2, 0)
    assert totals(pipeline.run()) == (3, 3, 0)
    assert pipeline.verify().match


def test_a_partition_that_never_ran_has_nothing_to_redrive(pipeline):
    with pytest.raises(Refused, match=f"partition {NEXT} was never run"):
        pipeline.redrive(NEXT)


def test_what_somebody_discarded_is_not_redriven(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    pipeline.put([event("bo"), event("ann")])
    pipeline.run()
    pipeline.ledger.dead_letters.discard(
        [letter["id"] for letter in pipeline.letters()], "not worth it"
    )
    fragile(monkeypatch, lambda user: False)
    assert totals(pipeline.redrive()) == (2, 1, 1)
