"""What the commands share: how they print, what they take, how they reach the servers."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from textwrap import fill
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.cli.completion import complete_asset, complete_partition, complete_range
from workers.errors import Refused

if TYPE_CHECKING:
    from workers.declare.asset import Asset
    from workers.ledger.ledger import Ledger
    from workers.store import BlockStore

WHOLE_LINES = 1_000_000  # columns that no line reaches
WIDE_COLUMNS = 200  # characters of a table in a file or a pipe; on a terminal it fits

is_terminal = sys.stdout.isatty()
out = Console(highlight=False, soft_wrap=True, width=None if is_terminal else WIDE_COLUMNS)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def named(context: click.Context, parameter: click.Parameter, name: str) -> Any:
    """Return the asset that a command names; one line on stderr says which others are left out."""
    if context.resilient_parsing:  # a shell asks what to complete
        return name
    from workers.assets import asset_named, broken_assets  # noqa: PLC0415  help needs none

    asset = asset_named(name)
    if broken := sorted(broken_assets()):
        err.print(
            f"left out, as a mistake stands in their files: {', '.join(broken)} "
            f"(`fanfold plan {broken[0]}` says which)",
            style="yellow",
            markup=False,
        )
    return asset


asset_argument = click.argument("asset", callback=named, shell_complete=complete_asset)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
partition_option = click.option(
    "--partition", metavar="P", help="One partition.", shell_complete=complete_partition
)
partitions_option = click.option(
    "--partitions", metavar="A...B", help="A range, both included.", shell_complete=complete_range
)


def examples(*lines: str) -> str:
    """Return the end of a command's help: what to type, each a line that click leaves as it is."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def check_partition(asset: "Asset", partition: str | None) -> None:
    """Refuse a partition that is none of the asset's, however it is written."""
    if partition:
        asset.partitions.time(partition)


def selected_partitions(
    asset: "Asset", partition: str | None, partitions: str | None
) -> list[str] | None:
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


def needed_partitions(asset: "Asset", partition: str | None, partitions: str | None) -> list[str]:
    """Return the partitions that the options name; Refused where they name none."""
    keys = selected_partitions(asset, partition, partitions)
    if keys is None:
        raise Refused("say which: --partition P, or --partitions A...B")
    return keys


@contextmanager
def servers() -> Iterator[tuple["Ledger", "BlockStore"]]:
    """Give the ledger and the bucket, with embedded servers running where none are given."""
    from resources.door import location_settings  # noqa: PLC0415  help needs none of these
    from workers.ledger.ledger import Ledger  # noqa: PLC0415
    from workers.ledger.mongo import mongodb_errors, open_database  # noqa: PLC0415
    from workers.store import open_store  # noqa: PLC0415

    settings = location_settings()
    with mongodb_errors():
        database = open_database(settings)
        with database.client:
            yield Ledger(database), open_store(settings)


def show(as_json: bool, document: Any, print_text: Callable[[], None]) -> None:
    """Print a document for programs, or call what prints it for a person."""
    if as_json:
        click.echo(json.dumps(document, default=str))
    else:
        print_text()


def columns() -> int:
    """Return how many columns text may take: those of the terminal; elsewhere lines are whole."""
    return out.width if out.is_terminal else WHOLE_LINES


def wrapped(text: str, indent: str = "") -> str:
    """Return text in lines that fit, each indented."""
    return fill(
        text,
        columns(),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under columns; numbers stand to the right."""
    if not rows:
        out.print("none")
        return

    table = Table(box=None, pad_edge=False)
    for column, value in zip(columns, rows[0], strict=True):
        is_number = isinstance(value, int | float)
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")

    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    out.print(table)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
