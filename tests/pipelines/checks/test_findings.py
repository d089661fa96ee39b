"""Checks by partition: one evaluation each, also where a run folds nothing, and by themselves."""

from datetime import UTC, datetime

import dagster as dg

from pipelines.checks.evaluation import checked_plans, evaluate
from pipelines.checks.findings import BY_PARTITION
from pipelines.checks.up_to_date import due_partition, up_to_date
from pipelines.definitions import definitions
from pipelines.runs import dagster_instance, materialise
from tests.support.pipeline import DAY, event

NEXT = "1998-04-02"


def executions(check, run_id):
    """Return what the UI's history of a check has of a run: states by partition."""
    key = dg.AssetCheckKey(dg.AssetKey("user_profiles"), check)
    with dagster_instance() as instance:
        history = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    mine = [record for record in history if record.run_id == run_id]
    assert len({record.partition for record in mine}) == len(mine)
    return {record.partition: record.status.value for record in mine}


def test_each_partition_of_a_range_has_one_evaluation_of_each_check(pipeline):
    for day in (DAY, NEXT):
        pipeline.put([event("ann")], day)
    run_id = materialise(pipeline.asset, [DAY, NEXT])["run_id"]
    passed = dict.fromkeys([DAY, NEXT], "SUCCEEDED")
    assert {check: executions(check, run_id) for check in BY_PARTITION} == dict.fromkeys(
        BY_PARTITION, passed
    )
    assert executions("up_to_date", run_id) == {None: "FAILED"}


def test_a_run_that_folds_nothing_says_so_in_the_check_of_its_partition(pipeline):
    pipeline.put([{"user": 1}] * 50)
    summary = materialise(pipeline.asset, [DAY])
    assert not summary["success"]
    states = {check: executions(check, summary["run_id"])[DAY] for check in BY_PARTITION}
    assert [check for check, state in states.items() if state == "FAILED"] == ["within_tolerance"]


def test_checks_by_themselves_look_at_the_partitions_they_are_asked_for(pipeline):
    for day in (DAY, NEXT):
        pipeline.put([event("ann")], day)
        pipeline.run(day)
    (plan,) = checked_plans(pipeline.asset, pipeline.ledger, "a run of checks", [DAY])
    assert plan.partition == DAY


def test_a_check_can_be_executed_without_the_others(pipeline):
    pipeline.put([event("ann")])
    pipeline.run()
    findings = evaluate(
        pipeline.asset, pipeline.ledger, pipeline.store, "a run of checks", [DAY], ["nothing_lost"]
    )
    assert [(finding.check, finding.partition) for finding in findings] == [("nothing_lost", DAY)]


def test_all_checks_can_be_executed_by_themselves(pipeline):
    for day in (DAY, NEXT):
        pipeline.put([event("ann")], day)
        pipeline.run(day)
    keys = {dg.AssetCheckKey(dg.AssetKey("user_profiles"), check) for check in BY_PARTITION}
    job = definitions().resolve_job_def("user_profiles_job")
    alone = job.get_subset(asset_selection=set(), asset_check_selection=keys)
    with dagster_instance() as instance:
        run_id = alone.execute_in_process(instance=instance).run_id
    assert executions("nothing_twice", run_id) == {NEXT: "SUCCEEDED"}


def test_what_is_not_compared_says_so(pipeline):
    for day in (DAY, NEXT):
        pipeline.put([event("ann")], day)
    pipeline.run(DAY, NEXT)
    run = pipeline.ledger.last_plan("user_profiles", DAY).run
    findings = evaluate(
        pipeline.asset, pipeline.ledger, pipeline.store, run, checks=["nothing_twice"]
    )
    first, second = findings
    assert first.description.startswith("nothing compared: of the partitions of one run")
    assert second.description.startswith("1 profiles compared")


def test_an_asset_is_not_up_to_date_though_something_old_was_folded(pipeline):
    pipeline.put([event("ann")])
    pipeline.run()
    late = up_to_date(pipeline.asset, pipeline.ledger, datetime(1998, 4, 3, 2, tzinfo=UTC))
    assert not late.passed
    assert late.description == (
        f"{NEXT} has ended, and is not folded; the newest that is folded is {DAY}. "
        f"`fanfold run user_profiles --partition {NEXT}` does it"
    )
    in_time = up_to_date(pipeline.asset, pipeline.ledger, datetime(1998, 4, 2, 2, tzinfo=UTC))
    assert in_time.passed


def test_a_partition_is_due_an_hour_after_it_has_ended(pipeline):
    assert due_partition(pipeline.asset, datetime(1998, 4, 2, 0, 59, tzinfo=UTC)) == "1998-03-31"
    assert due_partition(pipeline.asset, datetime(1998, 4, 2, 1, tzinfo=UTC)) == DAY
    assert due_partition(pipeline.asset, datetime(1997, 9, 1, 12, tzinfo=UTC)) is None
