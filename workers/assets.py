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
    found = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(tasks.__path__)):
        asset = getattr(load_module(module), "asset", None)
        if not isinstance(asset, Asset) or asset.name != module:
            said = f"names it {asset.name!r}" if isinstance(asset, Asset) else "has none"
            raise Refused(
                f"workers/tasks/{module}.py needs `asset = Asset(name={module!r}, ...)`, and {said}"
            )
        try:
            Asset.of(asset.to_json())  # msgspec checks the types of what it reads, not of arguments
            format_of("", asset.format)
            rehearse(load_task(asset.task))
        except (Refused, msgspec.ValidationError) as error:
            raise Refused(f"workers/tasks/{asset.task}.py: {error}") from error
        found[module] = asset
    for asset in found.values():
        if asset.source and asset.source not in found:
            raise Refused(f"{asset.name}: its source {asset.source!r} is no asset")
    return found
