"""A range in as many runs as it takes: how it is split, and how the runs are told as one."""

import signal
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import runs
from pipelines.runs import check_servers, materialise_all, split_partitions
from pipelines.summaries import failures, join_summaries
from tests.support.pipeline import DAY, USER_PROFILES, event
from workers.assets import assets
from workers.batch import Worker
from workers.errors import Unavailable

DAYS = USER_PROFILES.partitions.between(DAY, "1998-04-06")


def split(asset, most):
    sizes = msgspec.structs.replace(asset.sizes, partitions_per_run=most)
    return msgspec.structs.replace(asset, sizes=sizes)


@pytest.fixture
def pairs(pipeline, monkeypatch):
    """An asset that takes two days in a run, with a like a day on six days."""
    asset = split(pipeline.asset, 2)
    monkeypatch.setitem(assets(), "user_profiles", asset)
    for day in DAYS:
        pipeline.put([event("ann", item=day)], day)
    return asset


@given(st.sets(st.integers(0, 60)), st.integers(1, 20))
def test_parts_are_ranges_without_gaps_and_not_too_long_oldest_first(offsets, most):
    asset = split(USER_PROFILES, most)
    days = [asset.partitions.shift("1998-01-01", offset) for offset in offsets]
    parts = split_partitions(asset, days)
    assert [day for part in parts for day in part] == sorted(days)
    for part in parts:
        assert part == asset.partitions.between(part[0], part[-1])
        assert len(part) <= most
    for part, later in pairwise(parts):
        assert len(part) == most or asset.partitions.shift(part[-1], 1) != later[0]


def test_hours_are_split_by_time_and_not_by_text():
    hourly = split(assets()["github_profiles"], 2)
    hours = hourly.partitions.between("2026-01-31-22:00", "2026-02-01-01:00")
    assert split_partitions(hourly, hours[::-1]) == [hours[:2], hours[2:]]


def test_one_run_is_told_as_it_is_with_its_id_in_a_list():
    summary = {"run_id": "a", "asset": "x", "success": True, "partitions": [DAY], "seconds": 1.5}
    assert join_summaries([summary]) == summary | {"runs": ["a"]}


def test_several_runs_are_told_in_sums_and_by_what_failed():
    good = {"asset": "x", "success": True, "items": 3, "profiles": 2, "seconds": 1.1}
    first = good | {"run_id": "a", "partitions": DAYS[:2]}
    bad = {"run_id": "b", "asset": "x", "success": False, "partitions": DAYS[2:4], "seconds": 1.1}
    last = good | {"run_id": "c", "partitions": DAYS[4:5]}
    assert join_summaries([first, bad | {"errors": ["no", "never"]}, last]) == {
        "run_id": "c",
        "asset": "x",
        "success": False,
        "partitions": DAYS[:5],
        "partitions_folded": [*DAYS[:2], DAYS[4]],
        "partitions_failed": DAYS[2:4],
        "items": 6,
        "profiles": 4,
        "seconds": 3.3,
        "errors": [f"{DAYS[2]}...{DAYS[3]}: no", f"{DAYS[2]}...{DAYS[3]}: never"],
        "refused": [],
        "checks_failed": [],
        "warnings": [],
        "runs": ["a", "b", "c"],
    }
    whole = join_summaries([first, last])
    assert (whole["success"], whole["partitions_failed"]) == (True, [])
    assert "errors" not in whole


def test_runs_that_folded_some_of_their_partitions_are_told_by_partition():
    refusal = {"partitions": DAYS[1:2], "plans": ["p"], "why": "no"}
    counted = {"asset": "x", "success": False, "items": 3, "profiles": 2, "seconds": 1.0}
    folded = {"partitions_folded": DAYS[:1], "partitions_failed": DAYS[1:2], "refused": [refusal]}
    partly = {"run_id": "a", "partitions": DAYS[:2], "errors": [f"{DAYS[1]}: no"]}
    bad = {"run_id": "b", "asset": "x", "success": False, "partitions": DAYS[2:4], "seconds": 1.0}
    joined = join_summaries([counted | folded | partly, bad | {"errors": ["never"]}])
    assert joined["partitions_folded"] == DAYS[:1]
    assert joined["partitions_failed"] == DAYS[1:4]
    assert joined["errors"] == [f"{DAYS[1]}: no", f"{DAYS[2]}...{DAYS[3]}: never"]
    assert (joined["items"], joined["refused"]) == (3, [refusal])


def test_a_check_that_failed_in_one_of_several_runs_leaves_all_of_them_folded():
    good = {"asset": "x", "success": True, "items": 3, "seconds": 1.0, "warnings": ["k: odd"]}
    first = good | {"run_id": "a", "partitions": DAYS[:2]}
    check = {"check": "nothing_lost", "text": "profile 'ann' lacks it"}
    failing = {"run_id": "b", "partitions": DAYS[2:4], "success": False, "checks_failed": [check]}
    joined = join_summaries([first, good | failing])
    assert (joined["success"], joined["partitions_failed"]) == (False, [])
    assert (joined["items"], joined["checks_failed"]) == (6, [check])
    assert joined["warnings"] == ["k: odd", "k: odd"]
    assert "errors" not in joined
    assert failures(joined) == ["nothing_lost: profile 'ann' lacks it"]


def test_a_server_that_is_away_ends_the_runs_that_follow(pairs, pipeline, monkeypatch):
    real = check_servers
    asked = []

    def reach(asset, settings, partition):
        asked.append(partition)
        if len(asked) > 1:
            raise Unavailable("S3 did not answer")
        real(asset, settings, partition)

    monkeypatch.setattr(runs, "check_servers", reach)
    summary = join_summaries(list(materialise_all(pairs, DAYS)))
    assert asked == [DAYS[0], DAYS[2]]
    assert summary["partitions_failed"] == DAYS[2:]
    assert summary["errors"] == [f"{DAYS[2]}...{DAYS[5]}: not run: S3 did not answer"]
    assert (summary["items"], summary["runs"]) == (2, [summary["run_id"]])
    with pytest.raises(Unavailable):
        list(materialise_all(pairs, DAYS))


def test_whoever_stops_a_run_stops_those_after_it_too(pairs, pipeline, monkeypatch):
    real = Worker.read

    def interrupted(worker):
        if worker.batch.partition == DAYS[2]:
            signal.raise_signal(signal.SIGINT)
        return real(worker)

    monkeypatch.setattr(Worker, "read", interrupted)
    summary = join_summaries(list(materialise_all(pairs, DAYS)))
    assert len(summary["runs"]) == 2
    assert summary["partitions_failed"] == DAYS[2:]
    assert "was stopped before its end. Start a new run" in summary["errors"][0]
    assert summary["errors"][1].endswith("not run: the one before was stopped")
    assert pipeline.profile("ann")["events"] == 2
