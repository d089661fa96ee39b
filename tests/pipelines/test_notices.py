"""What people hear of coarse units: one message each, when it is news, through sinks that fail."""

import json
import logging
import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
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
from moto import mock_aws

from pipelines import runs, wording
from pipelines.definitions import definitions
from pipelines.ended import Unit
from pipelines.jobs import redrive_job_name
from pipelines.notices import GIVE_UP, Place, notices_sensor
from tests.world import DAY, event, fragile
from workers import batch, plan
from workers.assets import assets
from workers.errors import Refused
from workers.model import Sizes

NEXT = "1998-04-02"


class Hook(ThreadingHTTPServer):
    """A webhook: it answers what it is told to, and keeps what it took."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.status, self.requests, self.texts = 200, 0, []
        self.url = f"http://127.0.0.1:{self.server_port}/services/hush-hush"


class Answering(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests += 1
        if self.server.status == 200:
            self.server.texts.append(body["text"])
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815  the base class looks for these names

    def log_message(self, *_):
        pass


@pytest.fixture
def hook(monkeypatch):
    with Hook() as made:
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("FANFOLD_NOTIFY_WEBHOOK", made.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield made
        made.shutdown()


class Watch:
    """The sensor as the daemon evaluates it: tick after tick, with the cursor of the last one."""

    def __init__(self, world):
        self.notices = world.database["notices"]
        self.cursor, self.logged, self.said = None, [], ""
        self.tick()

    def tick(self, **more):
        found = definitions()
        handler = logging.Handler()
        handler.emit = lambda record: self.logged.append((record.levelname, record.getMessage()))
        with (
            dg.DagsterInstance.get() as instance,
            dg.build_sensor_context(
                instance=instance,
                cursor=self.cursor,
                resources=found.resources,
                repository_def=found.get_repository_def(),
            ) as context,
        ):
            context.log.addHandler(handler)
            data = notices_sensor.evaluate_tick(context)
        assert not data.run_requests
        self.cursor, self.said = data.cursor, data.skip_message
        return self

    def kinds(self):
        return [one["kind"] for one in self.notices.find(sort=[("ended", 1)])]


@pytest.fixture
def watch(world, monkeypatch):
    monkeypatch.setattr("workers.errors.uniform", lambda low, high: 0.0)  # retries come at once
    return Watch(world)


def unlucky(monkeypatch, why="out of luck"):
    """Let each attempt at a batch raise."""

    def run(worker):
        raise RuntimeError(why)

    monkeypatch.setattr(batch._Worker, "run", run)


def refused(monkeypatch, why="S3 refused access to s3://b/ (AccessDenied); check the policies"):
    """Let runs fail before they plan."""

    def list_partition(*_):
        raise Refused(why)

    monkeypatch.setattr(plan, "list_partition", list_partition)


def declared(monkeypatch, asset, **changes):
    changed = msgspec.structs.replace(asset, **changes)
    monkeypatch.setitem(assets(), asset.name, changed)
    return changed


def anonymous(text):
    """Return a message without what differs between two runs."""
    return re.sub(r"[\d.]+ s\b", "T s", re.sub(r"runs/\S+", "runs/ID", text))


def test_a_run_with_40_failed_batches_is_one_message_that_says_what_to_know(
    world, hook, watch, monkeypatch
):
    world.put([event(f"user{n}") for n in range(400)])
    sizes = Sizes(min_items=10, max_items=10)
    # Only the last of them passes the tolerance, so that none is left out.
    asset = declared(monkeypatch, world.asset, sizes=sizes, tolerated_count=395, tolerated_rate=0)
    unlucky(monkeypatch)
    assert not runs.materialise(asset, [DAY])["success"]
    assert world.ledger.batches.count_documents({"state": "failed"}) == 40
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
    world, hook, watch, monkeypatch
):
    world.put([event(f"user{n}") for n in range(100)])
    for why in ("no seat 17", "no seat 4", "no bed"):
        with monkeypatch.context() as patch:
            unlucky(patch, why)
            runs.materialise(world.asset, [DAY])
        watch.tick()
    for _ in range(2):
        assert runs.materialise(world.asset, [DAY])["success"]
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


def test_a_warning_is_said_once_and_again_with_other_numbers(world, hook, watch):
    world.put([event("ann"), b"bad", b'{"user": 1}', b'{"user": 2}'])
    for _ in range(2):
        runs.materialise(world.asset, [DAY])
        watch.tick()
    world.put([b"bad"], name="b.jsonl")
    runs.materialise(world.asset, [DAY])
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


def test_a_redrive_that_mends_a_warned_unit_leaves_nothing_to_say(world, hook, watch, monkeypatch):
    with monkeypatch.context() as patch:
        fragile(patch, lambda user: user == "bo")
        world.put([event("ann"), event("bo")])
        runs.materialise(world.asset, [DAY])
    fragile(monkeypatch, lambda user: False)
    runs.materialise(world.asset, [DAY], redrive_job_name(world.asset))
    watch.tick()
    assert watch.kinds() == ["warned", "finished"]
    assert len(hook.texts) == 1


def test_ranges_and_single_partitions_meet(world, hook, watch, monkeypatch):
    for day in (DAY, NEXT):
        world.put([event("ann"), *[b"bad"] * 30], day)
    asset = declared(monkeypatch, world.asset, tolerated_count=0, tolerated_rate=0)
    for days in ([DAY, NEXT], [DAY], [NEXT]):
        runs.materialise(asset, days)
        watch.tick()
    asset = declared(monkeypatch, world.asset, tolerated_count=50)
    for days in ([NEXT], [DAY, NEXT], [DAY]):
        runs.materialise(asset, days)
        watch.tick()
    # The second day had not been run when the first ended the range, so its own failure is news.
    assert watch.kinds() == ["failed", "", "failed", "recovered", "recovered", "finished"]
    subjects = [text.splitlines()[0] for text in hook.texts]
    assert subjects[0] == "user_profiles 1998-04-01...1998-04-02 (2 partitions) failed"
    assert hook.texts[0].endswith("fanfold redrive user_profiles --partition 1998-04-01")
    assert hook.texts[3].endswith("fanfold redrive user_profiles")
    assert subjects[2] == "user_profiles 1998-04-02 recovered, with warnings"


def test_a_run_that_fails_before_it_plans_is_told_with_its_partitions(
    world, hook, watch, monkeypatch
):
    refused(monkeypatch)
    runs.materialise(world.asset, [DAY])
    watch.tick()
    runs.materialise(world.asset, [DAY, NEXT])
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


def test_a_failure_that_names_its_own_way_out_is_told_with_that(world, hook, watch, monkeypatch):
    refused(monkeypatch, "it is closed. `fanfold rebuild user_profiles` makes all anew")
    runs.materialise(world.asset, [DAY])
    watch.tick()
    assert hook.texts[0].endswith("\nThen: fanfold rebuild user_profiles")


def begun(instance, origin=None):
    """Return a run that a worker began and was lost with."""
    job = runs.resolve("user_profiles_job")
    tags = {"dagster/partition": DAY}
    run = instance.create_run_for_job(job, tags=tags, remote_job_origin=origin)
    instance.report_dagster_event(
        dg.DagsterEvent("PIPELINE_START", job.name, message="on its way"), run.run_id
    )
    return run


def test_a_run_that_monitoring_finds_dead_is_told(world, hook, watch):
    with runs.instance() as instance:
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


def test_a_run_that_was_stopped_says_so_in_our_words(world, hook, watch):
    why = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
    with runs.instance() as instance:
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
    world, hook, watch, retried
):
    with runs.instance() as instance:
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
    world, hook, watch, retried, monkeypatch
):
    monkeypatch.setattr("pipelines.notices.OVERLAP", timedelta())
    with runs.instance() as instance:
        instance.report_run_failed(begun(instance, retried))
    watch.tick().tick()
    assert hook.texts == []
    monkeypatch.setattr("pipelines.ended.RETRY_COMES", timedelta())
    watch.tick().tick()
    assert len(hook.texts) == 1


def test_a_run_that_a_person_cancelled_is_told_by_setting(world, hook, watch, monkeypatch):
    with runs.instance() as instance:
        instance.report_run_canceled(begun(instance))
    watch.tick()
    assert hook.texts == []
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "failed, cancelled")
    with runs.instance() as instance:
        instance.report_run_canceled(begun(instance))
    watch.tick()
    assert hook.texts[0].startswith("user_profiles 1998-04-01 was cancelled\n")


def test_units_that_finished_are_told_by_setting_with_their_usual_duration(
    world, hook, watch, monkeypatch
):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "finished")
    monkeypatch.setenv("FANFOLD_UI_URL", "https://dagster.example.org/")
    world.put([event("ann")])
    runs.materialise(world.asset, [DAY])
    watch.tick()
    watch.notices.update_many({}, {"$set": {"seconds": 3000.0}})
    runs.materialise(world.asset, [DAY])
    runs.materialise(world.asset, [DAY, NEXT, "1998-04-03"])
    watch.tick()
    alone, as_usual, larger = hook.texts
    assert "usually" not in alone
    assert re.search(r"^[\d.]+ s, usually 50 min$", as_usual, re.MULTILINE)
    assert "usually" not in larger  # that much was not run before
    assert "\nhttps://dagster.example.org/runs/" in alone


def test_a_kind_that_does_not_exist_is_named(world, watch, monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "failed,everything")
    with pytest.raises(dg.Failure, match="FANFOLD_NOTIFY_ON names everything; it can name failed"):
        watch.tick()


def test_a_check_that_fails_is_a_warning(world, hook, watch, monkeypatch):
    monkeypatch.setattr("workers.verify.spot_check", lambda *_: (2, ["ann"], "the raw blocks"))
    world.put([event("ann"), event("bo")])
    for _ in range(2):
        runs.materialise(world.asset, [DAY])
        watch.tick()
    (text,) = hook.texts
    assert text.startswith("user_profiles 1998-04-01 finished with warnings\nnothing_twice did not")
    assert text.endswith("Again: fanfold run user_profiles --partition 1998-04-01")


def test_of_two_assets_in_a_run_each_is_told_what_became_of_it(world, hook, watch, monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "failed,finished")
    world.put([event("ann")])
    both = [dg.AssetKey("user_profiles"), dg.AssetKey("influence_scores")]
    real, failing = plan.list_partition, []

    def fails(store, ledger, asset, *more):
        if asset.name in failing:
            raise Refused("no")
        return real(store, ledger, asset, *more)

    monkeypatch.setattr(plan, "list_partition", fails)
    repository = ReconstructableRepository.for_module("pipelines.definitions", "definitions")
    job = repository.get_reconstructable_job("__ASSET_JOB")
    for name in ("influence_scores", "user_profiles"):
        failing[:] = [name]
        with runs.instance() as instance:
            dg.execute_job(
                job.get_subset(asset_selection=set(both)),
                instance=instance,
                tags=runs.partition_tags([DAY]),
            )
        watch.tick()
    assert [text.splitlines()[0] for text in hook.texts] == [
        "influence_scores 1998-04-01 failed",
        "user_profiles 1998-04-01 finished",
        "user_profiles 1998-04-01 failed",
    ]


def test_a_run_that_goes_on_from_a_failure_has_the_counts_of_the_one_before(
    world, hook, watch, monkeypatch
):
    world.put([event("ann"), b"bad"])

    def fold_shard(*_):
        raise Refused("not now")

    with monkeypatch.context() as patch:
        patch.setattr("workers.fold.fold_shard", fold_shard)
        failed = runs.materialise(world.asset, [DAY])
    job = dg.build_reconstructable_job(
        "pipelines.runs", "resolve", (), {"name": "user_profiles_job"}
    )
    with runs.instance() as instance:
        again = dg.execute_job(
            job,
            instance=instance,
            tags=runs.partition_tags([DAY]),
            reexecution_options=dg.ReexecutionOptions.from_failure(failed["run_id"], instance),
        )
    assert again.success
    watch.tick()
    assert watch.kinds() == ["failed", "recovered"]
    assert "\n2 items: 1 used, 1 dead letters, 0 failed batches; 1 profiles\n" in hook.texts[1]


def test_an_s3_that_is_away_keeps_nobody_from_hearing(world, hook, watch, monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_ON", "finished")
    world.put([event("ann")])
    runs.materialise(world.asset, [DAY])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    watch.tick()
    assert "1 items: 1 used, 0 dead letters, 0 failed batches\n" in hook.texts[0]


def test_long_and_many_sentences_are_cut(world):
    said = [f"step{n}: " + "no " * 300 for n in range(5)]
    nothing = {"counts": [], "bad": [], "beyond": [], "reasons": [], "causes": {"": "it"}}
    unit = Unit(
        asset=world.asset,
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
    head, *sentences, more, link = wording.text(unit, "failed", []).splitlines()
    assert head == "user_profiles (no partition) failed"
    assert [len(one) for one in sentences] == [wording.LONGEST + 3] * 3
    assert more == "and 2 more, in the run's log"
    assert link == "http://127.0.0.1:3000/runs/r1"


def test_runs_of_before_the_first_tick_are_not_told(world, hook, monkeypatch):
    refused(monkeypatch)
    runs.materialise(world.asset, [DAY])
    watch = Watch(world).tick()
    assert watch.kinds() == []
    assert hook.texts == []


def test_a_tick_that_is_repeated_tells_nothing_twice(world, hook, watch, monkeypatch):
    refused(monkeypatch)
    before = watch.cursor
    runs.materialise(world.asset, [DAY])
    watch.tick()
    watch.cursor = before
    watch.tick()
    assert (watch.kinds(), hook.requests) == (["failed"], 1)


def test_more_runs_than_a_tick_looks_at_are_told_by_the_next_ones(world, hook, watch, monkeypatch):
    monkeypatch.setattr("pipelines.notices.PER_TICK", 2)
    with runs.instance() as instance:
        for number in range(3):
            instance.report_run_failed(begun(instance), f"lost{'!' * number}")
    watch.tick()
    assert len(hook.texts) == 2
    watch.tick().tick()
    assert [text.splitlines()[1] for text in hook.texts] == ["lost", "lost!", "lost!!"]


@pytest.mark.parametrize("status", [503, 429, 404, 302, 100])
def test_what_the_webhook_does_not_take_waits_and_is_delivered_once_and_in_order(
    world, hook, watch, monkeypatch, status
):
    hook.status = status
    for why in ("no seat", "no bed"):
        with monkeypatch.context() as patch:
            refused(patch, why)
            runs.materialise(world.asset, [DAY])
        watch.tick()
    assert hook.texts == []
    assert "2 notices wait for the next tick" in watch.said
    hook.status = 200
    watch.tick().tick()
    assert ["no seat" in text for text in hook.texts] == [True, False]
    assert [level for level, _ in watch.logged].count("WARNING") == 4  # 2 failures, 2 ticks


def test_a_notice_that_the_webhook_refuses_does_not_hold_up_the_next(world, hook, watch):
    with runs.instance() as instance:
        instance.report_run_failed(begun(instance), "one")
    hook.status = 400
    watch.tick()
    assert hook.requests == 1
    with runs.instance() as instance:
        instance.report_run_failed(begun(instance), "two")
    watch.tick()
    assert hook.requests == 3


def test_a_notice_that_nobody_takes_for_a_day_is_given_up_and_the_log_says_so(
    world, hook, watch, monkeypatch
):
    refused(monkeypatch)
    hook.status = 500
    runs.materialise(world.asset, [DAY])
    watch.tick()
    old = datetime.now(UTC) - GIVE_UP - timedelta(hours=1)
    watch.notices.update_many({}, {"$set": {"made": old}})
    watch.tick()
    gone = "webhook did not take a notice for a day: user_profiles 1998-04-01 failed"
    assert ("WARNING", gone) in watch.logged
    hook.status = 200
    assert watch.tick().said == "no run ended"
    assert hook.texts == []


def nobody(monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_WEBHOOK", "http://127.0.0.1:9/services/hush-hush")


def gibberish(monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_WEBHOOK", "http://[hush-hush")


def no_address(monkeypatch):
    monkeypatch.setenv("FANFOLD_NOTIFY_WEBHOOK", "hush-hush")


def forbidden(monkeypatch):
    monkeypatch.setattr(Answering, "do_POST", lambda self: self.send_error(403, "hush-hush"))


@pytest.mark.parametrize("breaks", [nobody, gibberish, no_address, forbidden])
def test_the_address_of_the_webhook_shows_nowhere(world, hook, watch, monkeypatch, capfd, breaks):
    breaks(monkeypatch)
    refused(monkeypatch)
    runs.materialise(world.asset, [DAY])
    watch.tick()
    said = [watch.said, str(watch.logged), str(list(watch.notices.find())), *capfd.readouterr()]
    assert "webhook" in watch.said.lower()
    assert "1 notices wait" in watch.said
    assert "hush-hush" not in "".join(said)


def test_mark_up_in_data_does_not_reach_slack(world, hook, watch, monkeypatch):
    refused(monkeypatch, "by <!channel> & co")
    runs.materialise(world.asset, [DAY])
    watch.tick()
    assert "by &lt;!channel&gt; &amp; co" in hook.texts[0]


@pytest.fixture
def topic(world, monkeypatch):
    """A topic of SNS, with a queue that holds what was published; S3 stays the embedded one."""
    from workers import settings

    given = settings.read().s3
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", given["endpoint_url"])
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        monkeypatch.setenv(name.upper(), given[name])
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with mock_aws(config={"core": {"mock_credentials": False}}):
        sns = boto3.client("sns", region_name="eu-west-1")
        sqs = boto3.client("sqs", region_name="eu-west-1")
        arn = sns.create_topic(Name="units")["TopicArn"]
        queue = sqs.create_queue(QueueName="told")["QueueUrl"]
        at = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
        sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=at["QueueArn"])
        monkeypatch.setenv("FANFOLD_NOTIFY_SNS", arn)

        def taken():
            found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
            return [json.loads(one["Body"]) for one in found.get("Messages", [])]

        yield taken
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)


def test_sns_takes_each_notice_once_whatever_becomes_of_the_webhook(
    world, hook, topic, watch, monkeypatch
):
    hook.status = 500
    refused(monkeypatch)
    runs.materialise(world.asset, [DAY])
    watch.tick().tick()
    (message,) = topic()
    assert message["Subject"] == "user_profiles 1998-04-01 failed"
    assert "S3 refused access" in message["Message"]
    hook.status = 200
    watch.tick().tick()
    assert topic() == []
    assert len(hook.texts) == 1


@pytest.mark.parametrize(
    ("arn", "says"),
    [
        ("units", "FANFOLD_NOTIFY_SNS is not the ARN of a topic"),
        ("arn:aws:sns:eu-west-1:123456789012:gone", "SNS answers 404 NotFound"),
    ],
)
def test_a_topic_that_cannot_be_used_fails_no_tick(world, topic, watch, monkeypatch, arn, says):
    monkeypatch.setenv("FANFOLD_NOTIFY_SNS", arn)
    refused(monkeypatch)
    runs.materialise(world.asset, [DAY])
    watch.tick()
    assert says in watch.said


def test_the_subject_is_what_sns_takes(topic):
    from pipelines.sinks import sinks

    sink = sinks(logging.getLogger())["sns"]
    sink({"subject": "profils_privés " + "x" * 200, "text": "t"})
    (message,) = topic()
    assert message["Subject"].startswith("profils_priv?s xxx")
    assert len(message["Subject"]) == 100


def test_the_cursor_says_since_when_and_how_far():
    now = datetime.now(UTC)
    place = Place(now - timedelta(days=3), now)
    assert Place.of(place.to_cursor()) == place
