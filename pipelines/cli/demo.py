"""The whole pattern on real data, from blocks in S3 to verified profiles, told as it happens."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.cli.samples import load, movielens
from pipelines.runs import materialise
from resources.embedded import running_settings, server_status, stop_servers
from workers.declare.task import load_task
from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.settings import home
from workers.store import open_store
from workers.tasks import user_profiles
from workers.verify import verify_profiles

ASSET = user_profiles.asset

USERS = 3


def show_demo(out: Console) -> None:
    """Load MovieLens, materialise its 213 days in one run, verify, and show three profiles.

    Servers that the demo had to start are stopped at its end.
    """
    ran_before = {name for name, server in server_status().items() if server["running"]}
    try:
        _tell(out)
    finally:
        if not ran_before:
            stop_servers()


def _tell(out: Console) -> None:
    settings = running_settings()
    store = open_store(settings)
    store.ensure()
    with out.status("1/4  fetching MovieLens 100k and putting a block a day into S3"):
        found = movielens(home() / "samples")
        loaded = load(store, found, lambda _: None)
    days = [str(ASSET.partition_of(key)) for key, _ in found]
    out.print(
        f"1/4  S3        {loaded['blocks']} blocks under "
        f"s3://{store.bucket}/{ASSET.layout.root}..., {loaded['blocks_put']} of them new"
    )
    with out.status(f"2/4  materialising {ASSET.name} {days[0]}...{days[-1]} in one run"):
        run = materialise(ASSET, ASSET.partitions.between(days[0], days[-1]))
    if not run["success"]:
        raise Refused(f"run {run['run_id']} failed: {'; '.join(run['errors'])}")
    out.print(
        f"2/4  run       {run['batches']} batches ({run['batches_reused']} reused) over "
        f"{run['items']:,} items in {run['seconds']:.0f} s; {run['dead_letters']} dead letters"
    )
    database = open_database(settings)
    with database.client:
        ledger, profiles = Ledger(database), database[ASSET.name]
        with out.status("3/4  recomputing every profile from the raw blocks"):
            verdict = verify_profiles(ASSET, load_task(ASSET.task), store, ledger)
        if not verdict.match:
            raise Refused(f"profiles differ from the blocks: {', '.join(verdict.differing)}")
        out.print(f"3/4  verify    {verdict.profiles} profiles match {verdict.items:,} raw items")
        most = profiles.find({}, {"_fold": 0}).sort([("events", -1), ("_id", 1)]).limit(USERS)
        out.print(f"4/4  MongoDB   the {USERS} busiest of {settings.database}.{ASSET.name}:\n")
        out.print(_drawn(list(most)))
    out.print(
        "\nNext: `make dev` opens the UI on http://127.0.0.1:3000 (assets, user_profiles);\n"
        "`.venv/bin/fanfold --help` lists what else there is. README.md goes on from here."
    )


def _drawn(profiles: list[Mapping[str, Any]]) -> Table:
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 5))
    for name in ("user", "events", "liked", "first seen", "strongest preferences"):
        drawn.add_column(name, justify="right" if name in ("events", "liked") else "left")
    for profile in profiles:
        strongest = [f"{one['topic']} {one['weight']:.0%}" for one in profile["preferences"][:4]]
        drawn.add_row(
            profile["_id"],
            f"{profile['events']:,}",
            f"{len(profile['liked']):,}",
            f"{profile['first_seen']:%Y-%m-%d}",
            ", ".join(strongest),
        )
    return drawn
