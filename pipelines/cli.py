"""The `fanfold` command. Results go to stdout, everything else to stderr.

Exit codes: 0 done, 1 the run failed or the profiles do not match, 2 the command cannot be done.
"""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pipelines import runs, samples
from pipelines.assets import ASSETS
from pipelines.demo import show_demo
from pipelines.fanout import SLOTS
from resources import embedded
from resources.references import RUNS
from workers import blocks, ledger, pieces, plan, task, verify
from workers.blocks import BlockStore
from workers.errors import FanfoldError, Refused, mongodb_errors
from workers.ledger import Ledger
from workers.model import Asset
from workers.settings import home

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit code 2."""
    try:
        sys.exit(cli(standalone_mode=False))
    except click.ClickException as error:
        error.show()
    except (FanfoldError, click.Abort) as error:
        err.print(f"fanfold: {str(error) or 'aborted'}", style="red", markup=False)
    sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Keep profiles in MongoDB current from blocks of data in S3."""


def chosen(context: click.Context, parameter: click.Parameter, name: str) -> Asset:
    """Return the asset with this name."""
    if name not in ASSETS:
        raise Refused(f"there is no asset {name!r}; there are: {', '.join(sorted(ASSETS))}")
    return ASSETS[name]


asset_argument = click.argument("asset", callback=chosen)
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
    settings = embedded.settings()
    with mongodb_errors():
        database = ledger.connect(settings)
        with database.client:
            yield blocks.connect(settings), Ledger(database)


def show(as_json: bool, document: Any, person: Callable[[], None]) -> None:
    """Print a document for programs, or call what prints it for a person."""
    if as_json:
        click.echo(json.dumps(document, default=str))
    else:
        person()


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print rows under columns; numbers stand to the right."""
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        is_number = bool(rows) and isinstance(rows[0][number], int | float)
        drawn.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(f"{x:,}" if isinstance(x, int | float) else str(x) for x in row))
    out.print(drawn)


@cli.command()
@json_option
def up(as_json: bool) -> None:
    """Start the embedded servers that are needed."""
    embedded.up()
    _show_status(as_json)


@cli.command()
@json_option
def down(as_json: bool) -> None:
    """Stop the embedded servers; their data stays."""
    stopped = embedded.down()
    show(as_json, {"stopped": stopped}, lambda: out.print(f"stopped: {', '.join(stopped) or '-'}"))


@cli.command()
@json_option
def status(as_json: bool) -> None:
    """Show which embedded servers run, and where."""
    _show_status(as_json)


def _show_status(as_json: bool) -> None:
    found = embedded.status()
    rows = [
        (name, "running" if s["running"] else "stopped" if s["needed"] else "given by settings")
        + ((f"127.0.0.1:{s['port']}, pid {s['pid']}",) if s["running"] else ("",))
        for name, s in found.items()
    ]
    show(as_json, found, lambda: table(("server", "state", "where"), rows))


@cli.command()
@json_option
def env(as_json: bool) -> None:
    """Print shell exports for the servers in use: eval "$(fanfold env)". Holds secrets."""
    settings = embedded.settings()
    names = {
        "endpoint_url": "AWS_ENDPOINT_URL_S3",
        "aws_access_key_id": "AWS_ACCESS_KEY_ID",
        "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
        "region_name": "AWS_DEFAULT_REGION",
    }
    exports = {"MONGODB_URI": settings.mongodb_uri, "FANFOLD_DATABASE": settings.database}
    exports["FANFOLD_BUCKET"] = settings.bucket
    exports |= {names[name]: value for name, value in settings.s3.items()}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    show(as_json, exports, lambda: click.echo("\n".join(lines)))


@cli.group()
def sample() -> None:
    """Real data to try Fanfold with."""


@sample.command("load")
@click.argument("name")
@json_option
def sample_load(name: str, as_json: bool) -> None:
    """Fetch the sample NAME (movielens) and put it into S3; what is there already stays."""
    if name not in samples.SAMPLES:
        raise Refused(f"there is no sample {name!r}; there are: {', '.join(samples.SAMPLES)}")
    with servers() as (store, _), Progress(console=err) as progress:
        store.ensure()
        fetching = progress.add_task(f"fetching {name}", total=None)
        found = samples.SAMPLES[name](home() / "samples")
        progress.update(fetching, total=1, completed=1)
        putting = progress.add_task("putting blocks", total=len(found))
        loaded = samples.load(store, found, lambda _: progress.advance(putting))
    text = "{blocks:,} blocks, {bytes:,} bytes; {blocks_put:,} put now".format_map(loaded)
    show(as_json, {"sample": name, **loaded}, lambda: out.print(text))


@cli.command()
@asset_argument
@partition_option
@partitions_option
@json_option
def run(asset: Asset, partition: str | None, partitions: str | None, as_json: bool) -> int:
    """Materialise partitions of ASSET in one Dagster run, which the UI shows too."""
    keys = selected(asset, partition, partitions)
    if keys is None:
        raise Refused("say which: --partition P, or --partitions A...B")
    err.print(f"{asset.name}: running {keys[0]}" + f"...{keys[-1]}" * (len(keys) > 1))
    summary = runs.materialise(asset, keys)
    show(as_json, summary, lambda: _print_summary(summary))
    return 0 if summary["success"] else 1


def _print_summary(summary: dict[str, Any]) -> None:
    if not summary["success"]:
        out.print(f"run {summary['run_id']} failed:")
        for error in summary["errors"]:
            out.print(f"  {error}", markup=False)
        return
    shown = {k: v for k, v in summary.items() if isinstance(v, int | float) and k != "success"}
    table(("", summary["asset"]), [(k.replace("_", " "), v) for k, v in shown.items()])


@cli.command("plan")
@asset_argument
@partition_option
@partitions_option
@json_option
def plan_(asset: Asset, partition: str | None, partitions: str | None, as_json: bool) -> None:
    """Show what a run of ASSET would do; nothing is run or written."""
    keys = selected(asset, partition, partitions)
    if keys is None:
        raise Refused("say which: --partition P, or --partitions A...B")
    version, slots = task.load(asset.task).version, SLOTS
    with servers() as (store, book):
        work, masters = plan.plan_partitions(
            store, book, asset, version, "planned", keys, slots, dry=True
        )
    rows = [
        {
            "partition": made.partition,
            "blocks": made.blocks,
            "bytes": made.bytes,
            "items_estimated": made.items,
            "batches": len(made.batches),
            "batches_reused": made.reused,
        }
        for made in work.plans
    ]
    told = plan.describe(work, asset, masters, slots)
    document = {"asset": asset.name, "partitions": rows, **told}
    show(as_json, document, lambda: _print_plan(rows, told))


def _print_plan(rows: list[dict[str, Any]], told: dict[str, Any]) -> None:
    lines = [tuple(row.values()) for row in rows if row["blocks"] or len(rows) == 1]
    lines.append(("in all", *(told[name] for name in list(rows[0])[1:])))
    table([name.replace("_", " ") for name in rows[0]], lines)
    learned = told["learned_from_batches"]
    cost = f"{told['seconds_per_item']:.2g} s an item, "
    cost += f"learned from {learned} batches" if learned else "the asset's estimate"
    out.print(
        f"\n{told['masters']} masters, {told['workers']} workers; batches of up to "
        f"{told['batch_items']:,} items, decided by {told['decided_by']}\n"
        f"{told['work_seconds']} s of work ({cost}) and {told['overhead_seconds']} s of overhead"
    )


def _where(asset: Asset, partition: str | None) -> dict[str, str]:
    if partition:
        asset.partitions.time(partition)
    return {"asset": asset.name} | ({"partition": partition} if partition else {})


@cli.command("batches")
@asset_argument
@partition_option
@json_option
def batches_(asset: Asset, partition: str | None, as_json: bool) -> None:
    """List the batches of ASSET that the ledger knows."""
    with servers() as (_, book):
        found = list(book.batches.find(_where(asset, partition)).sort([("partition", 1)]))
    listed = []
    for document in found:
        outcome = document.pop("outcome", None) or {}
        one = {"id": document.pop("_id")} | document
        one |= {"items": outcome.get("items", document["items"])}
        one |= {"is_estimate": not outcome, "seconds": outcome.get("seconds")}
        one |= {name: outcome.get(name) for name in ("used", "dead", "profiles", "result")}
        listed.append(one)
    names = ("id", "partition", "state", "items", "seconds", "attempts", "error")
    rows = [[one.get(name) or ("" if name == "error" else 0) for name in names] for one in listed]
    show(as_json, {"batches": listed}, lambda: table(names, rows))


@cli.command("dead-letters")
@asset_argument
@partition_option
@json_option
def dead_letters(asset: Asset, partition: str | None, as_json: bool) -> None:
    """List the items of ASSET that could not be used, with the reason."""
    with servers() as (_, book):
        where = _where(asset, partition)
        found = list(book.dead_letters.find(where).sort([("partition", 1), ("block", 1)]))
    listed = [{"id": document.pop("_id")} | document for document in found]
    names = ("partition", "state", "block", "place", "reason")
    rows = [[one[name] for name in names] for one in listed]
    show(as_json, {"dead_letters": listed}, lambda: table(names, rows))


@cli.command("verify")
@asset_argument
@partition_option
@partitions_option
@json_option
def verify_(asset: Asset, partition: str | None, partitions: str | None, as_json: bool) -> int:
    """Recompute the profiles of ASSET from the raw blocks and compare them with MongoDB."""
    keys = selected(asset, partition, partitions)
    with servers() as (store, book):
        profiles = book.plans.database[asset.name]
        verdict = verify.verify(asset, task.load(asset.task), store, profiles, keys)
    document = {"asset": asset.name} | {k: getattr(verdict, k) for k in verdict.__struct_fields__}
    word = "match" if verdict.match else "do NOT match"
    text = f"{verdict.profiles:,} profiles {word} {verdict.items:,} items in the raw blocks"
    if verdict.differing:
        text += f" ({verdict.expected_profiles:,} expected); differing: "
        text += ", ".join(verdict.differing)
        text += "\nBlocks of partitions that never ran count too; --partitions narrows the view."
    show(as_json, document, lambda: out.print(text, markup=False))
    return 0 if verdict.match else 1


@cli.command()
@click.option("--older-than", "days", type=int, default=35, show_default=True, help="Days.")
@json_option
def clean(days: int, as_json: bool) -> None:
    """Delete what runs left in S3 and can be made again: pieces of blocks, references of ops.

    Results stay: they are what finished batches are reused from.
    """
    before = datetime.now(UTC) - timedelta(days=days)
    with servers() as (store, _):
        deleted = {
            name: store.delete_older(prefix, before)
            for name, prefix in (("pieces", pieces.PREFIX), ("references", RUNS))
        }
    show(as_json, {"deleted": deleted}, lambda: table(("what", "deleted"), list(deleted.items())))


@cli.command()
def demo() -> None:
    """Show the whole pattern on real data, from blocks to profiles; `make demo` calls this."""
    show_demo(out)


if __name__ == "__main__":
    main()
