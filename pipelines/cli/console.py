"""What the commands share: how they print, what they take, how they reach the servers."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from resources.embedded import running_settings
from workers.assets import assets
from workers.declare.asset import Asset
from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors, open_database
from workers.store import BlockStore, open_store

# Tables in files and pipes are wide; on a terminal they fit.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def chosen_asset(context: click.Context, parameter: click.Parameter, name: str) -> Asset:
    """Return the asset with this name."""
    if name not in assets():
        raise Refused(f"there is no asset {name!r}; there are: {', '.join(sorted(assets()))}")
    return assets()[name]


asset_argument = click.argument("asset", callback=chosen_asset)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
partition_option = click.option("--partition", metavar="P", help="One partition.")
partitions_option = click.option("--partitions", metavar="A...B", help="A range, both included.")


def selected(asset: Asset, partition: str | None, partitions: str | None) -> list[str] | None:
    """Return the partitions that the options name, or None where they name none."""
    if partition and partitions:
        raise Refused("--partition and --partitions exclude each other")
    if not partition and not partitions:
        return None
    first, dots, last = (partitions or f"{partition}...{partition}").partition("...")
    if not dots:
        raise Refused(f"{partitions!r} is not a range; write it like A...B")
    keys = asset.partitions.between(first, last)
    if not keys:
        raise Refused(f"the range {partitions} ends before it starts")
    if asset.partitions.time(first) < asset.partitions.time(asset.partitions.start):
        raise Refused(f"{asset.name} has no partitions before {asset.partitions.start}")
    if asset.partitions.time(last) > datetime.now(UTC):
        raise Refused(f"{asset.name} has no partition {last} yet")
    return keys


@contextmanager
def servers() -> Iterator[tuple[BlockStore, Ledger]]:
    """Give the bucket and the ledger, with embedded servers running where none are given."""
    settings = running_settings()
    with mongodb_errors():
        database = open_database(settings)
        with database.client:
            yield open_store(settings), Ledger(database)


def show(as_json: bool, document: Any, person: Callable[[], None]) -> None:
    """Print a document for programs, or call what prints it for a person."""
    if as_json:
        click.echo(json.dumps(document, default=str))
    else:
        person()


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print rows under columns; numbers stand to the right."""
    if not rows:
        out.print("none")
        return
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        is_number = bool(rows) and isinstance(rows[0][number], int | float)
        drawn.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(f"{x:,}" if isinstance(x, int | float) else str(x) for x in row))
    out.print(drawn)


def where(asset: Asset, partition: str | None) -> dict[str, Any]:
    """Return what finds documents of an asset, or of one partition of it."""
    if partition:
        asset.partitions.time(partition)
    return {"asset": asset.name} | ({"partition": partition} if partition else {})
