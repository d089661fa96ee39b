"""Which launcher an asset has, by FANFOLD_LAUNCHER."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from pipelines.launchers.ecs_task import check_ecs, launch_ecs
from pipelines.launchers.inline import launch_inline
from pipelines.launchers.lambda_function import check_lambda, launch_lambda
from pipelines.launchers.launch import Launcher, by_asset
from pipelines.launchers.process import launch_process, worker_python
from pipelines.processes import executor_name
from workers.declare.asset import Asset
from workers.errors import Refused

VARIABLE = "FANFOLD_LAUNCHER"
DEFAULT = "inline"
DEAR_EXECUTORS = ("k8s",)  # an op of theirs costs seconds before it begins, as a dear worker does


class Choice(NamedTuple):
    """A launcher, and what settings have to say before it is used."""

    launch: Launcher
    check: Callable[[Asset], object]
    # Starting a worker costs seconds, so it takes batch after batch, and is one for each slot.
    is_dear: bool = True


LAUNCHERS: Mapping[str, Choice] = {
    "inline": Choice(launch_inline, lambda _: None, is_dear=False),
    "subprocess": Choice(launch_process, lambda _: worker_python()),
    "lambda": Choice(launch_lambda, check_lambda),
    "ecs": Choice(launch_ecs, check_ecs),
}


def launcher_of(asset: str) -> Choice:
    """Return the launcher of an asset; Refused where the setting names none."""
    named = by_asset(os.environ.get(VARIABLE, ""))
    name = named.get(asset) or named.get("") or DEFAULT
    if name not in LAUNCHERS:
        raise Refused(f"{VARIABLE} says {name!r}; it can be {', '.join(LAUNCHERS)}")
    return LAUNCHERS[name]


def check_launchers(assets: Iterable[Asset]) -> None:
    """Refuse settings of launchers that are wrong, before anything runs."""
    known = {asset.name: asset for asset in assets}
    for name in by_asset(os.environ.get(VARIABLE, "")):
        if name and name not in known:
            raise Refused(f"{VARIABLE} names {name!r}, which is no asset: {', '.join(known)}")
    for asset in known.values():
        launcher_of(asset.name).check(asset)


def with_few_workers(asset: Asset, slots: int) -> Asset:
    """Return an asset whose runs have a worker for each slot and no more, where starting is dear.

    Such a worker goes on with what others have not begun, so that none idles.
    """
    is_dear = launcher_of(asset.name).is_dear or executor_name() in DEAR_EXECUTORS
    if not is_dear:
        return asset
    few = min(slots, asset.sizes.max_workers)
    return msgspec.structs.replace(
        asset, sizes=msgspec.structs.replace(asset.sizes, max_workers=few)
    )
