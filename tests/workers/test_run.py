"""The promises, shown by running partitions as plain calls."""

import gzip
from datetime import UTC, datetime

import msgspec
import pytest

from tests.support.pipeline import DAY, event, fragile, lines
from workers.declare.asset import Partitions
from workers.errors import Refused


def test_items_of_plain_and_gzip_blocks_become_profiles_that_verify(pipeline):
    pipeline.put([event("ann"), event("bo")])
    pipeline.put([event("ann")], name="b.jsonl.gz")
    summary = pipeline.run()
    assert summary["items"] == summary["items_used"] == 3
    assert summary["profiles"] == 2
    assert pipeline.profile("ann")["events"] == 2
    assert pipeline.verify().match


def test_a_block_cut_into_many_batches_counts_each_item_once(pipeline):
    pipeline.put([event(f"user{n % 7}", item=f"film {n}") for n in range(3_000)])
    summary = pipeline.sized(500).run()
    assert summary["batches"] >= 6
    assert summary["items_used"] == 3_000
    assert pipeline.verify().match


def test_the_profiles_do_not_depend_on_how_the_work_was_cut(pipeline):
    pipeline.put(
        [event(f"user{n % 7}", ts=891388800 + n, item=f"film {n % 50}") for n in range(2_000)]
    )
    pipeline.sized(300).run()
    digest = pipeline.verify().digest

    pipeline.profiles.drop()
    pipeline.ledger.plans.drop()
    pipeline.ledger.batches.drop()

    pipeline.sized(2_000).run()
    assert pipeline.verify().digest == digest


def test_an_item_on_which_the_task_fails_has_its_place_in_a_chunk_read_by_columns(
    pipeline, monkeypatch
):
    items = [event(f"user{n % 7}", item=f"film {n}") for n in range(2_000)]
    items[700] = event("bad")
    pipeline.put(items)
    fragile(monkeypatch, lambda user: user == "bad")
    summary = pipeline.sized(2_000).tolerant(count=1).run()
    assert (summary["items_used"], summary["dead_letters"]) == (1_999, 1)

    (letter,) = pipeline.letters()
    assert letter["place"] == f"byte {len(lines(items[:700]))}"
    assert letter["item"] == lines([items[700]]).decode().rstrip()

    fragile(monkeypatch, lambda user: False, version="mended")
    pipeline.redrive()
    assert pipeline.profile("bad")["events"] == 1


def test_small_blocks_read_in_both_ways_contribute_together(pipeline):
    for number, count in enumerate((5, 700, 3, 700, 1)):
        pipeline.put(
            [event(f"user{n % 7}", item=f"film {n}") for n in range(count)], name=f"{number}.jsonl"
        )
    summary = pipeline.sized(2_000).run()
    assert (summary["batches"], summary["items_used"]) == (1, 1_409)
    assert pipeline.profile("user0")["events"] == 1 + 100 + 1 + 100 + 1
    assert pipeline.verify().match


def test_an_empty_partition_succeeds_with_zero(pipeline):
    summary = pipeline.run()
    assert (summary["blocks"], summary["batches"], summary["items"]) == (0, 0, 0)
    assert pipeline.profiles.count_documents({}) == 0


def test_an_empty_block_and_a_folder_object_are_no_blocks(pipeline):
    pipeline.store.put(f"events/dt={DAY}/", b"")
    pipeline.store.put(f"events/dt={DAY}/empty.jsonl", b"")
    pipeline.put([event()])
    summary = pipeline.run()
    assert (summary["blocks"], summary["items"]) == (1, 1)


def test_bad_items_become_dead_letters_and_the_rest_counts(pipeline):
    key = pipeline.put([event(), b"nonsense", b"[]", {"user": "bo"}, event(user=7), event("bo")])

    summary = pipeline.run()
    assert (summary["items"], summary["items_used"], summary["dead_letters"]) == (6, 2, 4)

    letters = pipeline.letters()
    assert {letter["block"] for letter in letters} == {key}
    assert letters[0]["place"].startswith("byte ")
    assert {"nonsense", "[]"} < {letter["item"] for letter in letters}
    assert all(letter["reason"] and letter["state"] == "open" for letter in letters)
    assert pipeline.verify().match


def test_a_truncated_gzip_folds_what_could_be_read_once_its_rest_is_given_up(pipeline):
    body = gzip.compress(lines([event(f"user{n}", item=str(hash(n))) for n in range(5_000)]))
    pipeline.store.put(f"events/dt={DAY}/a.jsonl.gz", body[:-5_000])

    with pytest.raises(Refused, match="1 part of a block was not read, which no tolerance covers"):
        pipeline.run()
    assert pipeline.profiles.count_documents({}) == 0
    assert pipeline.give_up_rests() == 1

    summary = pipeline.run()
    assert summary["dead_letters"] == 1
    assert 0 < summary["items_used"] < 5_000

    (letter,) = pipeline.letters()
    assert "gzip stream breaks off" in letter["reason"]
    assert letter["place"].endswith("to the end")
    assert pipeline.verify().match


def test_a_batch_planned_for_other_code_is_refused(pipeline):
    pipeline.put([event()])
    work = pipeline.plan()
    pipeline.ledger.batches.update_many({}, {"$set": {"version": "older"}})
    with pytest.raises(Refused, match="version older"):
        pipeline.work(work)


def test_any_text_is_a_key_of_a_map(pipeline):
    odd = ["a.b", "$set", "nul\0", "%2E", "", "Ünï", "x" * 2_000]
    pipeline.put([event(topics=odd, item="a.b\0$")])
    pipeline.run()

    profile = pipeline.profile("ann")
    assert len(profile["topics"]) == len(odd)
    assert profile["liked"] == ["a.b\0$"]
    assert {preference["topic"] for preference in profile["preferences"]} == set(odd)
    assert pipeline.verify().match


def test_times_are_kept_to_the_millisecond(pipeline):
    pipeline.put([event(ts="1998-04-01T00:00:00.1239Z")])
    pipeline.run()
    seen = pipeline.profile("ann")["first_seen"]
    assert seen == datetime(1998, 4, 1, 0, 0, 0, 124_000, UTC)


def test_hourly_blocks_with_unpadded_hours_are_told_apart(pipeline):
    """GH Archive's layout: the key of hour 1 begins like those of hours 10 to 19."""
    pipeline.asset = msgspec.structs.replace(
        pipeline.asset,
        partitions=Partitions(every="hour", start="1998-01-01-00:00"),
        template="gh/{YYYY}-{MM}-{DD}-{H}.json.gz",
    )

    for hour in (1, 10, 11):
        body = gzip.compress(lines([event(f"user{hour}", ts=891388800 + hour * 3600)]))
        pipeline.store.put(f"gh/1998-04-01-{hour}.json.gz", body)

    assert pipeline.run("1998-04-01-01:00")["items"] == 1
    assert pipeline.verify("1998-04-01-01:00").match
    assert pipeline.run("1998-04-01-10:00", "1998-04-01-11:00")["items"] == 2
    assert pipeline.verify().match
    assert pipeline.verify().profiles == 3
