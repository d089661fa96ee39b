"""What S3 says when it does not give what was asked for, and what people are told."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.support.pipeline import DAY, Pipeline, event
from tests.support.s3_answers import saying
from workers.errors import Refused, Unavailable
from workers.s3_errors import MAX_TEXT_CHARACTERS, passed_on, read_date
from workers.settings import read_settings
from workers.sources.objects import aged_blocks
from workers.store import BlockStore, open_store


@pytest.fixture
def behind(pipeline):
    """A server that says what it is to say, and a pipeline whose S3 is behind it."""
    pipeline.put([event()])
    with saying() as (server, store):
        yield server, Pipeline(store, pipeline.database, pipeline.ledger)


def answer_to(behind, status, headers=None, part="a.jsonl", error=Refused, **body):
    """Return what is said of a run whose requests get this answer."""
    server, pipeline = behind
    server.say(part, status, headers, **body)
    with pytest.raises(error) as raised:
        pipeline.work(pipeline.plan())
    return str(raised.value)


def test_what_s3_says_of_a_key_that_decrypts_is_passed_on(behind):
    why = (
        "User: arn:aws:sts::111122223333:assumed-role/reader-of-all-the-events-there-are/i-0123 is "
        "not authorized to perform: kms:Decrypt on the resource: arn:aws:kms:eu-west-1:1111:key/k"
    )
    text = answer_to(behind, 403, Code="AccessDenied", Message=why)
    assert why in text
    assert "AccessDenied" in text
    assert "kms:Decrypt" in text.rpartition(";")[2]


def test_a_refusal_without_a_reason_says_what_it_may_be(behind):
    text = answer_to(behind, 403)
    for cause in ("credentials", "s3:GetObject", "clock", "FANFOLD_REQUESTER_PAYS"):
        assert cause in text


def test_a_plain_refusal_passes_on_what_s3_says(behind):
    text = answer_to(behind, 403, Code="AccessDenied", Message="Access Denied by policy 7")
    assert "S3 refused access to s3://" in text
    assert "(AccessDenied: Access Denied by policy 7); check the credentials and policies" in text


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (301, {"x-amz-bucket-region": "eu-west-1"}, {"Code": "PermanentRedirect", "Message": "m"}),
        (301, {"x-amz-bucket-region": "eu-west-1"}, {}),
        (307, {"x-amz-bucket-region": "eu-west-1"}, {"Code": "TemporaryRedirect"}),
        (400, {}, {"Code": "AuthorizationHeaderMalformed", "Region": "eu-west-1"}),
        (
            400,
            {},
            {
                "Code": "AuthorizationHeaderMalformed",
                "Message": "the region 'us-east-1' is wrong; expecting 'eu-west-1'",
            },
        ),
        (
            400,
            {"x-amz-bucket-region": "eu-west-1"},
            {"Code": "IllegalLocationConstraintException", "Message": "incompatible"},
        ),
    ],
)
def test_a_bucket_in_another_region_is_told_with_the_setting(behind, status, headers, body):
    text = answer_to(behind, status, headers, part=behind[1].store.bucket, **body)
    assert "set AWS_DEFAULT_REGION=eu-west-1" in text
    assert "https://s3.eu-west-1.amazonaws.com" in text


def test_a_bucket_in_a_region_that_s3_does_not_name_is_told_with_its_endpoint(behind):
    text = answer_to(
        behind, 301, Code="PermanentRedirect", Message="m", Endpoint="b.s3.eu-north-1.example.com"
    )
    assert "in another region (S3 names the endpoint b.s3.eu-north-1.example.com)" in text
    assert "AWS_DEFAULT_REGION" in text


@pytest.mark.parametrize("storage", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_block_is_to_be_restored(behind, storage):
    text = answer_to(
        behind,
        403,
        Code="InvalidObjectState",
        Message="The operation is not valid for the object's storage class",
        StorageClass=storage,
    )
    assert f"archived ({storage})" in text
    assert "restore" in text
    assert "credentials" not in text


@pytest.mark.parametrize(("minutes", "word"), [(-20, "ahead"), (20, "behind")])
def test_a_clock_that_is_wrong_is_told_by_how_much(behind, minutes, word):
    theirs = datetime.now(UTC) + timedelta(minutes=minutes)
    body = {"Code": "RequestTimeTooSkewed", "Message": "too large"}
    by_body = answer_to(behind, 403, ServerTime=theirs.isoformat(), **body)
    by_header = answer_to(behind, 403, {"date": format_datetime(theirs, usegmt=True)}, **body)
    for text in (by_body, by_header):
        assert "clock" in text
        assert f" s, {word}" in text
        assert "1,2" in text or "1,1" in text  # 20 minutes are 1,200 seconds
    assert "clock" in answer_to(behind, 403, **body)


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (400, "ExpiredToken", "renew the credentials"),
        (400, "InvalidToken", "renew the credentials"),
        (400, "TokenRefreshRequired", "renew the credentials"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "AllAccessDisabled", "switched off"),
        (400, "KMS.DisabledException", "policies of the key"),
    ],
)
def test_an_error_with_one_cause_is_told_with_what_to_do(behind, status, code, advice):
    text = answer_to(behind, status, Code=code, Message="in the words of S3")
    assert advice in text
    assert "in the words of S3" in text


def test_a_block_that_was_deleted_in_a_bucket_with_versions_is_told_so(behind):
    text = answer_to(behind, 405, {"x-amz-delete-marker": "true"}, Code="MethodNotAllowed")
    assert "it was deleted" in text


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "RequestTimeout"),
        (503, "SlowDown"),
        (400, "IncompleteBody"),
        (400, "KMS.ThrottlingException"),
        (429, "TooManyRequests"),
        (307, "TemporaryRedirect"),
    ],
)
def test_what_may_go_better_the_next_time_is_worth_a_retry(behind, status, code):
    text = answer_to(behind, status, error=Unavailable, Code=code, Message="again, please")
    assert "again, please" in text


def test_other_answers_pass_on_the_text_of_s3(behind):
    text = answer_to(behind, 400, Code="InvalidRequest", Message="SSE-C keys are needed")
    assert "(InvalidRequest: SSE-C keys are needed)" in text


# What is passed on


@pytest.mark.parametrize(
    "text",
    [
        "the key AKIAIOSFODNN7EXAMPLE is not known",
        "see https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1998&x=1",
        "see https://b/k?X-Amz-Signature=0123456789abcdef0123&X-Amz-Expires=60",
        "AWSAccessKeyId=abcdef&Signature=0123456789abcdef0123",
        "the token IQoJb3JpZ2luX2VjEAAaCWV1LXdlc3QtMSJIMEYCIQDabcdefgh+/abc== is not valid",
    ],
)
def test_keys_and_tokens_are_not_passed_on(text):
    masked = passed_on(text)
    assert "***" in masked
    for secret in ("AKIA", "0123456789abcdef0123", "IQoJ", "abcdef&"):
        assert secret not in masked


def test_the_keys_of_the_settings_are_not_passed_on(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "minio-admin")
    assert passed_on("no such key: minio-admin") == "no such key: ***"


def test_names_are_passed_on_and_long_texts_are_cut():
    named = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    place = "events/dt=1998-04-01/part-00000-1234abcd-12ab-34cd-56ef-1234567890ab.json"
    assert passed_on(f"{named} and\n {place}") == f"{named} and {place}"
    assert len(passed_on("no " * 1_000)) == MAX_TEXT_CHARACTERS + len("...")


# Headers


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "soon",
        "Wed, 01 Apr 1998 10:00:00 GMT, Wed, 01 Apr 1998 10:00:00 GMT",
        "Wed, 01 Apr 1998 10:00:00 -0000",
        "Wed, 01 Apr 1998 10:00:00",
        "Wed, 99 Apr 1998 10:00:00 GMT",
    ],
)
def test_a_date_that_cannot_be_read_is_none(header):
    assert read_date(header) is None


def test_a_date_is_read_with_its_zone():
    assert read_date("Wed, 01 Apr 1998 10:00:00 GMT") == datetime(1998, 4, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "added",
    [
        {"date": ["Wed, 01 Apr 1998 10:00:00 GMT"]},
        {"date": [""]},
        {"date": ["", ""], "server": ["proxy"]},
        {name: [""] for name in ("etag", "last-modified", "content-type", "accept-ranges")},
    ],
)
def test_headers_that_a_proxy_adds_once_more_do_no_harm(behind, added):
    server, pipeline = behind
    server.added = added
    ((_, seconds),) = aged_blocks(pipeline.asset, pipeline.store, DAY)
    assert abs(seconds) < 600
    assert pipeline.run()["items_used"] == 1
    assert pipeline.verify().match


# Requests


def test_whoever_reads_says_that_they_pay_where_they_are_to(pipeline, monkeypatch):
    pipeline.put([event()])
    monkeypatch.setenv("FANFOLD_REQUESTER_PAYS", "yes")
    settings = read_settings()
    assert settings.requester_pays
    store = open_store(settings)

    agreed = []
    store.client.meta.events.register(
        "before-call.s3",
        lambda params, model, **_: agreed.append(
            (model.name, params["headers"].get("x-amz-request-payer"))
        ),
    )
    paid = Pipeline(store, pipeline.database, pipeline.ledger)
    assert paid.run()["items_used"] == 1
    assert ("ListObjectsV2", "requester") in agreed
    assert ("GetObject", "requester") in agreed
    monkeypatch.delenv("FANFOLD_REQUESTER_PAYS")
    assert not read_settings().requester_pays


def test_a_bucket_is_made_where_s3_wants_to_be_told_the_region(behind):
    server, pipeline = behind
    bucket = f"{pipeline.store.bucket}-new"
    new = BlockStore(pipeline.store.client, bucket, patience=0)
    server.say(
        bucket,
        400,
        method="PUT",
        times=1,
        Code="IllegalLocationConstraintException",
        Message="incompatible",
    )
    new.ensure()
    assert [method for method, path, _ in server.seen if bucket in path] == ["HEAD", "PUT"]
    assert list(new.list("")) == []
    new.client.delete_bucket(Bucket=bucket)
