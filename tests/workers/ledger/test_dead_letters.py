"""Dead letters: which items become one, what is kept of them, how many are tolerated."""

import pytest

from tests.support.pipeline import DAY, event, fragile
from workers.batch import MAX_UNREADABLE_ITEMS, TRIED_ITEMS, attempt_batch
from workers.errors import Refused
from workers.ledger.counts import lost_batches

NEXT = "1998-04-02"


def states(pipeline):
    return [letter["state"] for letter in pipeline.letters()]


def test_one_bad_item_of_1000_costs_itself_and_at_most_21_attempts(pipeline, monkeypatch):
    calls = fragile(monkeypatch, lambda user: user == "bad")
    pipeline.put([event(f"user{n}") for n in range(637)] + [event("bad")] + [event("x")] * 362)
    summary = pipeline.run()
    assert (summary["items_used"], summary["dead_letters"]) == (999, 1)
    assert len(calls) <= 21
    assert pipeline.verify().match


def test_a_letter_says_what_where_and_why(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bad")
    key = pipeline.put([event("ann"), event("bad"), b'{"user": "bo"}'])
    pipeline.run()

    bug, malformed = sorted(pipeline.letters(), key=lambda letter: letter["kind"])

    assert (bug["kind"], bug["error"]) == ("bug", "ZeroDivisionError")
    assert bug["reason"] == "ZeroDivisionError in the task: by the user bad"
    assert "in contributions: raise ZeroDivisionError" in bug["where"][0]
    assert "/" not in bug["where"][0]
    assert '"user": "bad"' in bug["item"]

    assert (malformed["kind"], malformed["error"]) == ("malformed", "Malformed")
    assert malformed["where"] == []

    for letter in (bug, malformed):
        assert (letter["block"], letter["asset"], letter["partition"]) == (
            key,
            "user_profiles",
            DAY,
        )
        assert (letter["attempts"], letter["state"]) == (1, "open")
        assert letter["first_seen"] == letter["last_seen"]
        assert pipeline.ledger.batch(letter["batch"]).is_done


def test_of_a_large_item_a_letter_keeps_the_beginning_and_the_size(pipeline):
    pipeline.put([event(), b'{"user": "' + b"x" * 100_000 + b'"}'])
    pipeline.run()
    (letter,) = pipeline.letters()
    assert len(letter["item"]) == 4096
    assert letter["item_bytes"] == 100_012


def test_a_task_that_fails_on_every_item_stops_early_and_says_so(pipeline, monkeypatch):
    calls = fragile(monkeypatch, lambda user: True)
    pipeline.put([event(f"user{n}") for n in range(5_000)])
    work = pipeline.plan()

    with pytest.raises(Refused, match=r"fails on every item.*ZeroDivisionError: by the user"):
        pipeline.work(work)

    assert len(pipeline.letters()) == TRIED_ITEMS
    assert len(calls) < 100
    (batch,) = pipeline.ledger.batches.find()
    assert batch["state"] == "failed"

    with pytest.raises(Refused, match=r"about 5,0\d\d items of 1 failed batches.*fails on every"):
        pipeline.reconcile(work)


def test_a_task_that_fails_on_the_first_items_only_goes_on(pipeline, monkeypatch):
    bad = {f"user{n}" for n in range(30)}
    fragile(monkeypatch, lambda user: user in bad)
    pipeline.put([event(f"user{n}") for n in range(5_000)])
    summary = pipeline.tolerant(count=100).run()
    assert (summary["items_used"], summary["dead_letters"]) == (4_970, 30)


def test_a_block_of_other_items_stops_early_too(pipeline):
    pipeline.put([b'{"no": "user"}'] * (MAX_UNREADABLE_ITEMS + 5_000))
    work = pipeline.plan()
    with pytest.raises(Refused, match=r"none of the first 10,000 items.*is the format"):
        pipeline.work(work)
    assert len(pipeline.letters()) == MAX_UNREADABLE_ITEMS


def test_above_tolerance_nothing_is_folded_and_the_message_says_all(pipeline, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bad")
    bad = [b"bad"] * 3 + [event("bad")] * 2 + [b'{"user": 1}', b'{"user": "x"}']
    pipeline.put([event(), *bad])
    work = pipeline.plan()
    pipeline.work(work)

    with pytest.raises(Refused) as refused:
        pipeline.tolerant(count=6).reconcile(work)

    message = str(refused.value)
    assert "7 of 8 items of 1998-04-01 (7 dead letters)" in message
    assert "3 x JSON is malformed" in message
    assert "2 x ZeroDivisionError in the task: by the user bad" in message
    assert message.count(" x ") == 3
    assert f"`fanfold redrive user_profiles --partition {DAY}`" in message

    assert pipeline.profiles.count_documents({}) == 0
    (plan,) = pipeline.ledger.plans.find()
    assert (plan["state"], plan["why"]) == ("refused", message)


def test_at_tolerance_the_partition_is_folded(pipeline):
    pipeline.put([event(), b"bad", b"worse"])
    assert pipeline.tolerant(count=2).run()["dead_letters"] == 2
    assert pipeline.verify().match


def test_discarded_letters_are_tolerated(pipeline):
    pipeline.put([event(), b"bad", b"worse"])
    strict = pipeline.tolerant(count=0)
    with pytest.raises(Refused):
        strict.run()

    ids = [letter["id"] for letter in pipeline.letters()]
    assert pipeline.ledger.dead_letters.discard(ids, "a producer's known bug") == 2

    summary = strict.run()
    assert (summary["items_used"], summary["dead_letters"]) == (1, 2)
    assert states(pipeline) == ["discarded", "discarded"]


def test_batches_that_failed_alike_but_for_numbers_are_one_reason(pipeline):
    small = pipeline.sized(1).tolerant(count=0)
    for n in range(3):
        pipeline.put([event()], name=f"{n}.jsonl")
    work = small.plan()
    for number, batch in enumerate(work.to_run):
        small.ledger.begin(batch)
        small.ledger.fail(batch, f"page {number} is torn")
    with pytest.raises(Refused, match="Most frequent: 3 x batch failed: page N is torn"):
        small.reconcile(work)


def test_a_failed_batch_is_not_tolerated_whatever_the_tolerance_and_is_run_again(pipeline):
    pipeline.put([event(f"user{n}") for n in range(900)])
    small = pipeline.sized(100).tolerant(count=1_000, rate=1.0)
    work = small.plan()

    first, *rest = work.to_run
    for batch in rest:
        attempt_batch(small.ledger, small.store, batch)
    small.ledger.begin(first)
    small.ledger.fail(first, "the disk is full")

    says = rf"1 batch failed.*batch {first} of .*a.jsonl \(about \d+.*the disk is full"
    with pytest.raises(Refused, match=says):
        small.reconcile(work)
    assert pipeline.profiles.count_documents({}) == 0

    assert list(small.plan().to_run) == [first]
    small.run()
    assert pipeline.verify().match


def test_a_run_beyond_tolerance_does_not_start_more_workers(pipeline):
    for name in "abcdef":
        pipeline.put([b'{"user": 1}'] * 100, name=f"{name}.jsonl")
    strict = pipeline.sized(100).tolerant(count=10)

    work = strict.plan()
    run = work.plans[0].run
    batches = list(work.to_run)
    assert not lost_batches(strict.asset, strict.ledger, run)

    for batch in batches:
        attempt_batch(strict.ledger, strict.store, batch)
        if lost_batches(strict.asset, strict.ledger, run):
            break

    assert batch != batches[-1]
    with pytest.raises(Refused, match=r"\d batches were not started any more"):
        strict.reconcile(work)


def test_what_is_not_counted_yet_does_not_stop_a_run_that_may_end_within_tolerance(pipeline):
    for name in "abcdef":
        pipeline.put([event()] * 100, name=f"{name}.jsonl")
    pipeline.put([b"bad"] * 5 + [event()] * 95, name="0.jsonl")

    loose = pipeline.sized(100).tolerant(rate=0.01)
    work = loose.plan()

    for batch in work.to_run:
        assert not lost_batches(loose.asset, loose.ledger, work.plans[0].run)
        attempt_batch(loose.ledger, loose.store, batch)
    loose.reconcile(work)


def test_the_same_bad_item_found_again_stays_one_letter(pipeline):
    pipeline.put([event(), b"bad"])
    work = pipeline.plan()
    pipeline.work(work)
    pipeline.ledger.batches.update_many({}, {"$set": {"state": "running"}})
    pipeline.work(work)
    (letter,) = pipeline.letters()
    assert letter["attempts"] == 2


def test_a_letter_of_an_attempt_whose_outcome_is_not_used_does_not_count(pipeline, monkeypatch):
    """A killed attempt may have found dead what the next one could use."""
    fragile(monkeypatch, lambda user: user == "bo")
    pipeline.put([event("ann"), event("bo")])
    work = pipeline.plan()
    pipeline.work(work)
    pipeline.ledger.batches.update_many(
        {}, {"$set": {"state": "running"}, "$unset": {"outcome": ""}}
    )

    fragile(monkeypatch, lambda user: False)
    summary = pipeline.run()

    assert (summary["items_used"], summary["dead_letters"]) == (2, 0)
    assert states(pipeline) == ["superseded"]


def test_letters_of_a_block_that_was_replaced_are_superseded_and_come_back_with_it(pipeline):
    pipeline.put([event(), b"bad"])
    pipeline.run()
    pipeline.put([event(), event()])
    pipeline.run()
    (letter,) = pipeline.letters()
    assert letter["state"] == "superseded"
    pipeline.put([event(), b"bad"])
    assert pipeline.run()["dead_letters"] == 1
    assert states(pipeline) == ["open"]


def test_letters_of_a_replaced_block_are_superseded_though_its_partition_is_not_folded(pipeline):
    old = pipeline.put([event("ann"), b"bad"])
    kept = pipeline.put([event("bo"), b"worse"], name="b.jsonl")
    pipeline.run()
    body = pipeline.store.get(old)
    pipeline.put([event("ann"), *[b"bad"] * 60])
    with pytest.raises(Refused):
        pipeline.run()

    letters = pipeline.ledger.dead_letters
    assert [letter.block for letter in letters.find("user_profiles", state="superseded")] == [old]
    still_open = letters.find("user_profiles", state="open")
    assert {letter.block for letter in still_open} == {old, kept}
    assert len(still_open) == 61

    pipeline.store.put(old, body)  # and with the block its letter comes back
    pipeline.put([event("bo"), *[b"bad"] * 60], name="b.jsonl")
    with pytest.raises(Refused):
        pipeline.run()
    assert [
        str(each.place) for each in letters.find("user_profiles", state="open") if each.block == old
    ] == [f"byte {len(body) - len(b'bad') - 1}"]


def test_letters_stay_open_where_a_partition_that_lost_its_blocks_is_held_back(pipeline):
    key = pipeline.put([event("ann"), b"bad"])
    pipeline.run()
    pipeline.remove(key)
    with pytest.raises(Refused):
        pipeline.run()
    assert states(pipeline) == ["open"]


def test_a_letter_that_a_person_discarded_stays_so(pipeline):
    pipeline.put([event(), b"bad"])
    pipeline.run()
    pipeline.ledger.dead_letters.discard([letter["id"] for letter in pipeline.letters()], "known")
    pipeline.put([event()], name="b.jsonl")
    pipeline.run()
    assert states(pipeline) == ["discarded"]
