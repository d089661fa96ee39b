"""What hands out the ops of a run, by FANFOLD_EXECUTOR: processes of this machine, or a cluster."""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import dagster as dg

from pipelines.fanout import OPS, slots
from pipelines.processes import FORK_SERVER_MODULES
from workers.assets import assets, broken_assets
from workers.errors import Refused


def executor(name: str) -> dg.ExecutorDefinition:
    """Return the executor of this name.

    ValueError where there is none, Refused where it lacks a setting or a package.
    """
    if name not in EXECUTORS:
        raise ValueError(f"FANFOLD_EXECUTOR is {name!r}; it can be {', '.join(EXECUTORS)}")
    return EXECUTORS[name]()


def in_process() -> dg.ExecutorDefinition:
    """Return the executor that runs one op after the other, in the run's process."""
    return dg.in_process_executor


def local() -> dg.ExecutorDefinition:
    """Return the executor that forks a process for each op, as many at once as there are slots."""
    return dg.multiprocess_executor.configured(
        {
            "max_concurrent": slots().number,
            "start_method": {"forkserver": {"preload_modules": FORK_SERVER_MODULES}},
        }
    )


def celery() -> dg.ExecutorDefinition:
    """Return the executor that sends ops to `fanfold worker`, on whatever machine that runs."""
    executor: dg.ExecutorDefinition = import_extra("pipelines.celery.executor", "celery").celery
    return executor


def k8s() -> dg.ExecutorDefinition:
    """Return the executor that makes a Kubernetes job of each op, as many at once as slots."""
    if not os.environ.get("FANFOLD_SLOTS"):
        raise Refused("FANFOLD_EXECUTOR is k8s: set FANFOLD_SLOTS to the pods of a run at once")

    names = [*assets(), *broken_assets()]
    executor: dg.ExecutorDefinition = import_extra("pipelines.k8s", "k8s").k8s_executor(
        slots().number, names, [op.name for op in OPS]
    )
    return executor


def import_extra(module: str, extra: str) -> Any:
    """Return a module that needs packages of an extra; Refused where they are not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise Refused(f"there is no {error.name}: install fanfold[{extra}]") from error


EXECUTORS: Mapping[str, Callable[[], dg.ExecutorDefinition]] = {
    "local": local,
    "in_process": in_process,
    "celery": celery,
    "k8s": k8s,
}
