"""The commands for what went wrong, end to end."""

import gzip
import re

import msgspec
import pytest
from rich.console import Console

from pipelines import runs
from tests.pipelines.conftest import told
from tests.support.pipeline import DAY, event, fragile, lines
from tests.support.webhook import unlucky
from workers.assets import assets

NEXT = "1998-04-02"


@pytest.fixture
def bad(pipeline):
    """Two days with a dead letter each, and one with two."""
    for day, items in ((DAY, [b"bad"]), (NEXT, [b'{"user": 1}']), ("1998-04-04", [b"x", b"y"])):
        pipeline.put([event("ann"), *items], day)
    pipeline.run(DAY, NEXT, "1998-04-04")
    return pipeline


def test_letters_are_filtered_by_reason_and_state_and_shown_whole(bad, fanfold):
    _, listed = told(fanfold("dead-letters", "user_profiles", "--json"))
    assert len(listed["dead_letters"]) == 4
    _, some = told(fanfold("dead-letters", "user_profiles", "--reason", "Malformed", "--json"))
    assert {row["partition"] for row in some["dead_letters"]} == {DAY, "1998-04-04"}
    _, none = told(fanfold("dead-letters", "user_profiles", "--state", "redriven", "--json"))
    assert none["dead_letters"] == []

    letter = listed["dead_letters"][0]
    assert letter["place"] == f"byte {len(lines([event('ann')]))}"
    _, whole = told(fanfold("dead-letters", "user_profiles", "--id", letter["id"], "--json"))
    assert whole["dead_letters"] == [letter]
    code, out, _ = fanfold("dead-letters", "user_profiles", "--id", letter["id"])
    assert code == 0
    assert "item        bad\n" in out
    assert "first_seen" in out
    assert "JSON is malformed" in fanfold("dead-letters", "user_profiles")[1]


def test_letters_are_discarded_with_a_reason_and_stay_on_record(bad, fanfold):
    call = ("dead-letters", "user_profiles", "--partition", NEXT, "--discard", "a known bug")
    assert told(fanfold(*call, "--json"))[1]["discarded"] == 1
    _, kept = told(fanfold("dead-letters", "user_profiles", "--state", "discarded", "--json"))
    assert [row["why"] for row in kept["dead_letters"]] == ["a known bug"]
    assert fanfold("dead-letters", "user_profiles", "--discard", " ")[0] == 2
    assert "no such dead letter" in fanfold("dead-letters", "user_profiles", "--id", "none")[2]


def test_a_part_that_was_not_read_is_listed_with_an_estimate_and_given_up_by_a_command(
    pipeline, fanfold
):
    body = gzip.compress(lines([event(f"user{n}", item=str(n * 7919)) for n in range(2_000)]))
    pipeline.store.put(f"events/dt={DAY}/a.jsonl.gz", body[: len(body) // 2])
    pipeline.put([event("ann"), b"{"])
    run = ("run", "user_profiles", "--partition", DAY)
    code, out, _ = fanfold(*run)
    assert code == 1
    assert "1 part of a block was not read" in out

    _, listed = told(fanfold("dead-letters", "user_profiles", "--unread", "--json"))
    (rest,) = listed["dead_letters"]
    assert (rest["block"], rest["is_estimate"]) == (f"events/dt={DAY}/a.jsonl.gz", True)
    assert rest["items"] >= 1
    assert f", about {rest['items']:,} items" in fanfold("dead-letters", "user_profiles")[1]

    give_up = ("dead-letters", "user_profiles", "--partition", DAY, "--unread", "--discard", "lost")
    assert told(fanfold(*give_up, "--json"))[1]["discarded"] == 1
    _, listed = told(fanfold("dead-letters", "user_profiles", "--state", "open", "--json"))
    assert [letter["item"] for letter in listed["dead_letters"]] == ["{"]
    assert fanfold(*run)[0] == 0
    assert fanfold("verify", "user_profiles")[0] == 0


def test_failed_batches_are_listed_beneath_the_letters(pipeline, fanfold, monkeypatch):
    key = pipeline.put([event("ann")])
    with monkeypatch.context() as patch:
        unlucky(patch, "no seat [17]")
        assert fanfold("run", "user_profiles", "--partition", DAY)[0] == 1

    _, listed = told(fanfold("dead-letters", "user_profiles", "--json"))
    (batch,) = listed["failed_batches"]
    assert (batch["partition"], batch["blocks"], batch["is_estimate"]) == (DAY, [key], True)
    assert batch["error"] == "RuntimeError: no seat [17]"

    _, out, _ = fanfold("dead-letters", "user_profiles", "--partition", DAY)
    assert "failed batches:" in out
    assert f"about {batch['items']}" in out
    assert "RuntimeError: no seat [17]" in out
    _, elsewhere = told(fanfold("dead-letters", "user_profiles", "--partition", NEXT, "--json"))
    assert elsewhere["failed_batches"] == []

    assert fanfold("redrive", "user_profiles")[0] == 0
    assert "failed batches" not in fanfold("dead-letters", "user_profiles")[1]


def test_redrive_takes_every_partition_that_has_letters_a_run_for_each_range(bad, fanfold):
    code, document = told(fanfold("redrive", "user_profiles", "--json"))
    assert code == 0
    assert document["partitions"] == [DAY, NEXT, "1998-04-04"]
    assert [summary["partitions"] for summary in document["runs"]] == [[DAY, NEXT], ["1998-04-04"]]
    assert (document["items_tried"], document["items_left"]) == (4, 4)
    _, listed = told(fanfold("dead-letters", "user_profiles", "--json"))
    assert {row["attempts"] for row in listed["dead_letters"]} == {2}


def test_redrive_says_what_works_now(pipeline, fanfold, monkeypatch):
    fragile(monkeypatch, lambda user: user == "bo")
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    fragile(monkeypatch, lambda user: False, version="repaired")
    code, out, _ = fanfold("redrive", "user_profiles", "--partition", DAY)
    assert code == 0
    assert "1 items run again: 1 used now, 0 still not" in out
    assert "nothing to redrive" in fanfold("redrive", "user_profiles")[1]
    assert pipeline.verify().match


def test_rebuild_takes_up_partitions_as_they_are_now(pipeline, fanfold, monkeypatch):
    sizes = msgspec.structs.replace(pipeline.asset.sizes, partitions_per_run=3)
    short = msgspec.structs.replace(pipeline.asset, sizes=sizes)
    monkeypatch.setitem(assets(), "user_profiles", short)
    days = short.partitions.between("1998-04-01", "1998-04-04")
    for day in days:
        pipeline.put([event("ann")], day)
    assert fanfold("run", "user_profiles", "--partitions", f"{days[0]}...{days[-1]}")[0] == 0
    pipeline.put([event("bo")], days[0], "late.jsonl")
    code, done = told(fanfold("rebuild", "user_profiles", "--json"))
    assert code == 0, done
    assert (done["profiles"], done["batches"], done["batches_reused"]) == (2, 5, 4)
    assert len(done["runs"]) == 2
    assert pipeline.verify().match
    assert pipeline.database.list_collection_names(filter={"name": {"$regex": "rebuild"}}) == []


def test_what_is_folded_while_a_rebuild_runs_is_taken_up_before_the_swap(
    pipeline, fanfold, monkeypatch
):
    pipeline.put([event("ann")])
    pipeline.run()
    real = runs.materialise
    seen = []

    def materialise_and_meddle(asset, partitions, *args, **more):
        summary = real(asset, partitions, *args, **more)
        if not seen:
            pipeline.put([event("bo")], name="late.jsonl")
            pipeline.run()
        seen.append(partitions)
        return summary

    monkeypatch.setattr(runs, "materialise", materialise_and_meddle)
    code, out, _ = fanfold("rebuild", "user_profiles")
    assert code == 0
    assert "2 profiles rebuilt" in out
    assert seen == [[DAY], [DAY]]
    assert pipeline.verify().match


def test_a_rebuild_that_fails_leaves_the_old_profiles(pipeline, fanfold):
    pipeline.put([event("ann")])
    pipeline.run()
    pipeline.put([event("ann")] + [b"bad"] * 50, name="b.jsonl")
    code, out, _ = fanfold("rebuild", "user_profiles")
    assert code == 1
    assert "the old profiles stay as they are" in out
    assert "50 of 52 items" in out
    assert pipeline.profile("ann")["events"] == 1


def test_people_see_reasons_first_then_letters_by_block_in_the_order_of_bytes(bad, fanfold):
    bad.put([*[{"user": n} for n in range(12)], event("ann")], NEXT, "b.jsonl")
    bad.run(NEXT)
    code, out, _ = fanfold("dead-letters", "user_profiles")
    assert code == 0
    reasons, *blocks = out.split("\n\n")
    assert reasons.splitlines()[1].split(maxsplit=1)[0] == "13"
    assert reasons.splitlines()[-1] == "16 open dead letters in all"

    of_block = next(text for text in blocks if text.startswith(f"events/dt={NEXT}/b.jsonl"))
    title, *rows = of_block.splitlines()
    assert title.endswith(f"({NEXT})")
    assert [int(row.split()[2]) for row in rows] == [*range(0, 120, 12), 120, 133]


def test_people_see_twenty_letters_with_how_many_more_there_are_and_how_to_see_all(bad, fanfold):
    bad.put([*[b"bad"] * 18, *[event(f"user{n}") for n in range(9)]], NEXT, "b.jsonl")
    bad.run(NEXT)
    listed = re.compile(r"^  [0-9a-f]{8}  byte ", re.MULTILINE)
    out = fanfold("dead-letters", "user_profiles")[1]
    assert len(listed.findall(out)) == 20
    assert "and 2 more: fanfold dead-letters user_profiles --all\n" in out
    out = fanfold("dead-letters", "user_profiles", "--all")[1]
    assert len(listed.findall(out)) == 22
    assert "more:" not in out


def test_an_id_as_it_is_printed_names_its_letter_to_another_command(bad, fanfold):
    short = re.search(
        r"^  ([0-9a-f]+)  byte ", fanfold("dead-letters", "user_profiles")[1], re.MULTILINE
    )[1]
    _, listed = told(fanfold("dead-letters", "user_profiles", "--id", short, "--json"))
    assert [letter["id"][:8] for letter in listed["dead_letters"]] == [short]


def test_an_id_that_several_letters_begin_with_is_refused(bad, fanfold):
    letters = bad.database["dead_letters"]
    letter = letters.find_one({})
    letters.insert_one(letter | {"_id": f"{letter['_id'][:12]}other"})
    code, _, err = fanfold("dead-letters", "user_profiles", "--id", letter["_id"][:10])
    assert code == 2
    assert "ids of several dead letters begin with" in err


def test_people_see_letters_that_count_now_and_how_many_others_there_are(bad, fanfold):
    bad.put([event("ann")], NEXT)
    bad.run(NEXT)
    fanfold("dead-letters", "user_profiles", "--partition", DAY, "--discard", "known")
    out = fanfold("dead-letters", "user_profiles")[1]
    assert f"events/dt={NEXT}/" not in out
    assert "besides: 1 discarded, 1 superseded (--state lists them)" in out
    assert (
        f"events/dt={NEXT}/a.jsonl"
        in fanfold("dead-letters", "user_profiles", "--state", "superseded")[1]
    )


def test_dead_letters_fit_80_columns(bad, fanfold, monkeypatch):
    for page in ("dead_letters", "console"):
        console = Console(width=80, highlight=False, soft_wrap=True)
        monkeypatch.setattr(f"pipelines.cli.{page}.out", console)
    bad.put([{"user": "a" * 90, "action": 7}, event("ann")], NEXT, "b.jsonl")
    bad.run(NEXT)
    out = fanfold("dead-letters", "user_profiles")[1]
    assert max(map(len, out.splitlines())) <= 80


def test_letters_of_a_block_that_was_replaced_are_superseded(pipeline, fanfold):
    pipeline.put([event("ann"), b"bad"])
    pipeline.run()
    pipeline.put([event("ann"), event("bo")])
    pipeline.run()
    _, listed = told(fanfold("dead-letters", "user_profiles", "--state", "superseded", "--json"))
    assert [row["state"] for row in listed["dead_letters"]] == ["superseded"]
