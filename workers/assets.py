"""The assets that the files of workers/tasks/ declare, each tried once before anything runs."""

import pkgutil
from functools import cache

import msgspec

from workers import tasks
from workers.declare.asset import Asset
from workers.declare.task import load_module, load_task
from workers.errors import Refused
from workers.rehearsal import rehearse
from workers.sources.formats.format import format_of


@cache
def assets() -> dict[str, Asset]:
    """Return the assets by name; Refused, naming the file and the mistake, where one is wrong."""
    names = sorted(module.name for module in pkgutil.iter_modules(tasks.__path__))
    declared = {name: _load_asset(name) for name in names}

    for name, asset in declared.items():
        if asset.source and asset.source not in declared:
            raise Refused(f"{_file(name)}: the source {asset.source!r} is no asset")
    return declared


def _load_asset(name: str) -> Asset:
    asset = getattr(load_module(name), "asset", None)
    if not isinstance(asset, Asset) or asset.name != name:
        actual = f"names it {asset.name!r}" if isinstance(asset, Asset) else "has none"
        raise Refused(f"{_file(name)} needs `asset = Asset(name={name!r}, ...)`, and {actual}")

    try:
        Asset.of(asset.to_json())  # msgspec checks the types of what it reads, not of arguments
        format_of("", asset.format)
        rehearse(load_task(asset.task))
    except (Refused, msgspec.ValidationError) as error:
        raise Refused(f"{_file(asset.task)}: {error}") from error
    return asset


def _file(name: str) -> str:
    return f"workers/tasks/{name}.py"
