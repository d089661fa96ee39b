"""What ops print, kept in S3 by dagster-aws as docs/deploy.md has it configured."""

import re
import sys

import boto3
import dagster as dg
import pytest
import yaml

from tests.conftest import PROJECT
from workers.settings import to_environ

DEPLOY = (PROJECT / "docs/deploy.md").read_text()
(COMPUTE_LOGS,) = re.findall(
    r"^```yaml\n(compute_logs:\n.*?)^```$", DEPLOY, re.DOTALL | re.MULTILINE
)


@pytest.fixture
def instance(store, servers, tmp_path, monkeypatch):
    """An instance with the compute logs of the document, in the test's own bucket."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the credentials that it found
    for name, value in to_environ(servers).items():
        monkeypatch.setenv(name, value)
    configured = yaml.safe_load(COMPUTE_LOGS)["compute_logs"]
    configured["config"] |= {"bucket": store.bucket, "local_dir": str(tmp_path / "logs")}
    with dg.DagsterInstance.local_temp(
        str(tmp_path), overrides={"compute_logs": configured}
    ) as instance:
        yield instance


@dg.op
def speak(context: dg.OpExecutionContext) -> None:
    sys.stdout.write("said by an op\n")


@dg.job
def speaking() -> None:
    speak()


def test_what_an_op_prints_can_be_read_back_from_the_bucket(store, instance):
    run = speaking.execute_in_process(instance=instance)
    assert run.success
    (out,) = [block.key for block in store.list("dagster-logs/") if block.key.endswith(".out")]
    assert store.get(out) == b"said by an op\n"

    (event,) = [event for event in run.all_events if event.event_type_value == "LOGS_CAPTURED"]
    captured = event.logs_captured_data
    elsewhere = instance.compute_log_manager
    elsewhere.local_manager.delete_logs(log_key=[run.run_id, "compute_logs", captured.file_key])
    log_key = [run.run_id, "compute_logs", captured.file_key]
    assert elsewhere.get_log_data(log_key).stdout == b"said by an op\n"
