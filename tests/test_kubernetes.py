"""The files of deploy/ hold together: objects as Kubernetes takes them, values as dagster.yaml has
them. Dagster's chart is not here, so its values are held against nothing but our own files.
"""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from pipelines.definitions import definitions
from tests.proofs.image import allowed, steps
from tests.support.cluster import SCHEMA_VERSION

DEPLOY = Path(__file__).parent.parent / "deploy"
VALUES = yaml.safe_load((DEPLOY / "values.yaml").read_text())
INSTANCE = yaml.safe_load((DEPLOY.parent / "dagster.yaml").read_text())
OBJECTS = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
(CODE,) = VALUES["dagster-user-deployments"]["deployments"]


def names_of(kind):
    return {document["metadata"]["name"] for document in OBJECTS if document["kind"] == kind}


def snake_case(value):
    """Return values of the chart in the words of dagster.yaml, but for what is data."""
    if isinstance(value, list):
        return [snake_case(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name if name == "applyLimitPerUniqueValue" else re.sub(r"(?=[A-Z])", "_", name).lower(): (
            snake_case(item)
        )
        for name, item in value.items()
    }


def pods():
    (document,) = [each for each in OBJECTS if each["metadata"]["name"] == "fanfold-pods"]
    return document["data"]["pods.yaml"]


@pytest.mark.parametrize("document", OBJECTS, ids=lambda document: document["metadata"]["name"])
def test_objects_are_as_kubernetes_takes_them(document):
    kubernetes_validate.validate(document, SCHEMA_VERSION, strict=True)


def test_what_the_values_name_is_among_the_objects():
    accounts = {VALUES["serviceAccount"]["name"]}
    accounts.add(VALUES["dagster-user-deployments"]["serviceAccount"]["name"])
    accounts.add(yaml.safe_load(pods())["default"]["pod_spec_config"]["service_account_name"])
    assert accounts == names_of("ServiceAccount")

    volumes = {volume["configMap"]["name"] for volume in CODE["volumes"]}
    settings = {each["name"] for each in CODE["envConfigMaps"]}
    assert settings | volumes == names_of("ConfigMap")


def test_workers_have_no_say_in_the_cluster():
    (binding,) = [document for document in OBJECTS if document["kind"] == "RoleBinding"]
    assert "fanfold-worker" not in {subject["name"] for subject in binding["subjects"]}
    assert not yaml.safe_load(pods())["default"]["pod_spec_config"][
        "automount_service_account_token"
    ]


def test_the_code_is_loaded_with_the_settings_that_are_handed_out(tmp_path, monkeypatch):
    pytest.importorskip("dagster_k8s")
    (tmp_path / "pods.yaml").write_text(pods())
    (settings,) = [
        document["data"]
        for document in OBJECTS
        if document["kind"] == "ConfigMap" and document["metadata"]["name"] == "fanfold"
    ]
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FANFOLD_K8S_CONFIG", str(tmp_path / "pods.yaml"))
    assert definitions().executor.name == "k8s"


def test_the_chart_is_told_what_dagster_yaml_says():
    concurrency = snake_case(VALUES["concurrency"])
    concurrency.pop("enabled")
    assert concurrency == INSTANCE["concurrency"]

    daemon = snake_case(VALUES["dagsterDaemon"])
    for name in ("run_retries", "sensors", "schedules"):
        assert daemon[name] == INSTANCE[name]
    monitoring = daemon["run_monitoring"] | {"max_runtime_seconds": 86400}
    del monitoring["max_resume_run_attempts"]  # none is Dagster's default too
    assert monitoring == INSTANCE["run_monitoring"]
    assert VALUES["additionalInstanceConfig"]["freshness"] == INSTANCE["freshness"]


def test_the_chart_is_of_the_version_that_dagster_is_pinned_to():
    pinned = re.search(
        r"^dagster==(.+)$", (DEPLOY.parent / "constraints.txt").read_text(), re.MULTILINE
    )
    assert f"--version {pinned[1]} " in (DEPLOY / "values.yaml").read_text()


def dockerfile():
    return list(steps((DEPLOY / "Dockerfile").read_text()))


def test_all_that_the_image_copies_is_here_and_let_through():
    copied = [rest for name, rest in dockerfile() if name == "COPY" and "--from" not in rest]
    sources = {source for rest in copied for source in rest.split()[:-1]}
    assert sources == allowed()
    assert all((DEPLOY.parent / source).exists() for source in sources)


def test_the_image_ends_without_tools_that_build_and_without_root():
    names = [name for name, _ in dockerfile()]
    final = dockerfile()[len(names) - names[::-1].index("FROM") :]
    assert not [rest for name, rest in final if name == "RUN" and re.search(r"\b(apt|pip)\b", rest)]
    assert [rest for name, rest in final if name == "USER"] == ["10001:10001"]
    assert "ENTRYPOINT" not in names  # pods get the whole command as their arguments
