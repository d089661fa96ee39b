"""What the commands do for a machine's own servers, sample data and leftovers."""

import os
import shlex
from datetime import UTC, datetime, timedelta

import click
from rich.progress import Progress

from pipelines.cli.console import err, out, print_table, servers, show
from pipelines.cli.demo import show_demo
from pipelines.cli.samples import SAMPLES, load
from pipelines.cli.servers import servers_in_use
from pipelines.cli.status import print_servers
from resources.door import arguments_of_location, location_settings
from resources.embedded import broker_url, needs_broker, server_status, stop_servers
from resources.io_manager import RUNS_PREFIX
from workers.errors import Refused
from workers.settings import home, to_environ
from workers.sources.segments import SEGMENTS_PREFIX

# What `fanfold clean` deletes, and where it lies.
LEFTOVER_PREFIXES = {"segments": SEGMENTS_PREFIX, "references": RUNS_PREFIX}


def start(as_json: bool) -> None:
    """Start the embedded servers that are needed."""
    location_settings()
    _show_servers(as_json)


def stop(as_json: bool) -> None:
    """Stop the embedded servers; their data stays."""
    names = stop_servers()
    show(as_json, {"stopped": names}, lambda: out.print(f"stopped: {', '.join(names) or '-'}"))


def _show_servers(as_json: bool) -> None:
    status = server_status(s3=arguments_of_location())
    show(as_json, status, lambda: print_servers(servers_in_use()))


def print_exports(as_json: bool) -> None:
    """Print shell exports for the servers in use. They hold secrets."""
    exports = to_environ(location_settings())
    if needs_broker(os.environ):
        exports["FANFOLD_BROKER"] = broker_url()

    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    show(as_json, exports, lambda: click.echo("\n".join(lines)))


def load_sample(name: str, as_json: bool) -> None:
    """Fetch a sample and put it into S3; what is there stays."""
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


def clean(days: int, as_json: bool) -> None:
    """Delete what runs left in S3 and can be made again."""
    before = datetime.now(UTC) - timedelta(days=days)
    with servers() as (_, store):
        deleted = {
            name: store.delete_older(prefix, before) for name, prefix in LEFTOVER_PREFIXES.items()
        }

    rows = list(deleted.items())
    show(as_json, {"deleted": deleted}, lambda: print_table(("what", "deleted"), rows))


def demo() -> None:
    """Show the whole pattern on real data."""
    show_demo(out)
