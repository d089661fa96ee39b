"""Kubernetes: the executor that makes a job of each op, and what the pods of an asset are like.

Namespace, image, environment and service account are those of the K8sRunLauncher in dagster.yaml,
as Dagster's chart writes it. FANFOLD_K8S_CONFIG names a YAML file that says more of the pods, in
the form of Dagster's tag `dagster-k8s/config`; what is said of fewer of them is merged over the
rest:

    default: {pod_spec_config: {service_account_name: fanfold-worker}}
    assets:
      user_profiles:
        default: {...}                # every op of the asset
        run_batch: {...}              # one op of it
"""

import os
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec
from dagster._config import validate_config
from dagster_k8s import K8sRunLauncher, k8s_job_executor
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import (
    USER_DEFINED_K8S_CONFIG_KEY,
    USER_DEFINED_K8S_JOB_CONFIG_SCHEMA,
    DagsterK8sJobConfig,
    UserDefinedDagsterK8sConfig,
    construct_dagster_k8s_job,
)

from workers.errors import Refused

VARIABLE = "FANFOLD_K8S_CONFIG"
DEFAULT = "default"

# The command that a pod's own is an argument of. A pod that has to go, as its node is drained, ends
# at once and without a word, so that its op is tried again: told to stop, Dagster would write that
# the op failed, which is final.
COMMAND = ["/bin/sh", "-c", 'trap "kill -9 \\$!; exit 143" TERM; "$@" & wait $!', "pod"]

Pods = dict[str, Any]  # what is said of some pods


class PodConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says: of every pod, and of each asset's by the names of its ops."""

    default: Pods = {}
    assets: dict[str, dict[str, Pods]] = {}

    def sections(self) -> Iterator[tuple[str, Pods]]:
        """Yield what is said of pods, with the key under which it stands."""
        yield DEFAULT, self.default
        for asset, pods_by_op in self.assets.items():
            for op, pods in pods_by_op.items():
                yield f"assets.{asset}.{op}", pods


def k8s_executor(
    max_pods: int, asset_names: Collection[str], op_names: Collection[str]
) -> dg.ExecutorDefinition:
    """Return the executor, with so many pods of a run at once.

    Refused where the file of the pods says what cannot be, or speaks of what there is not.
    """
    config = pod_config()
    _check_names("assets", config.assets, asset_names)
    for asset, pods_by_op in config.assets.items():
        _check_names(f"assets.{asset}", pods_by_op, [DEFAULT, *op_names])

    executor = dg.ExecutorDefinition(
        name="k8s",
        config_schema=k8s_job_executor.config_schema,
        requirements=k8s_job_executor.get_requirements,
        executor_creation_fn=_create_executor,
    )
    pods = _merged({"container_config": {"command": COMMAND}}, config.default)
    return executor.configured({"max_concurrent": max_pods, "step_k8s_config": pods})


def _create_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Return dagster-k8s' executor; Refused where nothing says where pods run, and as what."""
    launcher = context.instance.run_launcher
    if not isinstance(launcher, K8sRunLauncher):
        raise Refused(
            "FANFOLD_EXECUTOR is k8s, and dagster.yaml has no `run_launcher` of the class "
            "dagster_k8s.K8sRunLauncher, whose namespace and image pods have"
        )
    assert k8s_job_executor.executor_creation_fn
    return k8s_job_executor.executor_creation_fn(context)


def pod_tags(asset: str, op: str) -> dict[str, Any]:
    """Return the tags by which an op of an asset has its own kind of pod; none where it has not."""
    pods_by_op = pod_config().assets.get(asset, {})
    pods = _merged(pods_by_op.get(DEFAULT, {}), pods_by_op.get(op, {}))
    return {USER_DEFINED_K8S_CONFIG_KEY: pods} if pods else {}


def pod_config() -> PodConfig:
    """Return what is said of pods; nothing where no file is named."""
    path = os.environ.get(VARIABLE)
    return _read(path) if path else PodConfig()


@cache
def _read(path: str) -> PodConfig:
    """Return what a file says of pods, each part of it checked as Kubernetes' client would."""
    try:
        config = msgspec.yaml.decode(Path(path).read_bytes(), type=PodConfig)
    except OSError as error:
        raise Refused(
            f"{VARIABLE} names {path}, which cannot be read ({error.strerror}); mount it into "
            "the code's pods and those of runs, or unset the variable"
        ) from error
    except msgspec.MsgspecError as error:
        raise Refused(
            f"{path}: {error}. It has two keys: `default`, and `assets` with what is said of an "
            "asset's ops"
        ) from error

    for key, pods in config.sections():
        _check_pods(f"{path}: {key}", pods)
    return config


def _check_pods(place: str, pods: Pods) -> None:
    """Make a job of what is said of pods, as the executor will; Refused where none comes of it."""
    way_out = "See `dagster-k8s/config` in Dagster's documentation"
    result = validate_config(USER_DEFINED_K8S_JOB_CONFIG_SCHEMA, pods)
    if not result.success:
        reasons = "; ".join(error.message for error in result.errors or [])
        raise Refused(f"{place}: {reasons}. {way_out}")

    try:
        config = UserDefinedDagsterK8sConfig.from_dict(pods)
        construct_dagster_k8s_job(DagsterK8sJobConfig(job_image="any"), [], "any", config)
    except Exception as error:  # dagster-k8s raises no narrower one
        raise Refused(f"{place}: {error}. {way_out}") from error


def _check_names(key: str, names: Collection[str], known: Collection[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise Refused(
            f"{os.environ[VARIABLE]}: {key} names {', '.join(unknown)}; there are: "
            f"{', '.join(sorted(known))}"
        )


def _merged(*layers: Pods) -> Pods:
    """Return what is said of pods in some places, the later over the earlier, as Dagster does."""
    context = K8sContainerContext()
    for pods in layers:
        config = UserDefinedDagsterK8sConfig.from_dict(pods)
        context = context.merge(K8sContainerContext(run_k8s_config=config))
    merged = context.run_k8s_config.to_dict()
    merged.pop("merge_behavior")
    return {name: value for name, value in merged.items() if value}
