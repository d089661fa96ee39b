"""How alerts read, and when they are news."""

import math
import re
from datetime import UTC, datetime

import dagster as dg
import pytest

from pipelines.alerts.alert import AlertKind
from pipelines.alerts.messages import MAX_SENTENCE_CHARACTERS, message_text
from pipelines.alerts.report import RunOutcome, RunReport
from pipelines.alerts.run_records import Command
from pipelines.jobs import redrive_job_name
from pipelines.runs import materialise
from tests.support.pipeline import DAY, event, fragile
from tests.support.webhook import anonymous, redeclare, unlucky
from workers.declare import Tolerance
from workers.declare.asset import Sizes

NEXT = "1998-04-02"


def test_a_run_with_40_failed_batches_is_one_message_that_says_what_to_know(
    pipeline, hook, watch, monkeypatch
):
    pipeline.put([event(f"user{n}") for n in range(400)])
    asset = redeclare(monkeypatch, pipeline.asset, sizes=Sizes(min_items=10, max_items=10))
    monkeypatch.setattr("workers.share.TOLERANCE_SECONDS", math.inf)  # so that none is left out
    unlucky(monkeypatch)
    assert not materialise(asset, [DAY])["success"]
    assert pipeline.ledger.batches.count_documents({"state": "failed"}) == 40
    for _ in range(3):
        watch.tick()
    (text,) = hook.texts
    assert anonymous(text) == (
        "user_profiles 1998-04-01 failed\n"
        "1998-04-01: 40 batches failed, which no tolerance covers, so nothing is folded\n"
        "400 items: 0 used, 0 dead letters, 40 failed batches (about 400 items)\n"
        "400 x batch failed: RuntimeError: out of luck\n"
        "T s\n"
        "http://127.0.0.1:3000/runs/ID\n"
        "When the cause is mended: fanfold redrive user_profiles --partition 1998-04-01"
    )
    ((level, line),) = watch.logged
    assert (level, line) == ("WARNING", "; ".join(text.splitlines()))
    assert hook.requests == 1


def test_a_partition_that_is_held_back_is_told_once_however_much_more_goes(pipeline, hook, watch):
    keys = [pipeline.put([event(f"user{n}")], name=f"{n}.jsonl") for n in range(4)]
    pipeline.run()
    for key in keys[:3]:
        pipeline.remove(key)
    assert not materialise(pipeline.asset, [DAY])["success"]
    watch.tick()
    pipeline.remove(keys[3])
    assert not materialise(pipeline.asset, [DAY])["success"]
    watch.tick()

    assert watch.kinds() == ["failed", "repeated"]
    (text,) = hook.texts
    assert "held back" in text
    command = f"fanfold run user_profiles --partition {DAY} --drop-removed"
    assert text.splitlines()[-1] == f"If that is meant: {command}"


def test_the_same_failure_is_told_once_then_when_it_changes_and_when_it_recovers(
    pipeline, hook, watch, monkeypatch
):
    pipeline.put([event(f"user{n}") for n in range(100)])
    for why in ("no seat 17", "no seat 4", "no bed"):
        with monkeypatch.context() as patch:
            unlucky(patch, why)
            materialise(pipeline.asset, [DAY])
        watch.tick()
    for _ in range(2):
        assert materialise(pipeline.asset, [DAY])["success"]
        watch.tick()
    assert watch.kinds() == ["failed", "repeated", "failed", "recovered", "finished"]
    assert [text.splitlines()[0] for text in hook.texts] == [
        "user_profiles 1998-04-01 failed",
        "user_profiles 1998-04-01 failed",
        "user_profiles 1998-04-01 recovered",
    ]
    assert anonymous(hook.texts[-1]) == (
        "user_profiles 1998-04-01 recovered\n"
        "100 items: 100 used, 0 dead letters, 0 failed batches; 100 profiles\n"
        "T s\n"
        "http://127.0.0.1:3000/runs/ID"
    )
    assert [level for level, _ in watch.logged] == ["WARNING", "WARNING", "INFO"]


def test_a_warning_is_told_once_and_again_with_other_numbers(pipeline, hook, watch):
    pipeline.put([event("ann"), b"bad", b'{"user": 1}', b'{"user": 2}'])
    for _ in range(2):
        materialise(pipeline.asset, [DAY])
        watch.tick()
    pipeline.put([b'{"user": 3}'], name="b.jsonl")
    materialise(pipeline.asset, [DAY])
    watch.tick()
    assert watch.kinds() == ["warned", "finished", "warned"]
    first, second = hook.texts
    assert anonymous(first) == (
        "user_profiles 1998-04-01 finished with warnings\n"
        "4 items: 1 used, 3 dead letters, 0 failed batches; 1 profiles\n"
        "2 x Expected `str`, got `int` - at `$.user`\n"
        "1 x JSON is malformed: invalid character (byte N)\n"
        "T s\n"
        "http://127.0.0.1:3000/runs/ID\n"
        "When the cause is mended: fanfold redrive user_profiles --partition 1998-04-01"
    )
    assert "5 items: 1 used, 4 dead letters" in second


def test_documents_of_others_that_became_profiles_are_told_with_the_counts(
    pipeline, hook, watch, monkeypatch
):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "finished")
    pipeline.profiles.insert_one({"_id": "ann", "events": 70})
    pipeline.put([event("ann")])
    materialise(pipeline.asset, [DAY])
    watch.tick()
    (text,) = hook.texts
    counts, adopted = text.splitlines()[1:3]
    assert counts == "1 items: 1 used, 0 dead letters, 0 failed batches; 1 profiles"
    assert adopted == (
        "The run made profiles of 1 document of others. It replaced 1 value in fields of the "
        'profiles; a field with adopt="begin" begins with such values instead.'
    )


def test_a_part_that_was_not_read_is_told_with_an_estimate_and_the_command_that_shows_it(
    pipeline, hook, watch
):
    pipeline.put([event(f"user{n}") for n in range(100)])
    pipeline.store.put(f"events/dt={DAY}/b.parquet", b"PAR1" + bytes(2_000))
    materialise(pipeline.asset, [DAY])
    watch.tick()
    (text,) = hook.texts
    head, why, numbers, *_, command = text.splitlines()
    assert head == "user_profiles 1998-04-01 failed"
    assert why.startswith("1998-04-01: 1 part of a block was not read, which no tolerance covers")
    assert "1 unread parts of blocks (about " in numbers
    assert command == "See: fanfold dead-letters user_profiles --partition 1998-04-01 --unread"


def test_a_redrive_that_clears_a_warned_partition_leaves_nothing_to_tell(
    pipeline, hook, watch, monkeypatch
):
    with monkeypatch.context() as patch:
        fragile(patch, lambda user: user == "bo")
        pipeline.put([event("ann"), event("bo")])
        materialise(pipeline.asset, [DAY])
    fragile(monkeypatch, lambda user: False)
    materialise(pipeline.asset, [DAY], redrive_job_name(pipeline.asset))
    watch.tick()
    assert watch.kinds() == ["warned", "finished"]
    assert len(hook.texts) == 1


def test_ranges_and_single_partitions_share_the_state_of_a_partition(
    pipeline, hook, watch, monkeypatch
):
    for day in (DAY, NEXT):
        pipeline.put([event("ann"), *[b"bad"] * 30], day)
    asset = redeclare(monkeypatch, pipeline.asset, tolerance=Tolerance())
    for days in ([DAY, NEXT], [DAY], [NEXT]):
        materialise(asset, days)
        watch.tick()
    asset = redeclare(monkeypatch, pipeline.asset, tolerance=Tolerance(count=50, rate=0.01))
    for days in ([NEXT], [DAY, NEXT], [DAY]):
        materialise(asset, days)
        watch.tick()
    # The range found both days beyond tolerance, so the failure of neither alone is news.
    assert watch.kinds() == ["failed", "repeated", "repeated", "recovered", "recovered", "finished"]
    subjects = [text.splitlines()[0] for text in hook.texts]
    assert subjects[0] == "user_profiles 1998-04-01...1998-04-02 (2 partitions) failed"
    assert hook.texts[0].endswith("fanfold redrive user_profiles")
    assert hook.texts[2].endswith("fanfold redrive user_profiles")
    assert subjects[1] == "user_profiles 1998-04-02 recovered, with warnings"


def test_runs_that_finished_are_told_by_setting_with_their_usual_duration(
    pipeline, hook, watch, monkeypatch
):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "finished")
    monkeypatch.setenv("FANFOLD_UI_URL", "https://dagster.example.org/")
    pipeline.put([event("ann")])
    materialise(pipeline.asset, [DAY])
    watch.tick()
    watch.alerts.update_many({}, {"$set": {"seconds": 3000.0}})
    materialise(pipeline.asset, [DAY])
    materialise(pipeline.asset, [DAY, NEXT, "1998-04-03"])
    watch.tick()
    alone, as_usual, larger = hook.texts
    assert "usually" not in alone
    assert re.search(r"^[\d.]+ s, usually 50 min$", as_usual, re.MULTILINE)
    assert "usually" not in larger  # that much was not run before
    assert "\nhttps://dagster.example.org/runs/" in alone


def test_a_kind_that_does_not_exist_is_named(pipeline, watch, monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "failed,everything")
    with pytest.raises(dg.Failure, match="FANFOLD_NOTIFY_ON names everything; it can name failed"):
        watch.tick()


def test_long_and_many_sentences_are_cut(pipeline):
    nothing = {
        "folded": [],
        "counts": [],
        "incomplete": [],
        "intolerable": [],
        "redrivable": [],
        "reasons": [],
        "unusual": {},
    }
    report = RunReport(
        asset=pipeline.asset,
        run="r1",
        ended=datetime.now(UTC),
        outcome=RunOutcome.FAILED,
        command=Command.RUN,
        partitions=[],
        seconds=None,
        sentences=[f"step{number}: " + "no " * 300 for number in range(5)],
        profiles=None,
        adopted="",
        causes={"": "it"},
        **nothing,
    )
    head, *sentences, more, link = message_text(report, AlertKind.FAILED, []).splitlines()
    assert head == "user_profiles (no partition) failed"
    assert [len(sentence) for sentence in sentences] == [MAX_SENTENCE_CHARACTERS + 3] * 3
    assert more == "and 2 more, in the run's log"
    assert link == "http://127.0.0.1:3000/runs/r1"
