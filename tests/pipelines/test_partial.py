"""A range of which some partitions are not folded: what Dagster, people and channels see of it."""

import re

import dagster as dg
import msgspec
import pytest

from pipelines import fanout
from pipelines.cli.outcome import print_summary
from pipelines.requested import partitions_at_work
from pipelines.runs import dagster_instance, materialise
from tests.pipelines.conftest import told
from tests.support.pipeline import DAY, event
from tests.support.webhook import anonymous, begun
from workers.assets import assets

DAYS = assets()["user_profiles"].partitions.between(DAY, "1998-04-10")
BAD = DAYS[4]
KEY = dg.AssetKey("user_profiles")
RANGE = ("run", "user_profiles", "--partitions", f"{DAYS[0]}...{DAYS[-1]}")


@pytest.fixture
def days(pipeline):
    """Ten days, of which the fifth is beyond tolerance."""
    for day in DAYS:
        pipeline.put([event("ann"), event(day)], day)
    pipeline.put([event("ann")] + [{"user": 1}] * 50, BAD)
    return pipeline


def materialisations(run_id):
    """Return the partitions that a run materialised, each as often as it did."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    with dagster_instance() as instance:
        return [entry.dagster_event.partition for entry in instance.all_logs(run_id, of_type=kind)]


@pytest.fixture
def two(pipeline):
    """Two days, of which the second is beyond tolerance."""
    pipeline.put([event("ann"), b'{"user": 1}'])
    pipeline.put([{"user": 1}] * 50, DAYS[1])
    return pipeline


def test_of_ten_days_one_is_beyond_tolerance_and_nine_are_materialised(days, fanfold, hook, watch):
    with dagster_instance() as instance:
        instance.wipe_assets([KEY])  # whatever other tests have materialised
    code, summary = told(fanfold(*RANGE, "--json"))
    others = [day for day in DAYS if day != BAD]
    assert (code, summary["success"]) == (1, False)
    assert summary["partitions"] == DAYS
    assert (summary["partitions_folded"], summary["partitions_failed"]) == (others, [BAD])
    assert (summary["items"], summary["items_used"], summary["checks_failed"]) == (18, 18, [])
    (error,) = summary["errors"]
    assert error.startswith(f"{BAD}: more items could not be used than are tolerated (")
    assert f"so nothing of {BAD} is folded: 50 of 51 items of {BAD} (50 dead letters)" in error

    with dagster_instance() as instance:
        assert instance.get_materialized_partitions(KEY) == set(others)
        latest = instance.get_latest_materialization_event(KEY).asset_materialization
        assert latest.metadata["items_used"].value == 2
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(KEY, "within_tolerance"), limit=len(DAYS)
        )
    assert {record.partition: record.status.value for record in history} == {
        day: "FAILED" if day == BAD else "SUCCEEDED" for day in DAYS
    }
    assert sorted(materialisations(summary["run_id"])) == others

    watch.tick().tick()
    (text,) = hook.texts
    assert anonymous(text) == (
        "user_profiles 1998-04-01...1998-04-10 (10 partitions) failed\n"
        "9 of 10 partitions are folded\n"
        "1998-04-05: more items could not be used than are tolerated (20, or 1.00%), so nothing of "
        "it is folded\n"
        "69 items: 19 used, 50 dead letters, 0 failed batches; 10 profiles\n"
        "50 x Expected `str`, got `int` - at `$.user`\n"
        "T s\n"
        "http://127.0.0.1:3000/runs/ID\n"
        "When the cause is mended: fanfold redrive user_profiles --partition 1998-04-05"
    )

    days.put([event("ann"), event(BAD)], BAD)
    code, again = told(fanfold("run", "user_profiles", "--failed", "--json"))
    assert (code, again["partitions"], again["success"]) == (0, [BAD], True)
    assert days.verify().match
    assert days.profile("ann")["events"] == 10
    watch.tick()
    assert watch.kinds() == ["failed", "recovered"]
    assert hook.texts[1].splitlines()[0] == f"user_profiles {BAD} recovered"

    code, none = told(fanfold("run", "user_profiles", "--failed", "--json"))
    assert (code, none["success"], none["partitions"]) == (0, True, [])


def test_people_are_told_in_lines_what_is_folded_and_what_not(days, fanfold):
    days.put([event("ann")] + [{"user": 1}] * 60, DAYS[7])
    code, out, _ = fanfold(*RANGE)
    assert code == 1
    title, why, *rest = out.splitlines()
    assert title == "2 of 10 partitions are not folded:"
    assert why.startswith(f"  {BAD}, {DAYS[7]}: more items could not be used than are tolerated")
    assert rest.count("  fanfold run user_profiles --failed") == 1
    assert rest.count("      fanfold redrive user_profiles") == 1
    folded = rest.index("8 are folded:") + 1
    assert rest[folded] == (
        "  1998-04-01...1998-04-04, 1998-04-06...1998-04-07, 1998-04-09...1998-04-10"
    )
    assert any(re.fullmatch(r"items used +16", line) for line in rest)

    code, _, err = fanfold("run", "user_profiles", "--failed", "--partition", BAD)
    assert (code, "--failed excludes --partition" in err) == (2, True)


def test_lists_of_many_partitions_fit_80_columns(capsys):
    some = DAYS[::2] * 3
    partly = {"refused": [1], "errors": ["no"], "partitions": DAYS, "partitions_failed": [BAD]}
    partly["runs"] = []
    asset = assets()["user_profiles"]
    print_summary({**partly, "partitions_folded": some}, asset)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_publish_that_is_tried_again_materialises_nothing_twice(two, monkeypatch):
    real = fanout.failure_of
    failures = [dg.RetryRequested(max_retries=3)]  # as after a crash before it could fail

    def failure_of(*what):
        return failures.pop() if failures else real(*what)

    monkeypatch.setattr(fanout, "failure_of", failure_of)
    summary = materialise(two.asset, DAYS[:2])
    assert not failures
    assert (summary["success"], summary["partitions_folded"]) == (False, DAYS[:1])
    assert materialisations(summary["run_id"]) == DAYS[:1]


def test_what_recovers_beside_a_partition_that_fails_as_before_is_told_once(two, hook, watch):
    good = two.store.get(f"events/dt={DAYS[0]}/a.jsonl")
    two.put([{"user": 1}] * 50)
    materialise(two.asset, DAYS[:2])
    watch.tick()
    two.store.put(f"events/dt={DAYS[0]}/a.jsonl", good)
    for _ in range(2):
        materialise(two.asset, DAYS[:2])
        watch.tick()

    assert watch.kinds() == ["failed", "failed", "repeated"]
    assert hook.texts[1].splitlines()[1] == "1 of 2 partitions are folded"
    states = watch.alerts.find_one({"kind": "repeated"})["states"]
    assert [state["health"] for state in states] == ["warned", "failed"]


def test_a_batch_without_an_outcome_is_told_with_the_command_that_runs_it(two, hook, watch):
    two.put([event("bo")], DAYS[1])
    real = fanout.attempt_share

    def attempt(context, first, share):
        batches = [first[2].batch(batch_id) for batch_id in share.batches]
        mine = [batch.id for batch in batches if batch.partition == DAYS[0]]
        return real(context, first, msgspec.structs.replace(share, batches=mine))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fanout, "attempt_share", attempt)
        summary = materialise(two.asset, DAYS[:2])
    assert summary["partitions_failed"] == DAYS[1:2]
    watch.tick()
    (text,) = hook.texts
    _, folded, why, *_, command = text.splitlines()
    assert folded == "1 of 2 partitions are folded"
    assert why.startswith(
        f"user_profiles: 1 of 1 planned batches have no outcome, so nothing of {DAYS[1]}"
    )
    assert command == "Again: fanfold run user_profiles --failed"


def test_what_a_live_run_is_at_is_left_to_it(two):
    with dagster_instance() as instance:
        assert partitions_at_work(instance, two.asset) == set()
        run = begun(instance)
        assert partitions_at_work(instance, two.asset) == {DAY}
        assert partitions_at_work(instance, assets()["page_profiles"]) == set()
        instance.report_run_failed(run)
        assert partitions_at_work(instance, two.asset) == set()
