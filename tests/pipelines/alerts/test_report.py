"""What became of an asset in a run, whatever became of the run."""

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.events import JobFailureData, RunFailureReason

from pipelines.runs import dagster_instance, materialise, partition_tags
from tests.support.pipeline import DAY, event
from tests.support.webhook import anonymous, begun, refused
from workers.errors import Refused
from workers.planning.listing import list_partition
from workers.verify import SpotCheck

NEXT = "1998-04-02"


def test_a_run_that_fails_before_it_plans_is_told_with_its_partitions(
    pipeline, hook, watch, monkeypatch
):
    refused(monkeypatch)
    materialise(pipeline.asset, [DAY])
    watch.tick()
    materialise(pipeline.asset, [DAY, NEXT])
    watch.tick()
    single, several = hook.texts
    assert anonymous(single) == (
        "user_profiles 1998-04-01 failed\n"
        "user_profiles.list_blocks: S3 refused access to s3://b/ (AccessDenied); check the "
        "policies\n"
        "T s\n"
        "http://127.0.0.1:3000/runs/ID\n"
        "Again: fanfold run user_profiles --partition 1998-04-01"
    )
    assert several.splitlines()[0] == "user_profiles 1998-04-01...1998-04-02 (2 partitions) failed"
    assert several.endswith("Again: fanfold run user_profiles --partitions 1998-04-01...1998-04-02")


def test_a_failure_that_names_its_own_way_out_is_told_with_that(pipeline, hook, watch, monkeypatch):
    refused(monkeypatch, "it is closed. `fanfold rebuild user_profiles` makes all anew")
    materialise(pipeline.asset, [DAY])
    watch.tick()
    assert hook.texts[0].endswith("\nThen: fanfold rebuild user_profiles")


def test_a_run_that_monitoring_finds_dead_is_told(pipeline, hook, watch):
    with dagster_instance() as instance:
        run = begun(instance)
        instance.report_run_failed(run, "its process is gone, as monitoring found")
    watch.tick()
    assert anonymous(hook.texts[0]) == (
        "user_profiles 1998-04-01 failed\n"
        "its process is gone, as monitoring found\n"
        "T s\n"
        "http://127.0.0.1:3000/runs/ID\n"
        "Again: fanfold run user_profiles --partition 1998-04-01"
    )


def test_a_run_that_was_stopped_says_so_in_our_words(pipeline, hook, watch):
    why = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
    with dagster_instance() as instance:
        instance.report_run_failed(begun(instance), "Execution was interrupted", why)
    watch.tick()
    assert hook.texts[0].splitlines()[1].startswith("it was stopped before its end. Start a new")


def test_a_run_that_a_person_cancelled_is_told_by_setting(pipeline, hook, watch, monkeypatch):
    with dagster_instance() as instance:
        instance.report_run_canceled(begun(instance))
    watch.tick()
    assert hook.texts == []
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "failed, cancelled")
    with dagster_instance() as instance:
        instance.report_run_canceled(begun(instance))
    watch.tick()
    assert hook.texts[0].startswith("user_profiles 1998-04-01 was cancelled\n")


def test_a_check_that_fails_is_a_warning(pipeline, hook, watch, monkeypatch):
    check = SpotCheck(compared=2, differing=["ann"], against="the raw blocks")
    monkeypatch.setattr("pipelines.checks.findings.spot_check", lambda *_: check)
    pipeline.put([event("ann"), event("bo")])
    for _ in range(2):
        materialise(pipeline.asset, [DAY])
        watch.tick()
    (text,) = hook.texts
    assert text.startswith("user_profiles 1998-04-01 finished with warnings\nnothing_twice did not")
    assert text.endswith("Then: fanfold verify user_profiles --partition 1998-04-01")


def test_of_two_assets_in_a_run_each_is_told_what_became_of_it(pipeline, hook, watch, monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "failed,finished")
    pipeline.put([event("ann")])
    both = [dg.AssetKey("user_profiles"), dg.AssetKey("influence_scores")]
    failing = []

    def list_or_fail(asset, *more):
        if asset.name in failing:
            raise Refused("no")
        return list_partition(asset, *more)

    monkeypatch.setattr("workers.planning.listing.list_partition", list_or_fail)
    repository = ReconstructableRepository.for_module("pipelines.definitions", "definitions")
    job = repository.get_reconstructable_job("__ASSET_JOB")
    for name in ("influence_scores", "user_profiles"):
        failing[:] = [name]
        with dagster_instance() as instance:
            dg.execute_job(
                job.get_subset(asset_selection=set(both)),
                instance=instance,
                tags=partition_tags([DAY]),
            )
        watch.tick()
    assert [text.splitlines()[0] for text in hook.texts] == [
        "influence_scores 1998-04-01 failed",
        "user_profiles 1998-04-01 finished",
        "user_profiles 1998-04-01 failed",
    ]


def test_a_run_that_goes_on_from_a_failure_has_the_counts_of_the_one_before(
    pipeline, hook, watch, monkeypatch
):
    pipeline.put([event("ann"), b"bad"])

    def fold_profiles(*_):
        raise Refused("not now")

    with monkeypatch.context() as patch:
        patch.setattr("workers.steps.fold_profiles", fold_profiles)
        failed = materialise(pipeline.asset, [DAY])
    job = dg.build_reconstructable_job(
        "pipelines.runs", "resolve", (), {"name": "user_profiles_job"}
    )
    with dagster_instance() as instance:
        again = dg.execute_job(
            job,
            instance=instance,
            tags=partition_tags([DAY]),
            reexecution_options=dg.ReexecutionOptions.from_failure(failed["run_id"], instance),
        )
    assert again.success
    watch.tick()
    assert watch.kinds() == ["failed", "recovered"]
    assert "\n2 items: 1 used, 1 dead letters, 0 failed batches; 1 profiles\n" in hook.texts[1]


def test_an_alert_is_delivered_while_s3_is_away(pipeline, hook, watch, monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "finished")
    pipeline.put([event("ann")])
    materialise(pipeline.asset, [DAY])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    watch.tick()
    assert "1 items: 1 used, 0 dead letters, 0 failed batches\n" in hook.texts[0]
