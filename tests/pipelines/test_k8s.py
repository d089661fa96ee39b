"""Runs whose ops are Kubernetes jobs, in a stand-in for a cluster that really runs their pods."""

import json
import signal
import threading
from itertools import product
from types import SimpleNamespace

import msgspec
import pytest
import yaml

from pipelines.definitions import definitions
from pipelines.runs import dagster_instance
from tests.support.cluster import PROJECT, open_cluster
from tests.support.cluster_runs import secret_of, started_run, wait_until
from tests.support.pipeline import event
from workers.errors import Refused

pytest.importorskip("dagster_k8s")

DAYS = ["1998-04-01", "1998-04-02", "1998-04-03"]
RANGE = f"{DAYS[0]}...{DAYS[-1]}"
# What a machine that has other things to do may take.
START_SECONDS = 90
RUN_SECONDS = 300
PODS = {
    "default": {
        "pod_spec_config": {
            "service_account_name": "fanfold-worker",
            "automount_service_account_token": False,
        },
        "container_config": {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}},
    },
    "assets": {
        "user_profiles": {
            "run_batch": {
                "container_config": {"image": "fanfold:big"},
                "pod_spec_config": {"serviceAccountName": "fanfold-user-profiles"},
            }
        }
    },
}


@pytest.fixture
def pods_file(tmp_path, monkeypatch):
    """Write what is said of pods to a file that the settings name."""

    def write(pods):
        file = tmp_path / f"pods{len(list(tmp_path.iterdir()))}.yaml"
        file.write_text(pods if isinstance(pods, str) else yaml.safe_dump(pods))
        monkeypatch.setenv("FANFOLD_EXECUTOR", "k8s")
        monkeypatch.setenv("FANFOLD_SLOTS", "2")
        monkeypatch.setenv("FANFOLD_K8S_CONFIG", str(file))
        return file

    return write


@pytest.fixture
def cluster(tmp_path, servers, store, database, pods_file):
    """A cluster whose pods have their settings by a secret, and by nothing else."""
    file = pods_file(PODS)
    settings = msgspec.structs.replace(servers, bucket=store.bucket, database=database.name)
    secret = secret_of(settings, FANFOLD_K8S_CONFIG=str(file))
    with open_cluster(tmp_path, secrets={"fanfold": secret}) as cluster:
        yield cluster


def evict_first(cluster, op):
    """Delete the first pod of an op, as when its node is drained, in a thread."""

    def evict():
        wait_until(lambda: cluster.running(op), RUN_SECONDS, f"a pod of {op}")
        cluster.delete_pod(cluster.running(op)[0].name)

    thread = threading.Thread(target=evict)
    thread.start()
    return thread


def allowed_calls():
    """Return what the role that we hand out lets dagster-k8s ask of the API."""
    documents = yaml.safe_load_all((PROJECT / "deploy/kubernetes.yaml").read_text())
    (role,) = [document for document in documents if document["kind"] == "Role"]
    rules = [(rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in role["rules"]]
    return {call for rule in rules for call in product(*rule)}


def test_a_pod_that_is_evicted_is_tried_again_and_the_profiles_are_whole(pipeline, cluster):
    for day in DAYS:
        pipeline.put([event(f"user{n}", item=day) for n in range(20)], day)

    evicting = evict_first(cluster, "run_batch")
    with started_run(cluster, "user_profiles", RANGE, is_hasty=True) as run:
        out, err = run.communicate(timeout=RUN_SECONDS)
    evicting.join()

    assert run.returncode == 0, f"{out}\n{err}\n{cluster.started[-1].log.read_text()}"
    assert json.loads(out)["items_used"] == 60
    assert pipeline.verify().match
    assert cluster.refused == []
    batches = [pod for pod in cluster.started if "run_batch" in pod.op]
    others = [pod for pod in cluster.started if pod not in batches]
    assert len(batches) > 1
    assert {pod.manifest["spec"]["serviceAccountName"] for pod in batches} == {
        "fanfold-user-profiles"
    }
    assert {pod.manifest["spec"]["serviceAccountName"] for pod in others} == {"fanfold-worker"}


def test_a_run_that_is_cancelled_leaves_no_job_and_no_process(pipeline, cluster):
    pipeline.put([event("ann")], DAYS[0])
    with started_run(cluster, "user_profiles", RANGE, is_hasty=True) as run:
        wait_until(cluster.running, START_SECONDS, "a pod")
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=START_SECONDS)

    assert "stopped before its end" in json.loads(out)["errors"][0]
    assert cluster.jobs == {}
    assert cluster.calls <= allowed_calls()
    wait_until(lambda: not cluster.running(), 15, "the pods' processes are gone")


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ("default: [", "has two keys"),
        ("defaults: {}", "unknown field `defaults`"),
        ({"default": {"container": {}}}, 'default: Received unexpected config entry "container"'),
        (
            {"assets": {"user_profiles": {"run_batch": {"container_config": {"cpu": 1}}}}},
            "assets.user_profiles.run_batch: Unexpected keys in model class V1Container: {'cpu'}",
        ),
        ({"assets": {"users": {}}}, "assets names users; there are: "),
        ({"assets": {"user_profiles": {"fold": {}}}}, "user_profiles names fold; there are: "),
    ],
    ids=["no YAML", "a key", "a section", "a field", "an asset", "an op"],
)
def test_a_mistake_in_the_file_of_pods_is_told_when_the_code_is_loaded(pods_file, pods, reason):
    file = pods_file(pods)
    with pytest.raises(Refused) as error:
        definitions()
    assert reason in str(error.value)
    assert str(file) in str(error.value)


def test_a_file_of_pods_that_is_not_there_is_told(pods_file):
    pods_file({}).unlink()
    with pytest.raises(Refused, match="which cannot be read"):
        definitions()


def test_without_a_number_of_slots_the_way_out_is_said(monkeypatch):
    monkeypatch.setenv("FANFOLD_EXECUTOR", "k8s")
    monkeypatch.delenv("FANFOLD_SLOTS", raising=False)
    with pytest.raises(Refused, match="set FANFOLD_SLOTS"):
        definitions()


def test_a_dagster_yaml_without_the_launcher_of_kubernetes_is_told(pods_file):
    pods_file({})
    executor = definitions().executor
    with dagster_instance() as instance, pytest.raises(Refused, match="no `run_launcher` of the"):
        executor.executor_creation_fn(SimpleNamespace(instance=instance))
