"""How all stands, at a glance: servers, each asset's last partitions, what runs, what to type."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from pipelines.cli.console import out, show
from pipelines.cli.servers import STOPPED, ServerInUse, servers_in_use, unused_servers
from pipelines.links import run_link
from resources.door import arguments_of_location
from resources.embedded import server_status
from workers.assets import assets, broken_assets
from workers.declare.asset import span
from workers.errors import FanfoldError
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import mongodb_errors, open_database
from workers.planning.standing import Mark, Standing, standing
from workers.progress import Figures, figures
from workers.settings import read_settings

# How a strip shows a partition: told apart by its character, and by its colour besides.
MARKS = {
    Mark.DONE: ("=", "green", "done"),
    Mark.DEAD_LETTERS: ("d", "yellow", "done, with dead letters"),
    Mark.FAILED: ("F", "bold red", "failed"),
    Mark.RUNNING: ("r", "cyan", "running"),
    Mark.MISSING: (".", "dim", "no run"),
}
UNITS = (("days", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
MAX_NEXT = 5  # commands that are advised


class RunNow(NamedTuple):
    """A run at work, as the ledger has it."""

    run: str
    asset: str
    partitions: list[str]
    figures: Figures


class State(NamedTuple):
    """All that status knows."""

    servers: list[ServerInUse]
    assets: list[Standing]
    runs: list[RunNow]
    # Why nothing is known of assets and runs; "" where it is.
    trouble: str = ""


def show_status(as_json: bool) -> None:
    """Print the servers in use, the assets, what runs, and what to type next."""
    now = datetime.now(UTC)
    state = _look(now)
    document = {
        **server_status(s3=arguments_of_location()),
        "servers": [server._asdict() for server in state.servers],
        "assets": [each.to_json() for each in state.assets],
        "runs": [run._asdict() | {"figures": run.figures.to_json()} for run in state.runs],
        "next": [{"command": command, "why": why} for command, why in _next(state)],
    }
    show(as_json, document, lambda: _print(state, now))


def _look(now: datetime) -> State:
    servers = servers_in_use()
    if not servers[0].answers:
        return State(servers, [], [], f"MongoDB: {servers[0].state}")
    try:
        with mongodb_errors():
            database = open_database(read_settings(s3=arguments_of_location()), patient=False)
            with database.client:
                return _look_at(servers, Ledger(database), now)
    except FanfoldError as error:
        return State(servers, [], [], str(error))


def _look_at(servers: list[ServerInUse], ledger: Ledger, now: datetime) -> State:
    unfinished = ledger.runs_unfinished()
    heard = {run for run, is_heard in unfinished.items() if is_heard}
    at_work = heard | _in_progress(unfinished.keys() - heard)
    standings = [standing(asset, ledger, now, at_work) for asset in assets().values()]
    return State(servers, standings, [_run_now(ledger, run) for run in sorted(at_work)])


def _in_progress(runs: Iterable[str]) -> set[str]:
    """Return those of these runs that Dagster calls in progress, and whose process is alive."""
    run_ids = list(runs)
    if not run_ids:
        return set()
    # Only where the ledger cannot tell: this imports Dagster.
    from pipelines.cli.runs_in_progress import in_progress  # noqa: PLC0415

    return in_progress(run_ids)


def _run_now(ledger: Ledger, run: str) -> RunNow:
    plans = ledger.plans_under_way(run)
    partitions = sorted(plan.partition for plan in plans)
    return RunNow(run, plans[0].asset, partitions, figures(ledger, run, len(plans)))


def _print(state: State, now: datetime) -> None:
    print_servers(state.servers)
    commands = _next(state)
    if state.trouble:
        out.print("\nassets and runs are in the ledger, which cannot be read", markup=False)
    else:
        _print_assets(state.assets, now)
        _print_runs(state.runs)
    if commands:
        _print_next(commands)
    elif not state.trouble:
        out.print("\nnext: nothing, all is up to date")


def print_servers(servers: Sequence[ServerInUse]) -> None:
    """Print servers, one a line; why one does not answer stands below it."""
    out.print("servers")
    table = Table.grid(padding=(0, 2, 0, 0))
    for server in servers:
        state, _, why = server.state.partition(": ")
        style = "" if server.answers else "bold red"
        table.add_row(f"  {server.name}", Text(state, style), Text(server.where))
        if why:
            table.add_row("", "", Text(why))
    out.print(table)
    if unused := unused_servers():
        out.print(f"  running, and not used: {', '.join(unused)} (embedded)", markup=False)


def _print_assets(standings: Sequence[Standing], now: datetime) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    columns = ("assets", "last 14", "newest", "folded", "letters")
    for column in columns:
        justify = "right" if column == "letters" else "left"
        table.add_column(column, justify=justify, no_wrap=column != "folded")

    for each in standings:
        fresh, style = _freshness(each, now)
        letters = f"{each.dead_letters:,}" if each.dead_letters else ""
        newest = each.newest or "-"
        table.add_row(f"  {each.asset}", _strip(each), newest, Text(fresh, style), letters)
    out.print()
    out.print(table)

    legend = Text("  ")
    for mark, style, words in MARKS.values():
        legend.append(mark, style).append(f" {words}   ")
    legend.rstrip()
    out.print(legend)
    for name in broken_assets():
        out.print(f"  {name}: its file has a mistake; fanfold plan {name}", markup=False)


def _strip(each: Standing) -> Text:
    strip = Text()
    for mark in each.partitions.values():
        character, style, _ = MARKS[mark]
        strip.append(character, style)
    return strip


def _freshness(each: Standing, now: datetime) -> tuple[str, str]:
    """Return when an asset was folded last, with whether it is late, and how that is coloured."""
    if each.folded is None:
        return "never", "dim"
    age = _age(now - each.folded.replace(tzinfo=UTC))
    return (f"{age} ago, LATE", "bold red") if each.is_late else (f"{age} ago", "")


def _age(age: timedelta) -> str:
    seconds = max(int(age.total_seconds()), 0)
    for unit, length in UNITS:
        if seconds >= 2 * length or unit == "s":
            return f"{seconds // length:,} {unit}"
    return ""


def _print_runs(runs: Sequence[RunNow]) -> None:
    out.print("\nrunning" if runs else "\nrunning: nothing")
    for run in runs:
        now = run.figures
        title = f"{run.asset} {span(run.partitions)}"
        out.print(f"  {title}  {now.stage}, batches {now.finished:,}/{now.batches:,}", markup=False)
        out.print(f"    {run_link(run.run)}")


def _print_next(commands: Sequence[tuple[str, str]]) -> None:
    """Print what to type, and why, each command so that it can be pasted."""
    out.print("\nnext")
    width = max(len(command) for command, _ in commands)
    for command, why in commands:
        out.print(f"  {command:<{width}}  # {why}", markup=False)


def _next(state: State) -> list[tuple[str, str]]:
    """Return what a person should type next, the most urgent first, each with why."""
    if any(server.state == STOPPED for server in state.servers):
        return [("fanfold up", "starts the servers that are stopped")]
    if state.trouble:
        return []

    commands = []
    for each in state.assets:
        if each.not_folded:
            first, *more = each.not_folded
            why = f"{first} and {len(more):,} more" if more else first
            commands.append((f"fanfold run {each.asset} --failed", why))
    for each in state.assets:
        if each.dead_letters:
            why = f"{each.dead_letters:,} open"
            commands.append((f"fanfold dead-letters {each.asset}", why))
    for each in state.assets:
        if each.is_late:
            where = f"--partition {list(each.partitions)[-1]}"
            why = f"late: nothing for {each.late_hours:g} h"
            commands.append((f"fanfold plan {each.asset} {where}", why))
    if not any(each.newest for each in state.assets):
        commands.append(("fanfold demo", "real data, from blocks to profiles"))
    return commands[:MAX_NEXT]
