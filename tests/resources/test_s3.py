"""The door to S3: what a resource of dagster-aws says, and what the environment says."""

import json
import os
import subprocess
import sys

import boto3
import dagster as dg
import pytest
from botocore import UNSIGNED
from dagster_aws.s3 import S3Resource

from pipelines.definitions import definitions
from resources import s3
from resources.blocks import BlocksResource, shared_store
from resources.embedded import needed_servers, running_settings
from resources.s3 import SettingsS3Resource, arguments_of
from tests.conftest import PROJECT
from tests.support.pipeline import event
from workers.settings import read_settings, to_environ
from workers.store import BlockStore

SECRET = "a-secret-that-nobody-may-read"


def opened(resource: S3Resource) -> BlockStore:
    """Return the store that an op of a code location with this resource gets."""
    stores = []

    @dg.op
    def take(store: dg.ResourceParam[BlockStore]) -> None:
        stores.append(store)

    @dg.job(resource_defs={"s3": resource, "store": BlocksResource(s3=resource)})
    def taking() -> None:
        take()

    assert taking.execute_in_process().success
    return stores[0]


@pytest.fixture
def of_servers(servers):
    """dagster-aws's resource as a project would configure it for these servers."""
    return S3Resource(**servers.s3)


def test_a_project_gets_its_store_through_the_resource_that_it_configures(
    store, of_servers, monkeypatch
):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")  # where nobody answers
    store.put("greeting", b"hello")
    assert opened(of_servers).get("greeting") == b"hello"


def test_a_resource_that_says_nothing_is_made_from_the_settings(store):
    store.put("greeting", b"hello")
    for silent in (S3Resource(), SettingsS3Resource()):
        assert opened(silent).get("greeting") == b"hello"


def test_what_a_resource_leaves_open_comes_from_the_environment(monkeypatch):
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials that it found
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    client = opened(S3Resource(region_name="eu-west-1")).client
    assert client.meta.region_name == "eu-west-1"
    assert client._request_signer._credentials.access_key == "someone"


def test_an_op_of_ones_own_gets_a_client_of_the_same_s3(store):
    store.put("greeting", b"hello")
    client = SettingsS3Resource().get_client()
    assert client.get_object(Bucket=store.bucket, Key="greeting")["Body"].read() == b"hello"


def test_the_code_location_has_the_resource_under_its_usual_name():
    resources = definitions().resources
    assert isinstance(resources["s3"], S3Resource)
    assert resources["store"].s3 is resources["s3"]


def test_no_server_is_started_where_the_resource_names_an_s3(tmp_path):
    environ = {"FANFOLD_HOME": str(tmp_path), "MONGODB_URI": "mongodb://elsewhere/"}
    named = arguments_of(S3Resource(region_name="eu-west-1"))
    assert [server.name for server in needed_servers(environ)] == ["seaweedfs"]
    assert needed_servers(environ, named) == []
    assert running_settings(environ, named).s3 == {"region_name": "eu-west-1"}


def test_all_that_a_resource_can_say_reaches_the_client(monkeypatch, tmp_path):
    profiles = tmp_path / "config"
    profiles.write_text("[profile ours]\nregion = eu-central-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profiles))

    store = opened(
        S3Resource(profile_name="ours", use_unsigned_session=True, use_ssl=False, verify=False)
    )
    assert store.client.meta.region_name == "eu-central-1"
    assert store.client.meta.endpoint_url.startswith("http://")
    assert store.client._endpoint.http_session._verify is False
    assert store.client.meta.config.signature_version is UNSIGNED


def test_time_outs_repeats_and_the_name_in_logs_of_s3_stay_ours(of_servers):
    config = opened(of_servers).client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (5, 20)
    assert config.retries["total_max_attempts"] == 1
    assert config.user_agent.split()[0] == "fanfold"


def test_a_process_has_one_client_whatever_asks(of_servers, servers):
    assert opened(of_servers) is opened(of_servers)
    assert opened(of_servers) is shared_store(read_settings(s3=servers.s3))


def test_a_secret_of_the_environment_is_read_when_it_is_needed(monkeypatch):
    resource = S3Resource(
        aws_access_key_id="someone", aws_secret_access_key=dg.EnvVar("OUR_SECRET")
    )
    monkeypatch.setenv("OUR_SECRET", SECRET)
    assert arguments_of(resource)["aws_secret_access_key"] == SECRET
    assert opened(resource).client._request_signer._credentials.secret_key == SECRET
    assert SECRET not in repr(running_settings(s3=arguments_of(resource)))


def test_commands_use_the_resource_of_the_code_location(store, of_servers, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr(s3, "S3", of_servers)
    assert s3.location_settings().s3["endpoint_url"] == of_servers.endpoint_url


def _planned(pipeline) -> str:
    pipeline.put([event()])
    (batch_id,) = pipeline.plan().to_run
    return batch_id


def test_a_worker_elsewhere_gets_the_same_s3_by_its_environment(pipeline, of_servers):
    batch_id = _planned(pipeline)
    said = to_environ(running_settings(s3=arguments_of(of_servers)))
    elsewhere = {name: value for name, value in os.environ.items() if name != "FANFOLD_HOME"}
    worker = [sys.executable, "-m", "workers", "--batch", batch_id]
    done = subprocess.run(
        worker, cwd=PROJECT, env=elsewhere | said, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["batch"] == batch_id
