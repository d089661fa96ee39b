"""The command line, end to end: real servers, real Dagster runs."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from tests.pipelines.conftest import told
from tests.support.command import FANFOLD
from tests.support.pipeline import DAY, USER_TASK, event, fragile, lines
from workers.assets import assets, broken_assets
from workers.declare import Task
from workers.errors import Refused
from workers.ledger.records import BatchState
from workers.sources.blocks import Blocks
from workers.sources.formats.rows import Rows
from workers.values import PlaceKind
from workers.verify import SpotCheck

NEXT = "1998-04-02"


def test_run_tells_what_came_of_a_partition(pipeline, fanfold):
    pipeline.put([event("ann"), event("bo"), b"bad"])
    code, summary = told(fanfold("run", "user_profiles", "--partition", DAY, "--json"))
    assert code == 0, summary.get("errors")
    assert summary["run_id"]
    assert summary["seconds"] > 0
    expected = {
        "asset": "user_profiles",
        "partitions": [DAY],
        "blocks": 1,
        "batches": 1,
        "batches_reused": 0,
        "items": 3,
        "items_used": 2,
        "dead_letters": 1,
        "profiles": 2,
    }
    assert {name: summary[name] for name in expected} == expected


def test_a_range_is_one_run_and_a_second_one_reuses_its_batches(pipeline, fanfold):
    pipeline.put([event("ann")])
    pipeline.put([event("ann")], NEXT)
    call = ("run", "user_profiles", "--partitions", f"{DAY}...1998-04-03", "--json")
    _, first = told(fanfold(*call))
    _, digest = told(fanfold("verify", "user_profiles", "--json"))
    _, again = told(fanfold(*call))
    assert first["partitions"] == [DAY, NEXT, "1998-04-03"]
    assert (first["batches"], again["batches_reused"]) == (2, 2)
    _, verdict = told(fanfold("verify", "user_profiles", "--json"))
    assert verdict["match"]
    assert verdict["digest"] == digest["digest"] == verdict["expected_digest"]


def test_a_run_tells_what_became_of_documents_of_others_where_there_were_any(pipeline, fanfold):
    pipeline.profiles.insert_many(
        [{"_id": "ann", "events": 70, "preferences": ["old"]}, {"_id": "bo", "name": "Bo"}]
    )
    pipeline.put([event("ann"), event("bo")])
    _, out, _ = fanfold("run", "user_profiles", "--partition", DAY)
    assert re.search(r"^documents adopted +2$", out, re.MULTILINE)
    assert out.endswith(
        "\nThe run made profiles of 2 documents of others. It replaced 2 values in fields of the "
        'profiles; a field with adopt="begin" begins with such values instead.\n'
    )
    _, out, _ = fanfold("run", "user_profiles", "--partition", DAY)
    assert "adopted" not in out
    assert "replaced" not in out


@pytest.fixture
def single(pipeline, monkeypatch):
    """Runs of one partition each, and three days of which the second is beyond tolerance."""
    sizes = msgspec.structs.replace(pipeline.asset.sizes, partitions_per_run=1)
    changed = msgspec.structs.replace(pipeline.asset, sizes=sizes)
    monkeypatch.setitem(assets(), "user_profiles", changed)
    pipeline.put([event("ann")])
    pipeline.put([event("ann")] + [b"bad"] * 50, NEXT)
    pipeline.put([event("ann"), event("bo")], "1998-04-03")
    return ("run", "user_profiles", "--partitions", f"{DAY}...1998-04-03")


def test_a_range_too_large_for_one_run_becomes_several_and_one_that_fails_stops_no_other(
    pipeline, fanfold, single
):
    code, summary = told(fanfold(*single, "--json"))
    assert code == 1
    assert (summary["success"], summary["partitions_failed"]) == (False, [NEXT])
    assert summary["partitions"] == [DAY, NEXT, "1998-04-03"]
    assert (summary["items"], summary["items_used"], summary["batches"]) == (3, 3, 2)
    (error,) = summary["errors"]
    assert error.startswith(f"{NEXT}: user_profiles.reconcile: ")
    assert "50 of 51 items of 1998-04-02" in error
    listed = {
        plan["run"]: plan["partition"] for plan in pipeline.ledger.plans.find().sort("listed")
    }
    assert list(listed) == summary["runs"]
    assert list(listed.values()) == summary["partitions"]
    assert summary["run_id"] == summary["runs"][-1]
    assert pipeline.profile("ann")["events"] == 2


def test_several_runs_are_told_to_people_one_after_the_other_and_then_together(
    pipeline, fanfold, single
):
    code, out, err = fanfold(*single)
    assert code == 1
    ends = [line for line in err.splitlines() if "  done  " in line or "  failed  " in line]
    assert [end.split("  ")[0] for end in ends] == [
        f"1/3 user_profiles {DAY}",
        f"2/3 user_profiles {NEXT}",
        "3/3 user_profiles 1998-04-03",
    ]
    assert out.startswith("1 of 3 partitions is not folded:\n  1998-04-02: ")
    assert re.search(r"^items used +3$", out, re.MULTILINE)
    assert re.search(r"^profiles, run by run +3$", out, re.MULTILINE)
    letters = pipeline.ledger.dead_letters.find("user_profiles")
    pipeline.ledger.dead_letters.discard([letter.id for letter in letters], "a known bug")
    assert fanfold(*single)[0] == 0
    assert pipeline.verify().match


def test_plan_shows_what_a_run_would_do_and_writes_nothing(pipeline, fanfold):
    pipeline.put([event("ann")])
    code, plan = told(fanfold("plan", "user_profiles", "--partition", DAY, "--json"))
    assert code == 0
    assert (plan["blocks"], plan["batches"], plan["batches_reused"]) == (1, 1, 0)
    assert (plan["slicers"], plan["workers"], plan["learned_from_batches"]) == (1, 1, 0)
    assert plan["decided_by"] in {"max_items", "slots"}
    assert plan["work_seconds"] >= 0
    assert pipeline.database.list_collection_names() == []
    assert list(pipeline.store.list("_fanfold/")) == []
    assert "decided by" in fanfold("plan", "user_profiles", "--partition", DAY)[1]


def test_plan_tells_people_and_programs_what_changed_code_costs(pipeline, fanfold, monkeypatch):
    pipeline.put([event("ann")])
    pipeline.run()
    _, out, _ = fanfold("plan", "user_profiles", "--partition", DAY)
    assert "Nothing is to do: 1 batch is reused." in out
    derives = Task(USER_TASK.item, USER_TASK.fields, USER_TASK.contributions, lambda _: {})
    derives.__dict__["shown_version"] = "other"
    monkeypatch.setattr("workers.tasks.user_profiles.task", derives)
    _, plan = told(fanfold("plan", "user_profiles", "--partition", DAY, "--json"))
    assert (plan["code"]["batches_again"], plan["code"]["profiles_shown_anew"]) == (0, 1)
    _, out, _ = fanfold("plan", "user_profiles", "--partition", DAY)
    assert plan["code"]["text"] in out


def test_batches_and_dead_letters_are_listed_for_people_and_programs(pipeline, fanfold):
    pipeline.put([event("ann"), b"bad"])
    fanfold("run", "user_profiles", "--partition", DAY)
    _, listed = told(fanfold("batches", "user_profiles", "--json"))
    (batch,) = listed["batches"]
    assert batch["partition"] == DAY
    assert batch["state"] == "done"
    assert (batch["items"], batch["attempts"]) == (2, 1)
    assert batch["seconds"] > 0
    assert set(batch["worker"]) == {"id", "host", "pid"}
    _, letters = told(fanfold("dead-letters", "user_profiles", "--partition", DAY, "--json"))
    (letter,) = letters["dead_letters"]
    assert letter["batch"] == batch["id"]
    assert letter["block"] == f"events/dt={DAY}/a.jsonl"
    assert {"id", "partition", "place", "reason", "state"} <= set(letter)
    assert batch["id"] in fanfold("batches", "user_profiles", "--partition", DAY)[1]
    assert "malformed" in fanfold("dead-letters", "user_profiles")[1]
    assert told(fanfold("batches", "user_profiles", "--partition", NEXT, "--json"))[1] == {
        "batches": []
    }


def test_a_batch_that_failed_is_named_with_its_block_and_the_reason(pipeline, fanfold, monkeypatch):
    pipeline.put([event(f"user{n}") for n in range(50)])
    fragile(monkeypatch, lambda user: True)
    with pytest.raises(Refused):
        pipeline.work(pipeline.plan())
    code, out, _ = fanfold("batches", "user_profiles")
    assert code == 0
    assert max(map(len, map(str.rstrip, out.splitlines()))) <= 80
    (batch,) = pipeline.ledger.batches_of_asset("user_profiles")
    assert "1 batch failed:\n" in out
    assert f"  {DAY}  {batch.id}  about 50 items, 1 try\n    events/dt={DAY}/a.jsonl\n" in out
    assert "ZeroDivisionError" in out


def test_a_failed_run_exits_1_and_says_why_in_a_sentence(pipeline, fanfold):
    pipeline.put([event("ann")] + [b"bad"] * 200)
    code, summary = told(fanfold("run", "user_profiles", "--partition", DAY, "--json"))
    assert code == 1
    assert not summary["success"]
    (error,) = summary["errors"]
    assert "200 of 201 items of 1998-04-01" in error
    code, out, _ = fanfold("run", "user_profiles", "--partition", DAY)
    assert code == 1
    assert "200 of 201" in out


def test_a_check_that_fails_is_told_with_the_profile_the_field_and_the_way_out(
    pipeline, fanfold, monkeypatch
):
    monkeypatch.setattr("workers.ledger.profile_writes.MAX_DOCUMENT_BYTES", 100_000)
    pipeline.put([event("hot", item=f"{n:01000}") for n in range(60)] + [event("cool")])
    run = ("run", "user_profiles", "--partition", DAY)

    code, out, _ = fanfold(*run)
    assert code == 1
    assert "checks failed:\n  nothing_lost: 1998-04-01: profile 'hot' lacks it\n    liked: " in out
    assert re.search(r"would have 1\d\d,\d+ bytes, and MongoDB holds 100,000\n    readers see", out)
    assert f"this folds them:\n      fanfold run user_profiles --partition {DAY}\n" in out
    assert pipeline.profile("cool")["events"] == 1

    code, summary = told(fanfold(*run, "--json"))
    assert (code, summary["success"], summary["profiles_failed"]) == (1, False, 1)
    (check,) = summary["checks_failed"]
    assert check["check"] == "nothing_lost"
    assert "profile 'hot'" in check["text"]


def test_a_check_that_fails_in_one_of_several_runs_fails_the_command(
    pipeline, fanfold, monkeypatch, single
):
    differing = SpotCheck(compared=2, differing=["ann"], against="the raw blocks")
    fine = SpotCheck(compared=2, differing=[], against="the raw blocks")
    checks = {DAY: differing, "1998-04-03": fine}
    monkeypatch.setattr(
        "pipelines.checks.findings.spot_check", lambda *four: checks[four[-1].partition]
    )

    code, summary = told(fanfold(*single, "--json"))
    assert code == 1
    assert (summary["success"], summary["partitions_failed"]) == (False, [NEXT])
    ((check, text),) = [check.values() for check in summary["checks_failed"]]
    assert check == "nothing_twice"
    assert f"(1998-04-01); 1 differ: ann. `fanfold verify user_profiles --partition {DAY}`" in text
    assert len(summary["errors"]) == 1


def test_warnings_of_readers_stand_below_the_table(pipeline, fanfold, monkeypatch):
    def read(self, range_, head, columns):
        row = {"user": "ann", "action": "view", "ts": 891388800}
        yield Rows([row], PlaceKind.BYTE, [0], is_text=False, warnings=("no column `item`",))

    monkeypatch.setattr(Blocks, "_read", read)
    key = pipeline.put([event("ann")])
    run = ("run", "user_profiles", "--partition", DAY)
    code, out, _ = fanfold(*run)
    assert code == 0
    assert out.endswith(f"\nwarnings:\n  {key}: no column `item`\n")
    _, summary = told(fanfold(*run, "--json"))
    assert summary["warnings"] == [f"{key}: no column `item`"]


def test_verify_exits_1_where_a_block_cannot_be_read_whole(pipeline, fanfold):
    body = gzip.compress(lines([event(f"user{n}") for n in range(2_000)]))
    pipeline.store.put(f"events/dt={DAY}/a.jsonl.gz", body[: len(body) // 2])
    with pytest.raises(Refused):
        pipeline.run()
    code, out, _ = fanfold("verify", "user_profiles")
    assert code == 1
    assert f"1 block cannot be read whole:\n  events/dt={DAY}/a.jsonl.gz, byte " in out


def test_verify_exits_1_where_profiles_differ(pipeline, fanfold):
    pipeline.put([event("ann")])
    pipeline.run()
    pipeline.put([event("ann"), event("ann")])
    code, verdict = told(fanfold("verify", "user_profiles", "--partition", DAY, "--json"))
    assert code == 1
    assert verdict["differing"] == ["ann"]
    assert "do NOT match" in fanfold("verify", "user_profiles")[1]


def test_verify_of_a_sample_that_ran_in_part_says_what_was_not_run(pipeline, fanfold):
    for day in (DAY, NEXT, "1998-04-03", "1998-04-07"):
        pipeline.put([event("ann"), event(f"user of {day}")], day)
    pipeline.run(NEXT)
    code, verdict = told(fanfold("verify", "user_profiles", "--json"))
    assert (code, verdict["match"], verdict["differing"]) == (1, False, [])
    assert verdict["not_run"] == [DAY, "1998-04-03", "1998-04-07"]
    assert verdict["digest"] == verdict["expected_digest"]

    _, out, _ = fanfold("verify", "user_profiles")
    assert out == (
        "2 profiles match 2 items in the raw blocks\n"
        "3 partitions with blocks not run, and not compared:\n"
        f"  {DAY}, 1998-04-03, 1998-04-07\n"
        "what runs them:\n"
        f"  fanfold run user_profiles --partitions {DAY}...1998-04-07\n"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "nobody", "--partition", DAY], "there is no asset 'nobody'"),
        (["run", "user_profiles", "--partition", "1998-4-1"], "'1998-4-1' is not a partition"),
        (["run", "user_profiles", "--partitions", "1998-04-01"], "is not a range"),
        (["run", "user_profiles", "--partitions", "1998-04-02...1998-04-01"], "ends before"),
        (["run", "user_profiles", "--partition", "1901-01-01"], "no partitions before 1997-09-01"),
        (["run", "user_profiles", "--partition", "2901-01-01"], "has no partition 2901-01-01 yet"),
        (["run", "user_profiles"], "--partition P, or --partitions A...B"),
        (["run", "user_profiles", "--partition", DAY, "--partitions", "A...B"], "exclude"),
        (["sample", "load", "nothing"], "there is no sample 'nothing'"),
        (["dance"], "No such command"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line_and_exit_code_2(fanfold, arguments, says):
    code, out, err = fanfold(*arguments)
    assert code == 2
    assert out == ""
    assert says in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"MONGODB_URI": "mongodb://me:secret@127.0.0.1:9/?serverSelectionTimeoutMS=200"},
            "MongoDB",
        ),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}, "S3"),
    ],
)
def test_a_server_that_cannot_be_reached_is_one_clear_line(fanfold, monkeypatch, given, says):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code, _, err = fanfold("run", "user_profiles", "--partition", DAY)
    assert code == 2
    assert f"{says} " in err
    assert "secret" not in err
    assert "Traceback" not in err


def test_plan_does_not_wait_for_an_s3_that_is_down(pipeline, fanfold, monkeypatch):
    monkeypatch.setattr("pipelines.runs.REACH_SECONDS", 0.1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    began = time.monotonic()
    code, out, err = fanfold("plan", "user_profiles", "--partition", DAY)
    assert (code, out) == (2, "")
    assert err.startswith("fanfold: S3 did not answer for s3://")
    assert time.monotonic() - began < 5


def test_people_are_told_where_to_look_at_a_run_and_what_took_longest(
    pipeline, fanfold, monkeypatch
):
    monkeypatch.setenv("FANFOLD_UI_URL", "https://ui.example/")
    pipeline.put([event("ann")])
    pipeline.put([event(f"user{n}") for n in range(500)], NEXT)
    _, out, _ = fanfold("run", "user_profiles", "--partitions", f"{DAY}...{NEXT}")
    run_id = pipeline.ledger.last_plan("user_profiles", DAY).run
    assert f"\nhttps://ui.example/runs/{run_id}\n" in out
    slowest = max(
        pipeline.ledger.batches_of_asset("user_profiles"), key=lambda batch: batch.outcome.seconds
    )
    assert f"slowest batch: {slowest.id} of {slowest.partition}, " in out
    assert f"\n  {slowest.ranges[0].key}\n" in out
    assert not re.search(r" 0(\.0+)?$", out, re.MULTILINE)


def test_a_run_that_failed_whole_has_its_commands_on_lines_of_their_own(pipeline, fanfold):
    pipeline.put([event("ann"), *[b"bad"] * 60])
    code, out, _ = fanfold("run", "user_profiles", "--partition", DAY)
    assert code == 1
    assert f"\n      fanfold dead-letters user_profiles --partition {DAY}\n" in out
    run_id = pipeline.ledger.last_plan("user_profiles", DAY).run
    assert out.endswith(f"\nhttp://127.0.0.1:3000/runs/{run_id}\n")


def test_env_exports_what_another_program_needs(servers, pipeline, fanfold):
    code, out, _ = fanfold("env")
    assert code == 0
    script = f"{out}\n{sys.executable} -m workers --batch none"
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": os.environ["PATH"], "FANFOLD_HOME": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "batch none is not in the ledger" in done.stderr


def test_clean_deletes_what_can_be_made_again_and_keeps_results(pipeline, fanfold):
    pipeline.put([event(f"user{n}") for n in range(2_000)], name="a.jsonl.gz")
    pipeline.sized(100).run()
    assert told(fanfold("clean", "--json"))[1]["deleted"] == {"segments": 0, "references": 0}
    _, cleaned = told(fanfold("clean", "--older-than", "-1", "--json"))
    assert cleaned["deleted"]["segments"] > 1
    assert pipeline.run()["batches_reused"] > 1
    assert pipeline.verify().match


def test_status_and_up_show_the_running_servers(pipeline, fanfold):
    _, status = told(fanfold("status", "--json"))
    assert status["mongod"]["running"]
    assert "127.0.0.1" in fanfold("up")[1]


def attempts_of_done_batches(pipeline):
    batches = pipeline.ledger.batches_of_asset("user_profiles")
    return {batch.id: batch.attempts for batch in batches if batch.is_done}


def test_a_killed_run_is_finished_by_a_new_one_that_reuses_its_batches(pipeline, monkeypatch):
    """Real processes: the local executor, SIGKILL to the run, a new run of the range."""
    monkeypatch.setenv("FANFOLD_EXECUTOR", "local")
    days = pipeline.asset.partitions.between("1998-03-01", "1998-04-29")
    for day in days:
        pipeline.put([event(f"user{n}", item=day) for n in range(50)], day)
    command = [*FANFOLD, "run", "user_profiles", "--json"]
    command += ["--partitions", f"{days[0]}...{days[-1]}"]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = {"state": BatchState.DONE}
    deadline = time.monotonic() + 60
    while pipeline.ledger.batches.count_documents(done) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = attempts_of_done_batches(pipeline)
    assert 5 <= len(before) < len(days)
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    summary = json.loads(again.stdout)
    assert summary["batches"] == len(days)
    assert summary["batches_reused"] >= len(before)  # workers that outlived the run finish theirs
    after = attempts_of_done_batches(pipeline)
    assert {batch: after[batch] for batch in before} == before
    assert pipeline.verify().match


def test_a_file_with_a_mistake_is_named_to_who_asks_for_it_and_one_line_to_others(
    pipeline, fanfold, monkeypatch
):
    reason = "workers/tasks/odd_profiles.py cannot be loaded: NameError: name 'Txet'"
    monkeypatch.setitem(broken_assets(), "odd_profiles", reason)

    code, out, err = fanfold("plan", "odd_profiles", "--partition", DAY)
    assert (code, out) == (2, "")
    assert reason in err

    code, out, err = fanfold("batches", "user_profiles", "--json")
    assert (code, json.loads(out)) == (0, {"batches": []})
    assert err.count("\n") == 1
    assert "odd_profiles (`fanfold plan odd_profiles` says which)" in err
