"""Commands for a machine's own servers, sample data and leftovers."""

import os
import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.progress import Progress

from pipelines.cli.console import err, json_option, out, print_table, servers, show
from pipelines.cli.demo import show_demo
from pipelines.cli.samples import SAMPLES, load
from resources.embedded import broker_url, needs_broker, server_status, stop_servers
from resources.io_manager import RUNS_PREFIX
from resources.s3 import S3, arguments_of, location_settings
from workers.errors import Refused
from workers.settings import home, to_environ
from workers.sources.segments import SEGMENTS_PREFIX

# What `fanfold clean` deletes, and where it lies.
LEFTOVER_PREFIXES = {"segments": SEGMENTS_PREFIX, "references": RUNS_PREFIX}
LEFTOVER_DAYS = 35  # days that leftovers are kept


@click.command()
@json_option
def up_command(as_json: bool) -> None:
    """Start the embedded servers that are needed."""
    location_settings()
    _show_status(as_json)


@click.command()
@json_option
def down_command(as_json: bool) -> None:
    """Stop the embedded servers; their data stays."""
    names = stop_servers()
    show(as_json, {"stopped": names}, lambda: out.print(f"stopped: {', '.join(names) or '-'}"))


@click.command()
@json_option
def status_command(as_json: bool) -> None:
    """Show which embedded servers run, and where."""
    _show_status(as_json)


def _show_status(as_json: bool) -> None:
    status = server_status(s3=arguments_of(S3))
    rows = [(name, *_status_cells(server)) for name, server in status.items()]
    show(as_json, status, lambda: print_table(("server", "state", "where"), rows))


def _status_cells(server: dict[str, Any]) -> tuple[str, str]:
    """Return the state and the address of a server."""
    if server["running"]:
        return "running", f"127.0.0.1:{server['port']}, pid {server['pid']}"
    return "stopped" if server["needed"] else "given by settings", ""


@click.command()
@json_option
def env_command(as_json: bool) -> None:
    """Print shell exports for the servers in use: eval "$(fanfold env)". Holds secrets."""
    exports = to_environ(location_settings())
    if needs_broker(os.environ):
        exports["FANFOLD_BROKER"] = broker_url()

    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    show(as_json, exports, lambda: click.echo("\n".join(lines)))


@click.group()
def sample_group() -> None:
    """Real data to try Fanfold with."""


@sample_group.command("load")
@click.argument("name")
@json_option
def sample_load_command(name: str, as_json: bool) -> None:
    """Fetch the sample NAME (movielens, weather) and put it into S3; what is there stays."""
    if name not in SAMPLES:
        raise Refused(f"there is no sample {name!r}; there are: {', '.join(SAMPLES)}")

    with servers() as (_, store), Progress(console=err) as progress:
        store.ensure()

        fetching = progress.add_task(f"fetching {name}", total=None)
        blocks = SAMPLES[name](home() / "samples")
        progress.update(fetching, total=1, completed=1)

        putting = progress.add_task("putting blocks", total=len(blocks))
        loaded = load(store, blocks, lambda _: progress.advance(putting))

    text = "{blocks:,} blocks, {bytes:,} bytes; {blocks_put:,} put now".format_map(loaded)
    show(as_json, {"sample": name, **loaded}, lambda: out.print(text))


@click.command()
@click.option(
    "--older-than", "days", type=int, default=LEFTOVER_DAYS, show_default=True, help="Days."
)
@json_option
def clean_command(days: int, as_json: bool) -> None:
    """Delete what runs left in S3 and can be made again: segments of blocks, references of ops.

    Results stay: they are what finished batches are reused from.
    """
    before = datetime.now(UTC) - timedelta(days=days)
    with servers() as (_, store):
        deleted = {
            name: store.delete_older(prefix, before) for name, prefix in LEFTOVER_PREFIXES.items()
        }

    rows = list(deleted.items())
    show(as_json, {"deleted": deleted}, lambda: print_table(("what", "deleted"), rows))


@click.command()
def demo_command() -> None:
    """Show the whole pattern on real data, from blocks to profiles; `make demo` calls this."""
    show_demo(out)
