"""What a shell completes beside commands and options: assets by their files, partitions by MongoDB.

Nothing is started for it, and nothing waits long.
"""

import pkgutil
import re

import click
from click.shell_completion import get_completion_class

from workers import tasks
from workers.errors import FanfoldError
from workers.settings import read_settings

COMPLETION = "_FANFOLD_COMPLETE"  # variable by which a shell asks what to complete
ANSWER_SECONDS = 0.7  # that MongoDB has for an answer
SHOWN = 400  # partitions, the newest


def asset_names() -> list[str]:
    """Return the names of the files that declare assets; none of them is loaded."""
    names = (module.name for module in pkgutil.iter_modules(tasks.__path__))
    return sorted(name for name in names if not name.startswith("_"))


def complete_asset(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Return the assets that begin so."""
    return [name for name in asset_names() if name.startswith(incomplete)]


def complete_partition(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Return the partitions that begin so, of those that the ledger knows of the asset."""
    # Where an option still lacks its value, click has taken no word before it for an argument.
    asset = context.params.get("asset") or next(iter(context.args), None)
    return _known_partitions(asset, incomplete) if asset else []


def complete_range(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Return the ranges that begin so: first the one end, then the other."""
    first, dots, last = incomplete.partition("...")
    partitions = complete_partition(context, parameter, last if dots else first)
    if dots:
        return [f"{first}...{key}" for key in partitions if key >= first]
    return [f"{key}..." for key in partitions]


def _known_partitions(asset: str, prefix: str) -> list[str]:
    """Return the newest partitions of an asset that begin so; none where nobody can say."""
    import pymongo  # noqa: PLC0415  assets are completed without
    from pymongo.errors import PyMongoError  # noqa: PLC0415

    from workers.ledger.mongo import open_database  # noqa: PLC0415

    query = {"asset": asset, "partition": {"$regex": f"^{re.escape(prefix)}"}}
    try:
        database = open_database(read_settings(), patient=False)
        with database.client, pymongo.timeout(ANSWER_SECONDS):
            partitions: list[str] = database["plans"].distinct("partition", query)
    except (FanfoldError, PyMongoError):
        return []
    return sorted(partitions)[-SHOWN:]


def print_script(shell: str) -> None:
    """Print what a shell reads to complete the command."""
    root = click.get_current_context().find_root()
    of_shell = get_completion_class(shell)
    assert of_shell is not None
    click.echo(of_shell(root.command, {}, str(root.info_name), COMPLETION).source())
