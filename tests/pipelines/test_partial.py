"""A range of which some partitions are not folded, in Dagster's runs: what of it is materialised."""

import dagster as dg
import pytest

from pipelines.runs import dagster_instance
from tests.pipelines.conftest import told
from tests.support.pipeline import DAY, event
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


def test_of_ten_days_one_is_beyond_tolerance_and_nine_are_materialised(days, fanfold, hook, watch):
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
        checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [dg.AssetCheckKey(KEY, name) for name in ("nothing_lost", "within_tolerance")]
        )
    assert {record.status.value for record in checks.values()} == {"SUCCEEDED"}
    assert sorted(materialisations(summary["run_id"])) == others

    watch.tick().tick()
    (text,) = hook.texts
    assert text.splitlines()[:2] == [
        "user_profiles 1998-04-01...1998-04-10 (10 partitions) failed",
        f"{BAD}: more items could not be used than are tolerated (20, or 1.00%), so nothing of "
        "it is folded; the other 9 partitions are",
    ]

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
