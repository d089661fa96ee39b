"""The assets that the files of workers/tasks/ declare, each tried once before anything runs.

A file with a mistake costs its own asset, and those that are made of its profiles; the others run.
"""

import pkgutil
from functools import cache
from typing import NamedTuple

from workers import tasks
from workers.declare.asset import Asset
from workers.declare.task import Task, load_module, load_task
from workers.errors import Refused
from workers.rehearsal import rehearse
from workers.sources.formats.declared import check_declared
from workers.sources.unique import Identity


class Catalogue(NamedTuple):
    """What the files declare, by name: assets, and why the others are none."""

    assets: dict[str, Asset]
    broken: dict[str, str]


def assets() -> dict[str, Asset]:
    """Return the assets whose files are right, by name."""
    return catalogue().assets


def broken_assets() -> dict[str, str]:
    """Return what is wrong with the other files, by the names of their assets."""
    return catalogue().broken


def asset_named(name: str) -> Asset:
    """Return the asset with this name; Refused where there is none, or its file has a mistake."""
    known, broken = catalogue()
    if name in broken:
        raise Refused(broken[name])
    if name not in known:
        raise Refused(f"there is no asset {name!r}; there are: {', '.join(sorted(known))}")
    return known[name]


@cache
def catalogue() -> Catalogue:
    """Return what all files declare, each loaded and tried once."""
    declared: dict[str, Asset] = {}
    broken: dict[str, str] = {}
    for module in sorted(pkgutil.iter_modules(tasks.__path__), key=lambda module: module.name):
        if module.name.startswith("_"):  # what several tasks share
            continue
        try:
            declared[module.name] = _load_asset(module.name)
        except Refused as error:
            broken[module.name] = str(error)

    _take_out_lodgers(declared, broken)
    _take_out_orphans(declared, broken)
    return Catalogue(declared, broken)


def _take_out_lodgers(declared: dict[str, Asset], broken: dict[str, str]) -> None:
    """Move assets whose collection another one has to the broken ones: both would write `_fold`."""
    owners: dict[str, str] = {}
    for name, asset in list(declared.items()):
        owner = owners.setdefault(asset.collection, name)
        if owner != name:
            broken[name] = (
                f"{_file(name)}: the collection {asset.collection!r} has the profiles of {owner}; "
                "each asset has one of its own"
            )
            del declared[name]


def _take_out_orphans(declared: dict[str, Asset], broken: dict[str, str]) -> None:
    """Move assets whose source is none to the broken ones, and then those made of these."""
    while True:
        orphans = {
            name: asset.source
            for name, asset in declared.items()
            if asset.source and asset.source not in declared
        }
        if not orphans:
            return

        for name, source in orphans.items():
            why = "cannot be loaded" if source in broken else "is no asset"
            broken[name] = f"{_file(name)}: the source {source!r} {why}"
            del declared[name]


def declared_asset(name: str) -> Asset:
    """Return the asset that a file declares, as it stands; Refused where it declares none.

    For workers: whoever planned their batches has tried it, and no other file is loaded.
    """
    asset = getattr(load_module(name), "asset", None)
    if not isinstance(asset, Asset) or asset.name != name:
        actual = f"names it {asset.name!r}" if isinstance(asset, Asset) else "has none"
        raise Refused(f"{_file(name)} needs `asset = Asset(name={name!r}, ...)`, and {actual}")
    return asset


def _load_asset(name: str) -> Asset:
    """Return the asset that a file declares; Refused, naming the file and the mistake."""
    asset = declared_asset(name)
    try:
        Asset.of(asset.to_json())  # msgspec checks the types of what it reads, not of arguments
        check_declared(asset.format)
        task = load_task(asset.task)
        _check_known_only(asset, task)
        if asset.unique:
            Identity(task.item, asset.unique)
        rehearse(task, asset.format, asset.template)
    except (Refused, TypeError, ValueError) as error:  # msgspec's errors are among the latter
        file = _file(asset.task)
        reason = str(error).removeprefix(f"{file}: ")
        raise Refused(f"{file}: {reason}") from error
    return asset


def _check_known_only(asset: Asset, task: Task) -> None:
    if asset.known_only and not task.by_item:
        raise Refused("known_only=True needs a task that promises Task(..., by_item=True)")


def _file(name: str) -> str:
    return f"workers/tasks/{name}.py"
