"""What people hear of coarse units: one message each, when it is news, whatever becomes of runs."""

import re
from datetime import UTC, datetime, timedelta

import dagster as dg
import msgspec
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from pipelines.alerts.messages import LONGEST, message_text
from pipelines.alerts.report import RunReport
from pipelines.alerts.sensor import Cursor
from pipelines.jobs import redrive_job_name
from pipelines.runs import dagster_instance, materialise, partition_tags
from tests.support.pipeline import DAY, event, fragile
from tests.support.webhook import Watch, begun, refused
from workers.assets import assets
from workers.batch import _Worker
from workers.declare import Tolerance
from workers.declare.asset import Sizes
from workers.errors import Refused
from workers.planning.listing import list_partition

NEXT = "1998-04-02"


def unlucky(monkeypatch, why="out of luck"):
    """Let each attempt at a batch raise."""

    def run(worker):
        raise RuntimeError(why)

    monkeypatch.setattr(_Worker, "run", run)


def declared(monkeypatch, asset, **changes):
    changed = msgspec.structs.replace(asset, **changes)
    monkeypatch.setitem(assets(), asset.name, changed)
    return changed


def anonymous(text):
    """Return a message without what differs between two runs."""
    return re.sub(r"[\d.]+ s\b", "T s", re.sub(r"runs/\S+", "runs/ID", text))


def test_a_run_with_40_failed_batches_is_one_message_that_says_what_to_know(
    pipeline, hook, watch, monkeypatch
):
    pipeline.put([event(f"user{n}") for n in range(400)])
    sizes = Sizes(min_items=10, max_items=10)
    # Only the last of them passes the tolerance, so that none is left out.
    asset = declared(monkeypatch, pipeline.asset, sizes=sizes, tolerance=Tolerance(count=395))
    unlucky(monkeypatch)
    assert not materialise(asset, [DAY])["success"]
    assert pipeline.ledger.batches.count_documents({"state": "failed"}) == 40
    for _ in range(3):
        watch.tick()
    (text,) = hook.texts
    assert anonymous(text) == (
        "user_profiles 1998-04-01 failed\n"
        "Too many items of 1998-04-01 could not be used (tolerated: 395, or 0.00%), "
        "so nothing is folded\n"
        "400 items: 0 used, 0 dead letters, 40 failed batches (about 400 items)\n"
        "400 x batch failed: RuntimeError: out of luck\n"
        "T s\n"
        "http://127.0.0.1:3000/runs/ID\n"
        "When the cause is mended: fanfold redrive user_profiles --partition 1998-04-01"
    )
    ((level, line),) = watch.logged
    assert (level, line) == ("WARNING", "; ".join(text.splitlines()))
    assert hook.requests == 1


def test_the_same_failure_is_said_once_then_when_it_changes_and_when_it_recovers(
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
    assert watch.kinds() == ["failed", "", "failed", "recovered", "finished"]
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


def test_a_warning_is_said_once_and_again_with_other_numbers(pipeline, hook, watch):
    pipeline.put([event("ann"), b"bad", b'{"user": 1}', b'{"user": 2}'])
    for _ in range(2):
        materialise(pipeline.asset, [DAY])
        watch.tick()
    pipeline.put([b"bad"], name="b.jsonl")
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


def test_a_redrive_that_mends_a_warned_unit_leaves_nothing_to_say(
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


def test_ranges_and_single_partitions_meet(pipeline, hook, watch, monkeypatch):
    for day in (DAY, NEXT):
        pipeline.put([event("ann"), *[b"bad"] * 30], day)
    asset = declared(monkeypatch, pipeline.asset, tolerance=Tolerance())
    for days in ([DAY, NEXT], [DAY], [NEXT]):
        materialise(asset, days)
        watch.tick()
    asset = declared(monkeypatch, pipeline.asset, tolerance=Tolerance(count=50, rate=0.01))
    for days in ([NEXT], [DAY, NEXT], [DAY]):
        materialise(asset, days)
        watch.tick()
    # The second day had not been run when the first ended the range, so its own failure is news.
    assert watch.kinds() == ["failed", "", "failed", "recovered", "recovered", "finished"]
    subjects = [text.splitlines()[0] for text in hook.texts]
    assert subjects[0] == "user_profiles 1998-04-01...1998-04-02 (2 partitions) failed"
    assert hook.texts[0].endswith("fanfold redrive user_profiles --partition 1998-04-01")
    assert hook.texts[3].endswith("fanfold redrive user_profiles")
    assert subjects[2] == "user_profiles 1998-04-02 recovered, with warnings"


def test_a_run_that_fails_before_it_plans_is_told_with_its_partitions(
    pipeline, hook, watch, monkeypatch
):
    refused(monkeypatch)
    materialise(pipeline.asset, [DAY])
    watch.tick()
    materialise(pipeline.asset, [DAY, NEXT])
    watch.tick()
    one, more = hook.texts
    assert anonymous(one) == (
        "user_profiles 1998-04-01 failed\n"
        "user_profiles.list_blocks: S3 refused access to s3://b/ (AccessDenied); check the "
        "policies\n"
        "T s\n"
        "http://127.0.0.1:3000/runs/ID\n"
        "Again: fanfold run user_profiles --partition 1998-04-01"
    )
    assert more.splitlines()[0] == "user_profiles 1998-04-01...1998-04-02 (2 partitions) failed"
    assert more.endswith("Again: fanfold run user_profiles --partitions 1998-04-01...1998-04-02")


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


@pytest.fixture
def retried(monkeypatch):
    """Where a run that the daemon launched came from; it tries failed ones again."""
    monkeypatch.setattr(dg.DagsterInstance, "run_retries_enabled", True)
    monkeypatch.setattr(dg.DagsterInstance, "run_retries_max_retries", 1)
    location = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=9, location_name="fanfold")
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "user_profiles_job")


def test_of_a_run_that_dagster_tries_again_only_the_last_attempt_is_told(
    pipeline, hook, watch, retried
):
    with dagster_instance() as instance:
        first = begun(instance, retried)
        instance.report_run_failed(first)
        assert instance.get_run_by_id(first.run_id).tags["dagster/will_retry"] == "true"
        watch.tick()
        second = begun(instance, retried)
        instance.add_run_tags(first.run_id, {"dagster/auto_retry_run_id": second.run_id})
        instance.report_run_failed(second, "again")
        instance.add_run_tags(second.run_id, {"dagster/will_retry": "false"})
    watch.tick()
    (text,) = hook.texts
    assert f"/runs/{second.run_id}" in text


def test_a_retry_that_does_not_come_is_waited_for_only_so_long(
    pipeline, hook, watch, retried, monkeypatch
):
    monkeypatch.setattr("pipelines.alerts.sensor.OVERLAP", timedelta())
    with dagster_instance() as instance:
        instance.report_run_failed(begun(instance, retried))
    watch.tick().tick()
    assert hook.texts == []
    monkeypatch.setattr("pipelines.alerts.report.RETRY_COMES", timedelta())
    watch.tick().tick()
    assert len(hook.texts) == 1


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


def test_units_that_finished_are_told_by_setting_with_their_usual_duration(
    pipeline, hook, watch, monkeypatch
):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "finished")
    monkeypatch.setenv("FANFOLD_UI_URL", "https://dagster.example.org/")
    pipeline.put([event("ann")])
    materialise(pipeline.asset, [DAY])
    watch.tick()
    watch.notices.update_many({}, {"$set": {"seconds": 3000.0}})
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


def test_a_check_that_fails_is_a_warning(pipeline, hook, watch, monkeypatch):
    monkeypatch.setattr("pipelines.checks.spot_check", lambda *_: (2, ["ann"], "the raw blocks"))
    pipeline.put([event("ann"), event("bo")])
    for _ in range(2):
        materialise(pipeline.asset, [DAY])
        watch.tick()
    (text,) = hook.texts
    assert text.startswith("user_profiles 1998-04-01 finished with warnings\nnothing_twice did not")
    assert text.endswith("Again: fanfold run user_profiles --partition 1998-04-01")


def test_of_two_assets_in_a_run_each_is_told_what_became_of_it(pipeline, hook, watch, monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "failed,finished")
    pipeline.put([event("ann")])
    both = [dg.AssetKey("user_profiles"), dg.AssetKey("influence_scores")]
    real, failing = list_partition, []

    def fails(store, ledger, asset, *more):
        if asset.name in failing:
            raise Refused("no")
        return real(store, ledger, asset, *more)

    monkeypatch.setattr("pipelines.fanout.list_partition", fails)
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

    def fold_shard(*_):
        raise Refused("not now")

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.fanout.fold_profiles", fold_shard)
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


def test_an_s3_that_is_away_keeps_nobody_from_hearing(pipeline, hook, watch, monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "finished")
    pipeline.put([event("ann")])
    materialise(pipeline.asset, [DAY])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    watch.tick()
    assert "1 items: 1 used, 0 dead letters, 0 failed batches\n" in hook.texts[0]


def test_long_and_many_sentences_are_cut(pipeline):
    said = [f"step{n}: " + "no " * 300 for n in range(5)]
    nothing = {"counts": [], "bad": [], "beyond": [], "reasons": [], "causes": {"": "it"}}
    unit = RunReport(
        asset=pipeline.asset,
        run="r1",
        ended=datetime.now(UTC),
        outcome="failed",
        job="run",
        partitions=[],
        seconds=None,
        said=said,
        profiles=None,
        **nothing,
    )
    head, *sentences, more, link = message_text(unit, "failed", []).splitlines()
    assert head == "user_profiles (no partition) failed"
    assert [len(one) for one in sentences] == [LONGEST + 3] * 3
    assert more == "and 2 more, in the run's log"
    assert link == "http://127.0.0.1:3000/runs/r1"


def test_runs_of_before_the_first_tick_are_not_told(pipeline, hook, monkeypatch):
    refused(monkeypatch)
    materialise(pipeline.asset, [DAY])
    watch = Watch(pipeline).tick()
    assert watch.kinds() == []
    assert hook.texts == []


def test_a_tick_that_is_repeated_tells_nothing_twice(pipeline, hook, watch, monkeypatch):
    refused(monkeypatch)
    before = watch.cursor
    materialise(pipeline.asset, [DAY])
    watch.tick()
    watch.cursor = before
    watch.tick()
    assert (watch.kinds(), hook.requests) == (["failed"], 1)


def test_more_runs_than_a_tick_looks_at_are_told_by_the_next_ones(
    pipeline, hook, watch, monkeypatch
):
    monkeypatch.setattr("pipelines.alerts.sensor.PER_TICK", 2)
    with dagster_instance() as instance:
        for number in range(3):
            instance.report_run_failed(begun(instance), f"lost{'!' * number}")
    watch.tick()
    assert len(hook.texts) == 2
    watch.tick().tick()
    assert [text.splitlines()[1] for text in hook.texts] == ["lost", "lost!", "lost!!"]


def test_the_cursor_says_since_when_and_how_far():
    now = datetime.now(UTC)
    place = Cursor(now - timedelta(days=3), now)
    assert Cursor.of(place.to_cursor()) == place
