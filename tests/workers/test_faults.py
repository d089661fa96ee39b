"""MongoDB and S3 that fail: short faults are survived, long ones named, and a new run completes."""

import itertools
import random
import threading
import time
import traceback
import uuid
from contextlib import contextmanager

import pymongo
import pytest
from pymongo.collection import Collection

from pipelines.runs import materialise
from tests.support.faults import FAULTS, Mongod, Proxy
from tests.support.pipeline import DAY, Pipeline, event
from tests.workers.sources.test_every_format import COMPRESS, ITEMS, LAYOUTS, WRITE
from workers.batch import attempt_batch
from workers.errors import Refused, Unavailable
from workers.folding import writing
from workers.folding.publish import record_folded
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import TRANSIENT_MONGODB_CODES, mongodb_errors, open_database
from workers.retry import retry
from workers.settings import Settings, read_settings
from workers.store import BlockStore, open_store

SHORT = "serverSelectionTimeoutMS=300"


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """Pauses take a thousandth of their time, and patience ends after a fifth of a second."""
    monkeypatch.setattr("workers.retry.uniform", lambda low, high: 0.001)
    monkeypatch.setattr("workers.store.RETRY_SECONDS", 0.2)
    monkeypatch.setattr("workers.store.ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("resources.io_manager.OUTAGE_SECONDS", 0.2)


@pytest.fixture
def proxy(pipeline, monkeypatch):
    """A proxy in front of S3, which the settings name from here on."""
    given = read_settings().s3
    proxy = Proxy(int(given["endpoint_url"].rpartition(":")[2]))
    threading.Thread(target=proxy.serve_forever, args=(0.02,)).start()

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        monkeypatch.setenv(name.upper(), given[name])
    monkeypatch.setenv("AWS_DEFAULT_REGION", given["region_name"])

    yield proxy

    proxy.released.set()
    proxy.shutdown()
    proxy.server_close()


@pytest.fixture
def far(pipeline, proxy):
    """The same pipeline, seen through the proxy."""
    return Pipeline(open_store(read_settings()), pipeline.database, pipeline.ledger)


@pytest.fixture
def secret(servers):
    return servers.s3["aws_secret_access_key"]


@pytest.fixture(scope="module")
def mongods(servers, tmp_path_factory):
    """A mongod alone and a replica set of one, each started when it is first asked for."""
    started: dict[bool, Mongod] = {}

    def running(is_replica_set):
        if is_replica_set not in started:
            folder = tmp_path_factory.mktemp("mongod")
            started[is_replica_set] = Mongod(folder, is_replica_set)
        if not started[is_replica_set].is_running():
            started[is_replica_set].start()
        return started[is_replica_set]

    yield running
    for mongod in started.values():
        mongod.kill()


@contextmanager
def pipeline_on(mongod, store, uri="", name=""):
    """A pipeline with a database of its own, or the named one, on this mongod."""
    name = name or f"test_{uuid.uuid4().hex[:12]}"
    given = Settings(mongodb_uri=uri or mongod.uri, database=name, bucket="", s3={})
    database = open_database(given)
    with database.client:
        yield Pipeline(store, database, Ledger(database))


@pytest.fixture
def replica_set(mongods):
    return mongods(True)


@pytest.fixture
def elected(replica_set, store):
    """A pipeline whose MongoDB is a replica set."""
    with pipeline_on(replica_set, store) as pipeline:
        yield pipeline


def retried(call):
    """Call as an op does: again, where a server is unavailable."""

    def once():
        with mongodb_errors():
            return call()

    return retry(once, 20)


def act_before_chunk(monkeypatch, act, number=2):
    """Act once, right before the fold writes its so-many-th chunk of profiles."""
    original = Collection.bulk_write
    calls = itertools.count(1)

    def bulk_write(self, *args, **more):
        if self.name == "user_profiles" and next(calls) == number:
            act()
        return original(self, *args, **more)

    monkeypatch.setattr(Collection, "bulk_write", bulk_write)


# S3


@pytest.mark.parametrize("fault", FAULTS)
def test_every_third_request_to_s3_fails_and_a_run_counts_each_item_once(
    pipeline, far, proxy, fault
):
    pipeline.put([event(f"user{n % 50}", item=str(n)) for n in range(900)])
    pipeline.put([event(f"user{n % 50}") for n in range(900)], name="b.jsonl.gz")

    counter = itertools.count()
    proxy.follow(lambda method, path: fault if next(counter) % 3 == 0 else None)

    assert far.sized(300).run()["items_used"] == 1_800
    assert proxy.faults >= 5
    assert pipeline.verify().match


def test_a_server_that_says_nothing_is_asked_again(pipeline, far, proxy):
    key = pipeline.put([event()])
    proxy.fail("hang", times=1)
    assert far.store.get(key) == pipeline.store.get(key)


def test_a_body_that_breaks_off_is_read_on_from_there(pipeline, far, proxy):
    body = random.Random(1).randbytes(4 << 20)
    pipeline.store.put("block", body)
    (block,) = pipeline.store.list("block")

    proxy.fail("break", times=4)
    opened = far.store.open("block", block.etag, 10, len(body))
    assert b"".join(iter(lambda: opened.read(100_000), b"")) == body[10:]
    assert opened.bytes_read == len(body) - 10

    proxy.fail("break", times=1)
    assert far.store.open_whole("block").read() == body
    assert far.store.get("block") == body


def test_a_block_replaced_while_its_body_is_broken_off_is_not_mixed_with_the_new_one(
    pipeline, far, proxy
):
    pipeline.store.put("block", b"old" * (1 << 20))
    proxy.fail("break", times=1)
    opened = far.store.open_whole("block")
    opened.read(10)
    pipeline.store.put("block", b"new" * (1 << 20))
    with pytest.raises(Refused, match="was replaced"):
        opened.read()


@pytest.mark.parametrize("layout", LAYOUTS, ids="".join)
def test_a_block_that_s3_breaks_off_is_unavailable_and_a_retry_counts_each_item_once(
    pipeline, far, proxy, layout
):
    """In every format: what S3 failed to send is no dead letter."""
    kind, end = layout
    body = WRITE[kind](ITEMS)
    pipeline.store.put(f"events/dt={DAY}/a{kind}{end}", COMPRESS[end](body))
    work = pipeline.plan()

    impatient = open_store(read_settings(), patient=False)
    proxy.fail("break", times=1, method="GET", path="events/dt")
    batch_id = next(iter(work.to_run))
    with pytest.raises(Unavailable, match="S3 did not answer for s3://"):
        attempt_batch(pipeline.ledger, impatient, batch_id)
    assert not pipeline.ledger.batch(batch_id).is_done

    assert attempt_batch(pipeline.ledger, impatient, batch_id).dead == 0

    far.work(work)
    assert sum(batch["outcome"]["used"] for batch in pipeline.ledger.batches.find()) == 3_000
    assert pipeline.ledger.batch(batch_id).attempts == 2
    assert pipeline.database["dead_letters"].count_documents({}) == 0


@pytest.mark.parametrize("fault", ["500", "503", "reset", "hang"])
def test_an_s3_that_stays_away_is_named_in_one_sentence(pipeline, far, proxy, secret, fault):
    proxy.fail(fault, times=float("inf"))

    started = time.monotonic()
    with pytest.raises(Unavailable) as raised:
        far.store.get("block")

    assert str(raised.value).startswith("S3 ")
    assert "\n" not in str(raised.value)
    assert secret not in str(raised.value)
    assert 0.2 <= time.monotonic() - started < 3
    assert len(proxy.seen) >= 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "events"),  # its blocks, after the command's own look at them
        ("PUT", "_fanfold/results"),
        ("PUT", "_fanfold/runs"),  # an op's output
        ("GET", "_fanfold/runs"),  # an op's input
        ("GET", "_fanfold/results"),  # the fold
    ],
)
def test_a_run_without_s3_fails_in_a_sentence_and_a_new_run_completes(
    pipeline, proxy, secret, method, path
):
    pipeline.put([event(f"user{n}") for n in range(20)])
    proxy.fail("503", times=float("inf"), method=method, path=path, after=path == "events")

    summary = materialise(pipeline.asset, [DAY])
    assert not summary["success"]
    assert summary["errors"]
    for error in summary["errors"]:
        assert "S3 answered 503 SlowDown for s3://" in error
        assert "Error occurred" not in error
        assert "\n" not in error
        assert secret not in error

    proxy.heal()
    summary = materialise(pipeline.asset, [DAY])
    assert summary["success"], summary
    assert summary["items_used"] == 20
    assert pipeline.verify().match


@pytest.mark.parametrize("seed", range(3))
def test_a_run_with_faults_sprinkled_over_all_requests_succeeds(pipeline, proxy, monkeypatch, seed):
    monkeypatch.setattr("workers.store.RETRY_SECONDS", 30)
    pipeline.put([event(f"user{n % 50}", item=str(n)) for n in range(900)])
    pipeline.put([event(f"user{n % 50}") for n in range(900)], name="b.jsonl.gz")
    proxy.sprinkle(seed, share=0.3)

    summary = materialise(pipeline.asset, [DAY])
    assert summary["success"], summary
    assert summary["items_used"] == 1_800
    assert proxy.faults >= 5
    assert pipeline.verify().match


def test_a_bucket_that_was_created_though_the_answer_was_lost_is_fine(far, proxy):
    store = BlockStore(far.store.client, f"test-{uuid.uuid4().hex[:12]}", 5)
    proxy.fail("lost", method="PUT")
    store.ensure()
    store.client.delete_bucket(Bucket=store.bucket)


# MongoDB


@pytest.mark.parametrize("code", sorted(TRANSIENT_MONGODB_CODES))
def test_what_mongodb_cannot_do_right_now_is_worth_a_retry(elected, replica_set, code):
    failing = replica_set.failing("find", errorCode=code)
    with failing, pytest.raises(Unavailable, match="MongoDB"), mongodb_errors():
        elected.profile("ann")
    assert elected.profile("ann") is None


@pytest.mark.parametrize("code", [64, 91, 189])
def test_writes_that_are_not_yet_safe_are_worth_a_retry(elected, replica_set, code):
    """Of one document and of many: their only problem is the write concern."""
    trouble = {"code": code, "errmsg": "not yet"}
    write = pymongo.UpdateOne({"_id": "ann"}, {"$set": {"events": 1}}, upsert=True)

    for call in (
        lambda: elected.profiles.update_one({"_id": "ann"}, {"$set": {"events": 1}}, upsert=True),
        lambda: elected.profiles.bulk_write([write], ordered=False),
    ):
        failing = replica_set.failing("update", writeConcernError=trouble)
        with failing, pytest.raises(Unavailable, match=r"MongoDB .* \("), mongodb_errors():
            call()
        retried(call)


def test_what_is_wrong_with_a_document_or_a_query_is_not_retried(elected):
    elected.profiles.insert_one({"_id": "ann"})
    for call in (
        lambda: elected.profiles.insert_one({"_id": "ann"}),
        lambda: elected.profiles.bulk_write([pymongo.InsertOne({"_id": "ann"})]),
        lambda: elected.profiles.find_one({"$nonsense": 1}),
    ):
        with pytest.raises(pymongo.errors.OperationFailure), mongodb_errors():
            call()


def test_a_step_down_in_the_middle_of_a_fold_is_survived(elected, replica_set, monkeypatch):
    monkeypatch.setattr(writing, "CHUNK_PROFILES", 20)
    elected.put([event(f"user{n}") for n in range(100)])
    act_before_chunk(monkeypatch, replica_set.step_down)

    work = elected.plan()
    elected.work(work)
    claimed = elected.reconcile(work)

    folded = retried(lambda: elected.fold(claimed))
    record_folded(elected.asset, elected.ledger, claimed, folded)

    assert elected.verify().match
    assert elected.verify().profiles == 100


@pytest.mark.parametrize("is_replica_set", [False, True], ids=["alone", "replica set"])
def test_a_mongod_killed_in_the_middle_of_a_fold_leaves_what_a_retry_completes(
    mongods, store, monkeypatch, is_replica_set
):
    mongod = mongods(is_replica_set)
    monkeypatch.setattr(writing, "CHUNK_PROFILES", 20)

    def restart():
        mongod.kill()
        mongod.start()

    with pipeline_on(mongod, store) as pipeline:
        pipeline.put([event(f"user{n}") for n in range(100)])
        work = pipeline.plan()
        pipeline.work(work)
        claimed = pipeline.reconcile(work)

        act_before_chunk(monkeypatch, restart, number=3)
        folded = retried(lambda: pipeline.fold(claimed))
        record_folded(pipeline.asset, pipeline.ledger, claimed, folded)

        assert pipeline.verify().match
        assert pipeline.verify().profiles == 100


def test_what_was_acknowledged_is_there_after_a_kill(mongods, store):
    """Without the journal, a mongod alone loses up to a tenth of a second of it."""
    mongod = mongods(False)
    with pipeline_on(mongod, store) as pipeline:
        for number in range(50):
            pipeline.profiles.insert_one({"_id": number})

        mongod.kill()
        mongod.start()
        assert retried(lambda: pipeline.profiles.count_documents({})) == 50


def test_a_run_without_mongodb_fails_in_a_sentence_and_a_new_run_completes(
    pipeline, mongods, monkeypatch
):
    mongod = mongods(False)
    uri = f"mongodb://{mongod.address}/?{SHORT}&appName=secret"
    monkeypatch.setenv("MONGODB_URI", uri)
    pipeline.put([event(f"user{n}") for n in range(20)])
    act_before_chunk(monkeypatch, mongod.kill, number=1)

    summary = materialise(pipeline.asset, [DAY])
    assert not summary["success"]
    (error,) = summary["errors"]
    assert "fold_shard[0]: MongoDB cannot be reached; check MONGODB_URI" in error
    assert "\n" not in error
    assert "secret" not in error

    mongod.start()
    summary = materialise(pipeline.asset, [DAY])
    assert summary["success"], summary
    assert (summary["items_used"], summary["batches_reused"]) == (20, 1)

    with pipeline_on(mongod, pipeline.store, uri, pipeline.database.name) as healed:
        assert healed.verify().match


def test_a_run_outlives_a_restart_of_mongodb(pipeline, mongods, monkeypatch):
    mongod = mongods(False)
    monkeypatch.setattr("workers.retry.uniform", lambda low, high: 0.2)
    monkeypatch.setenv("MONGODB_URI", mongod.uri)
    pipeline.put([event(f"user{n}") for n in range(20)])

    def restart():
        mongod.kill()
        threading.Timer(0.2, mongod.start).start()

    act_before_chunk(monkeypatch, restart, number=1)

    summary = materialise(pipeline.asset, [DAY])
    assert summary["success"], summary
    with pipeline_on(mongod, pipeline.store, name=pipeline.database.name) as restarted:
        assert restarted.verify().match


def test_a_mongodb_that_cannot_be_reached_is_named_within_seconds_to_the_impatient():
    given = Settings(mongodb_uri="mongodb://me:secret@127.0.0.1:9/", database="x", bucket="", s3={})
    started = time.monotonic()

    client = open_database(given, patient=False).client
    with client, pytest.raises(Unavailable) as raised, mongodb_errors():
        client.admin.command("ping")

    assert 3 < time.monotonic() - started < 6
    assert str(raised.value).startswith("MongoDB cannot be reached; check MONGODB_URI")
    assert "secret" not in str(raised.value)


def test_a_uri_keeps_its_own_timeouts_and_writes_are_safe_all_the_same():
    given = Settings(
        mongodb_uri="mongodb://h/?serverselectiontimeoutms=77&retryWrites=false&w=1&journal=false",
        database="x",
        bucket="",
        s3={},
    )
    with open_database(given).client as client:
        assert client.options.server_selection_timeout == 0.077
        assert not client.options.retry_writes
        assert client.write_concern.document == {"w": "majority", "j": True, "wtimeout": 30_000}


@pytest.mark.parametrize(
    "uri",
    ["mongodb://me:s3cr/et@host/", "mongodb://me:s3cr@t@host/", "http://me:s3cret@host"],
)
def test_a_uri_that_cannot_be_used_is_refused_without_repeating_it(uri):
    given = Settings(mongodb_uri=uri, database="x", bucket="", s3={})
    with pytest.raises(Refused, match="MONGODB_URI cannot be used") as raised:
        open_database(given)
    shown = "".join(traceback.format_exception(raised.value))
    assert "s3cr" not in shown
