"""What is not known in number is not tolerated: rests of blocks, failed batches, nothing used."""

import gzip
import random

import pytest

from tests.support.pipeline import DAY, event, lines
from workers.batch import attempt_batch
from workers.errors import Malformed, Refused
from workers.ledger.counts import count_plan, lost_batches, merge_warnings
from workers.ledger.losses import can_be_redriven, failed_batches, has_new_blocks
from workers.ledger.manifest import manifest_key
from workers.sources.blocks import Blocks
from workers.sources.formats.lines import Lines
from workers.sources.formats.rows import Rows
from workers.values import BlockWarning, BrokenRange, Counts, Outcome, Place, PlaceKind

NEXT = "1998-04-02"
# What counts have had from the first version on.
COUNTED = (
    *("blocks", "bytes", "batches", "reused", "items", "used", "skipped", "dead", "discarded"),
    *("failed", "pending", "batches_failed", "batches_pending", "redriven", "redrivable"),
    "work_seconds",
)
ALL = {"count": 10**9, "rate": 1.0}  # of a tolerance: whatever the number


def put_truncated(pipeline, day=DAY, name="a.jsonl.gz", share=0.5):
    """Put a block of 2,000 events of which the upload broke off; return its key."""
    items = [event(f"user{n}", item=f"{random.Random(n).random()}") for n in range(2_000)]
    body = gzip.compress(lines(items), mtime=0)
    key = f"events/dt={day}/{name}"
    pipeline.store.put(key, body[: int(len(body) * share)])
    return key


def break_off(monkeypatch, lines_read, position):
    """Let reading give so many lines of a block, and then end at a place."""
    real = Blocks._read

    def read(self, *what):
        for run in real(self, *what):
            yield Lines(run.start, run.lines[:lines_read])
        raise Malformed("it makes no sense", Place.rest(position))

    monkeypatch.setattr(Blocks, "_read", read)


# A rest of a block


def test_a_block_that_breaks_off_is_not_tolerated_whatever_the_tolerance(pipeline):
    key = put_truncated(pipeline)
    pipeline.put([event("ann")] * 3)
    tolerant = pipeline.tolerant(**ALL)

    with pytest.raises(Refused) as refused:
        tolerant.run()

    message = str(refused.value)
    assert "1 part of a block was not read, which no tolerance covers, so nothing" in message
    assert "an unknown number more in what was not read (about " in message
    assert f"Not read: {key}, byte " in message
    assert "items by its bytes): the gzip stream breaks off" in message
    assert f"`fanfold dead-letters user_profiles --partition {DAY} --unread --discard" in message
    assert "redrive" not in message  # it would read the same bytes
    assert pipeline.profiles.count_documents({}) == 0

    plan = pipeline.ledger.last_plan("user_profiles", DAY)
    manifest = pipeline.store.get_json(manifest_key(plan))
    assert [part["block"] for part in manifest["unread"]] == [key]
    assert manifest["counts"]["unread_parts"] == 1


def test_a_rest_that_a_person_gave_up_is_tolerated(pipeline):
    put_truncated(pipeline)
    strict = pipeline.tolerant()
    with pytest.raises(Refused):
        strict.run()
    assert not pipeline.verify().match

    assert pipeline.give_up_rests() == 1
    summary = strict.run()
    assert (summary["unread_parts"], summary["dead_letters"]) == (0, 1)
    assert summary["items"] == summary["items_used"] + 1
    verdict = pipeline.verify()
    assert (verdict.match, verdict.unread_blocks) == (True, 0)


def test_a_block_put_anew_needs_no_decision(pipeline):
    key = put_truncated(pipeline)
    with pytest.raises(Refused):
        pipeline.run()
    put_truncated(pipeline, share=1)
    summary = pipeline.run()
    assert (summary["items_used"], summary["dead_letters"]) == (2_000, 0)
    assert {letter["state"] for letter in pipeline.letters()} == {"superseded"}
    assert {letter["block"] for letter in pipeline.letters()} == {key}


def test_a_rest_of_one_partition_costs_the_others_of_its_run_nothing(pipeline):
    put_truncated(pipeline)
    pipeline.put([event("ann")], NEXT)
    summary = pipeline.run(DAY, NEXT)
    assert (summary["partitions_folded"], summary["partitions_failed"]) == ([NEXT], [DAY])
    assert (summary["items"], summary["items_used"], summary["dead_letters"]) == (1, 1, 0)

    (refusal,) = summary["refused"]
    assert f"so nothing of {DAY} is folded: " in refusal["why"]
    assert [profile["_id"] for profile in pipeline.profiles.find()] == ["ann"]
    assert pipeline.verify(NEXT).match


def test_verify_names_a_block_that_cannot_be_read_whole(pipeline):
    key = put_truncated(pipeline)
    with pytest.raises(Refused):
        pipeline.run()
    verdict = pipeline.verify()
    assert verdict.unread_blocks == 1
    assert verdict.unread[0].startswith(f"{key}, byte ")
    assert "breaks off" in verdict.unread[0]


def test_a_rest_is_estimated_by_the_density_of_what_was_read(pipeline, monkeypatch):
    pipeline.put([event(f"user{n:04}") for n in range(1_000)])
    break_off(monkeypatch, 250, position=250 * len(lines([event("user0000")])))

    with pytest.raises(Refused, match=r"1 of 251 items.*an unknown number more.*about 750 by"):
        pipeline.run()
    (letter,) = pipeline.letters()
    assert letter["items"] == 750


def test_a_part_that_a_slicer_could_not_read_is_a_rest_too(pipeline):
    key = pipeline.put([event("ann")])
    work = pipeline.plan()
    (batch_id,) = work.to_run
    (range_,) = pipeline.ledger.batch(batch_id).ranges
    broken = BrokenRange(
        key=key, etag=range_.etag, size=range_.size, start=0, end=range_.end, items=1,
        offset=7, reason="the stream breaks off", is_rest=True,
    )  # fmt: skip
    pipeline.ledger.batches.update_one({"_id": batch_id}, {"$set": {"ranges": [broken.to_json()]}})
    outcome = attempt_batch(pipeline.ledger, pipeline.store, batch_id)
    assert (outcome.dead, outcome.unread_parts, outcome.unread_items) == (1, 1, 1)
    with pytest.raises(Refused, match="byte 7 to the end"):
        pipeline.tolerant(**ALL).reconcile(work)


def test_a_redrive_tries_a_rest_and_is_not_stopped_before_it_did(pipeline):
    put_truncated(pipeline)
    with pytest.raises(Refused):
        pipeline.run()
    work = pipeline.plan(is_redrive=True)
    assert not lost_batches(pipeline.asset, pipeline.ledger, work.plans[0].run)
    pipeline.work(work)
    with pytest.raises(Refused, match="1 part of a block was not read"):
        pipeline.reconcile(work)


def test_a_rest_that_an_older_ledger_counted_as_an_item_is_not_tolerated_either(pipeline):
    put_truncated(pipeline)
    work = pipeline.plan()
    pipeline.work(work)
    new_fields = ("unread_parts", "unread_items", "warnings")
    pipeline.ledger.batches.update_many({}, {"$unset": {f"outcome.{f}": "" for f in new_fields}})
    pipeline.ledger.dead_letters.collection.update_many({}, {"$unset": {"items": ""}})
    with pytest.raises(Refused, match="1 part of a block was not read"):
        pipeline.reconcile(work)


def test_documents_of_older_ledgers_are_read(pipeline):
    outcome = {"items": 2, "used": 1, "dead": 1, "bytes": 1, "rows": 1, "profiles": 1}
    outcome |= {"seconds": 0.1, "result": "a", "digest": "b", "attempt": 1}
    assert Outcome.of(outcome).unread_parts == 0
    numbers = dict.fromkeys(COUNTED, 0)
    counts = Counts.of({**numbers, "plan": "p", "partition": DAY})
    assert (counts.unread_parts, counts.unread_items, counts.warnings) == (0, 0, [])


# Failed batches


def test_a_failed_batch_ends_its_partition_early(pipeline):
    for name in "ab":
        pipeline.put([event()] * 10, name=f"{name}.jsonl")
    small = pipeline.sized(10).tolerant(**ALL)
    work = small.plan()
    run = work.plans[0].run
    assert not lost_batches(small.asset, small.ledger, run)

    first = next(iter(work.to_run))
    small.ledger.begin(first)
    small.ledger.fail(first, "S3 refused access")
    assert lost_batches(small.asset, small.ledger, run)
    assert [batch.id for batch in failed_batches(small.ledger, "user_profiles")] == [first]

    for batch_id in work.to_run:
        attempt_batch(small.ledger, small.store, batch_id)
    assert failed_batches(small.ledger, "user_profiles") == []
    small.reconcile(work)


def test_a_block_removed_between_plan_and_read_is_named_and_a_new_run_does_without_it(pipeline):
    gone = pipeline.put([event("bo")], name="b.jsonl")
    pipeline.put([event("ann")] * 3)
    tolerant = pipeline.sized(1).tolerant(**ALL)
    work = tolerant.plan()
    pipeline.remove(gone)
    for batch_id in work.to_run:
        try:
            attempt_batch(tolerant.ledger, tolerant.store, batch_id)
        except Refused:
            continue
    with pytest.raises(Refused, match=f"Failed: batch .* of {gone} .about 1 items"):
        tolerant.reconcile(work)
    assert tolerant.run()["items_used"] == 3


# Nothing used


def test_a_partition_of_which_nothing_was_used_is_not_folded(pipeline):
    pipeline.put([b'{"user": 1}', b'{"user": "bo"}'])
    with pytest.raises(Refused, match="not one item could be used, so nothing is folded: 2 of 2"):
        pipeline.run()

    letters = pipeline.ledger.dead_letters.find("user_profiles")
    pipeline.ledger.dead_letters.discard([letter.id for letter in letters], "a test of theirs")
    assert pipeline.run()["dead_letters"] == 2


def test_a_partition_without_items_is_folded(pipeline):
    pipeline.put([])
    assert pipeline.run()["items"] == 0


def test_two_reasons_stand_in_one_sentence(pipeline):
    put_truncated(pipeline)
    pipeline.put([b'{"user": 1}'], NEXT)
    says = "1 part of a block was not read and not one item could be used, which no"
    with pytest.raises(Refused, match=says):
        pipeline.run(DAY, NEXT)


# Warnings


def test_what_readers_warn_of_reaches_the_summary_once_with_how_many_blocks(pipeline, monkeypatch):
    for name in "abc":
        pipeline.put([event(name)], name=f"{name}.jsonl")
    pipeline.put([event("ann")], NEXT)

    def read(self, range_, head, columns):
        row = {"user": range_.key[-7:], "action": "view", "ts": 891388800}
        warned = range_.key.startswith(f"events/dt={DAY}")
        warnings = ("the column `item` is absent",) if warned else ("odd",)
        yield Rows([row], PlaceKind.BYTE, [0], is_text=False, warnings=warnings)

    monkeypatch.setattr(Blocks, "_read", read)
    assert pipeline.run(DAY, NEXT)["warnings"] == [
        f"events/dt={DAY}/a.jsonl: the column `item` is absent (and of 2 more blocks)",
        f"events/dt={NEXT}/a.jsonl: odd",
    ]
    plan = pipeline.ledger.last_plan("user_profiles", DAY)
    counts = count_plan(pipeline.ledger, plan, pipeline.ledger.batches_of(plan))
    assert [warning.blocks for warning in counts.warnings] == [3]


def test_warnings_are_bounded():
    many = [BlockWarning(sentence=f"{n}", block="k") for n in range(100)]
    merged = merge_warnings([*many, *many])
    assert len(merged) == 20
    assert merged[0].blocks == 2


# Which way out is named


def test_a_redrive_is_advised_where_a_batch_failed_and_a_new_run_where_its_block_is_another(
    pipeline, monkeypatch
):
    key = pipeline.put([event("ann")])
    work = pipeline.plan()
    (batch,) = pipeline.ledger.batches_of_asset("user_profiles")

    pipeline.ledger.fail(batch.id, "RuntimeError: out of luck")
    assert can_be_redriven(pipeline.ledger, [pipeline.ledger.batch(batch.id)])

    pipeline.put([event("bo")])
    with pytest.raises(Refused):
        attempt_batch(pipeline.ledger, pipeline.store, batch.id)
    failed = [pipeline.ledger.batch(batch.id)]
    assert failed[0].error.startswith(f"s3://{pipeline.store.bucket}/{key} was replaced")
    assert has_new_blocks(failed)
    assert not can_be_redriven(pipeline.ledger, failed)

    with pytest.raises(Refused) as refused:
        pipeline.reconcile(work)
    assert "redrive" not in str(refused.value)
