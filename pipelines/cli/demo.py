"""The whole pattern on real data, from blocks in S3 to verified profiles, told as it happens."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.cli.samples import load, movielens
from pipelines.cli.worker import own_workers
from pipelines.processes import executor_name
from pipelines.runs import materialise
from pipelines.summaries import failures
from resources.embedded import server_status, stop_servers
from resources.s3 import location_settings
from workers.declare.task import load_task
from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.settings import home
from workers.store import BlockStore, open_store
from workers.tasks import user_profiles
from workers.verify import verify_profiles

ASSET = user_profiles.asset
SHOWN_PROFILES = 3
SHOWN_PREFERENCES = 4  # of a profile
WORKERS = 2  # that take steps where the executor hands these to workers
NUMBER_COLUMNS = ("events", "liked")


def show_demo(out: Console) -> None:
    """Load MovieLens, materialise its 213 days in one run, verify, and show three profiles.

    Servers that the demo had to start are stopped at its end.
    """
    ran_before = any(server["running"] for server in server_status().values())
    try:
        _show_steps(out)
    finally:
        if not ran_before:
            stop_servers()


def _show_steps(out: Console) -> None:
    settings = location_settings()
    store = open_store(settings)

    days = _load_blocks(out, store)
    _materialise(out, days)

    database = open_database(settings)
    with database.client:
        ledger = Ledger(database)
        _verify(out, ledger, store)
        profiles = _busiest_profiles(ledger)

    name = f"{settings.database}.{ASSET.name}"
    out.print(f"4/4  MongoDB   the {SHOWN_PROFILES} busiest of {name}:\n")
    out.print(_to_table(profiles))
    out.print(
        "\nNext: `make dev` opens the UI on http://127.0.0.1:3000 (assets, user_profiles);\n"
        "`.venv/bin/fanfold --help` lists what else there is. README.md goes on from here."
    )


def _load_blocks(out: Console, store: BlockStore) -> list[str]:
    """Put the sample into S3; return its days."""
    store.ensure()
    with out.status("1/4  fetching MovieLens 100k and putting a block a day into S3"):
        blocks = movielens(home() / "samples")
        loaded = load(store, blocks, lambda _: None)

    out.print(
        f"1/4  S3        {loaded['blocks']} blocks under "
        f"s3://{store.bucket}/{ASSET.layout.root}..., {loaded['blocks_put']} of them new"
    )
    return [str(ASSET.partition_of(key)) for key, _ in blocks]


def _materialise(out: Console, days: Sequence[str]) -> None:
    workers = own_workers(WORKERS) if executor_name() == "celery" else nullcontext()
    with out.status(f"2/4  materialising {ASSET.name} {days[0]}...{days[-1]} in one run"), workers:
        summary = materialise(ASSET, ASSET.partitions.between(days[0], days[-1]))
    if not summary["success"]:
        raise Refused(f"run {summary['run_id']} failed: {'; '.join(failures(summary))}")

    batches = f"{summary['batches']} batches ({summary['batches_reused']} reused)"
    out.print(
        f"2/4  run       {batches} over {summary['items']:,} items in {summary['seconds']:.0f} s; "
        f"{summary['dead_letters']} dead letters"
    )


def _verify(out: Console, ledger: Ledger, store: BlockStore) -> None:
    with out.status("3/4  recomputing every profile from the raw blocks"):
        verdict = verify_profiles(ASSET, load_task(ASSET.task), ledger, store)
    if not verdict.match:
        raise Refused(f"profiles differ from the blocks: {', '.join(verdict.differing)}")

    out.print(f"3/4  verify    {verdict.profiles} profiles match {verdict.items:,} raw items")


def _busiest_profiles(ledger: Ledger) -> list[Mapping[str, Any]]:
    profiles = ledger.profiles(ASSET.name).documents.find({}, {"_fold": 0})
    return list(profiles.sort([("events", -1), ("_id", 1)]).limit(SHOWN_PROFILES))


def _to_table(profiles: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 5))
    for name in ("user", "events", "liked", "first seen", "strongest preferences"):
        table.add_column(name, justify="right" if name in NUMBER_COLUMNS else "left")

    for profile in profiles:
        preferences = [
            f"{preference['topic']} {preference['weight']:.0%}"
            for preference in profile["preferences"][:SHOWN_PREFERENCES]
        ]
        table.add_row(
            profile["_id"],
            f"{profile['events']:,}",
            f"{len(profile['liked']):,}",
            f"{profile['first_seen']:%Y-%m-%d}",
            ", ".join(preferences),
        )
    return table
