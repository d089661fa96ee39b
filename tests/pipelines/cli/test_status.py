"""What `fanfold status` shows: servers in use, partitions, freshness, letters, what to type."""

from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from pipelines.cli import servers, status
from pipelines.cli.servers import masked, servers_in_use
from resources.door import is_silent
from tests.pipelines.conftest import told
from tests.support.pipeline import DAY, event
from workers.errors import Refused
from workers.ledger.records import PlanState
from workers.planning.standing import Mark, standing

ELSEWHERE = "mongodb://me:pa55@127.0.0.1:9/?authSource=admin"


def after(days):
    """Return the key of the partition so many days after the first."""
    return f"{datetime.fromisoformat(DAY) + timedelta(days=days):%Y-%m-%d}"


@pytest.fixture
def mixed(pipeline):
    """Three days: done, done with a dead letter, beyond tolerance; between the last two, none."""
    pipeline.put([event("ann")])
    pipeline.put([event("ann"), b"bad"], after(1))
    pipeline.put([event("ann"), *[b"bad"] * 60], after(3))
    pipeline.run(DAY, after(1))
    with pytest.raises(Refused):
        pipeline.run(after(3))
    return pipeline


def user_profiles(document):
    return next(each for each in document["assets"] if each["asset"] == "user_profiles")


def test_an_asset_has_a_strip_of_its_last_partitions(mixed, fanfold):
    code, document = told(fanfold("status", "--json"))
    asset = user_profiles(document)
    assert code == 0
    assert len(asset["partitions"]) == 14
    assert list(asset["partitions"].values())[-5:] == [
        Mark.MISSING,
        Mark.DONE,
        Mark.DEAD_LETTERS,
        Mark.MISSING,
        Mark.FAILED,
    ]
    assert (asset["newest"], asset["dead_letters"]) == (after(1), 61)
    assert (asset["is_late"], asset["not_folded"]) == (False, [after(3)])


def test_people_see_the_same_in_80_columns_with_what_to_type_next(mixed, fanfold, monkeypatch):
    console = Console(width=80, highlight=False, soft_wrap=True)
    monkeypatch.setattr(status, "out", console)
    _, out, _ = fanfold("status")
    assert max(map(len, out.splitlines())) <= 80
    assert "  user_profiles     ..........=d.F  1998-04-02  " in out
    assert "= done   d done, with dead letters   F failed   r running   . no run" in out
    commands = out.partition("\nnext\n")[2].splitlines()
    assert [line.partition("#")[0].strip() for line in commands] == [
        "fanfold run user_profiles --failed",
        "fanfold dead-letters user_profiles",
    ]


def test_a_run_at_work_is_shown_and_its_partitions_are_no_failures(pipeline, fanfold):
    pipeline.put([event("ann")])
    work = pipeline.plan()
    _, document = told(fanfold("status", "--json"))
    (run,) = document["runs"]
    assert (run["asset"], run["partitions"]) == ("user_profiles", [DAY])
    assert run["figures"]["stage"] == "working"
    assert user_profiles(document)["partitions"][DAY] == Mark.RUNNING
    assert user_profiles(document)["not_folded"] == []
    assert f"/runs/{work.plans[0].run}" in fanfold("status")[1]


def test_a_run_that_ended_without_a_word_is_a_failure(pipeline, fanfold):
    pipeline.put([event("ann")])
    pipeline.plan()
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    pipeline.ledger.plans.update_many({}, {"$set": {"created": long_ago}})
    _, document = told(fanfold("status", "--json"))
    assert document["runs"] == []
    assert user_profiles(document)["partitions"][DAY] == Mark.FAILED


def test_an_asset_is_late_by_the_hours_that_it_declares(pipeline):
    pipeline.put([event("ann")])
    pipeline.run()
    now = datetime.now(UTC)
    assert not standing(pipeline.asset, pipeline.ledger, now, ()).is_late
    assert standing(pipeline.asset, pipeline.ledger, now + timedelta(hours=49), ()).is_late


def test_partitions_of_now_are_shown_up_to_the_one_that_closed_last(pipeline):
    pipeline.put([event("ann")])
    pipeline.run()
    now = datetime.fromisoformat(after(5)).replace(tzinfo=UTC)
    of_now = standing(pipeline.asset, pipeline.ledger, now, ())
    assert list(of_now.partitions)[-1] == after(4)
    years_later = standing(pipeline.asset, pipeline.ledger, now.replace(year=2020), ())
    assert list(years_later.partitions)[-1] == DAY


def test_a_partition_some_profiles_of_which_lack_it_is_no_success(pipeline, monkeypatch):
    monkeypatch.setattr("workers.ledger.profile_writes.MAX_DOCUMENT_BYTES", 100_000)
    pipeline.put([event("hot", item=f"{n:01000}") for n in range(60)])
    pipeline.run()
    assert pipeline.ledger.last_plan("user_profiles", DAY).state is PlanState.FOLDED
    marks = standing(pipeline.asset, pipeline.ledger, datetime.now(UTC), ()).partitions
    assert marks[DAY] is Mark.FAILED


def test_a_mongodb_elsewhere_is_shown_with_whether_it_answers_and_the_embedded_one_is_not_used(
    pipeline, fanfold, monkeypatch
):
    monkeypatch.setattr(servers, "ANSWER_SECONDS", 0.1)
    monkeypatch.setenv("MONGODB_URI", ELSEWHERE)
    code, document = told(fanfold("status", "--json"))
    mongodb, s3 = document["servers"]
    assert code == 0
    assert mongodb["where"].startswith("mongodb://***@127.0.0.1:9, database ")
    assert mongodb["state"].startswith("no answer: MongoDB cannot be reached")
    assert (s3["state"], s3["is_embedded"]) == ("answers", True)
    assert document["assets"] == []

    _, out, _ = fanfold("status")
    assert "pa55" not in out
    assert "running, and not used: mongod" in out
    assert "the ledger, which cannot be read" in out


def test_a_server_that_says_nothing_is_not_waited_for(pipeline, monkeypatch):
    monkeypatch.setattr(servers, "WAIT_SECONDS", 0.1)
    monkeypatch.setenv("MONGODB_URI", ELSEWHERE)
    assert servers_in_use()[0].state == "no answer within 0.1 s"


def test_a_bucket_that_is_not_there_is_told(pipeline, monkeypatch):
    monkeypatch.setenv("FANFOLD_BUCKET", "not-there")
    _, s3 = servers_in_use()
    assert s3.state.startswith("no bucket: ")


def test_an_s3_that_cannot_be_used_as_it_is_set_is_told(pipeline, fanfold, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "no address")
    code, document = told(fanfold("status", "--json"))
    assert code == 0
    assert document["servers"][1]["state"].startswith("unusable: S3 cannot be used")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://a.example", "mongodb://a.example"),
        ("mongodb+srv://me:p%40ss@a.example/db?x=secret", "mongodb+srv://***@a.example/db"),
        ("mongodb://me:p@ss?w/rd@a:1,b:2/", "mongodb://***@a:1,b:2"),
        ("me:secret@a.example", "***"),
        ("redis://:secret@queue:6379/0", "redis://***@queue:6379/0"),
    ],
)
def test_addresses_are_shown_without_credentials_and_options(uri, shown):
    assert masked(uri) == shown


def test_where_nothing_runs_status_starts_nothing_and_says_what_does(
    fanfold, monkeypatch, tmp_path
):
    monkeypatch.setenv("FANFOLD_HOME", str(tmp_path))
    code, document = told(fanfold("status", "--json"))
    assert code == 0
    assert {server["state"] for server in document["servers"]} == {"stopped"}
    assert not document["mongod"]["running"]
    assert [each["command"] for each in document["next"]] == ["fanfold up"]


@pytest.mark.parametrize(
    ("line", "silent"),
    [
        ("S3: S3Resource = SettingsS3Resource()", True),
        ("S3 = SettingsS3Resource()", True),
        ('S3 = SettingsS3Resource(region_name="eu-west-1")', False),
        ('S3: S3Resource = S3Resource(endpoint_url="http://s3")', False),
        ("from elsewhere import S3", False),
    ],
)
def test_dagster_is_left_out_only_where_the_door_to_s3_says_nothing(tmp_path, line, silent):
    page = tmp_path / "s3.py"
    page.write_text(f'"""A page."""\n\n{line}\n')
    assert is_silent(page) is silent
