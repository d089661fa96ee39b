"""Whom S3 is asked as: boto3's own rules, with profiles, roles and tokens, at a made-up AWS."""

from datetime import UTC, datetime, timedelta

import pytest
from moto import mock_aws

from workers.errors import Refused
from workers.settings import Settings
from workers.store import open_store

ROLE = "arn:aws:iam::123456789012:role/fanfold"
PROFILES = f"""
[profile people]
aws_access_key_id = person
aws_secret_access_key = secret-of-a-person
region = eu-west-1

[profile fanfold]
role_arn = {ROLE}
source_profile = people
region = eu-west-1
"""


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """A cloud with profiles and no other credentials; sessions of before do not count."""
    file = tmp_path / "config"
    file.write_text(PROFILES)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    with mock_aws(config={"core": {"mock_credentials": False}}):
        yield tmp_path


def opened(**s3):
    store = open_store(Settings(mongodb_uri="", database="", bucket="ours", s3=s3), patient=False)
    store.ensure()
    store.put("greeting", b"hello")
    return store


def credentials(store):
    return store.client._request_signer._credentials


def test_a_profile_of_the_resource_takes_the_role_that_it_names(aws):
    store = opened(profile_name="fanfold")
    assert store.get("greeting") == b"hello"
    assert credentials(store).method == "assume-role"


def test_a_profile_of_the_environment_takes_the_role_that_it_names(aws, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "fanfold")
    store = opened()
    assert store.get("greeting") == b"hello"
    assert credentials(store).method == "assume-role"


def test_a_token_of_a_service_account_takes_its_role(aws, monkeypatch):
    token = aws / "token"
    token.write_text("a-token")
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    store = opened()
    assert store.get("greeting") == b"hello"
    assert credentials(store).method == "assume-role-with-web-identity"


def test_credentials_of_a_role_are_renewed_before_they_expire(aws, monkeypatch):
    store = opened(profile_name="fanfold")
    first = credentials(store).get_frozen_credentials()

    def ten_minutes_before():
        return datetime.now(UTC) + timedelta(minutes=50)  # they are for an hour

    monkeypatch.setattr("botocore.credentials._local_now", ten_minutes_before)
    monkeypatch.setattr(credentials(store), "_time_fetcher", ten_minutes_before)
    assert store.get("greeting") == b"hello"
    assert credentials(store).access_key != first.access_key


def test_a_profile_of_the_resource_wins_over_keys_of_the_environment(aws, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-somebody-else")
    assert credentials(opened(profile_name="people")).access_key == "person"


def test_a_profile_that_does_not_exist_is_refused_by_its_name():
    with pytest.raises(Refused, match="nobody"):
        opened(profile_name="nobody")
