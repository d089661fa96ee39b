"""What accounts do on GitHub, and what their repositories earn: GH Archive's hourly files, as is.

Blocks are the archive's own, `github/2015-01-01-5.json.gz` (the hour has no zero in front). An
event counts for the account that acted, and a star or a fork for the owner of the repository too;
who stars a repository of their own has both in one profile.

The id of a profile is `actor.login`, which the events of every year have, and which the part of
`repo.name` before the slash repeats for the owner. `actor.display_login` (since 2016) is the same
for people, but lacks the end "[bot]" of an app's login, and may then be another account's name:
"dependabot[bot]" is an app, "dependabot" owns repositories. An account that is renamed goes on
under another login, so in another profile.
"""

from datetime import datetime

import msgspec
import pandas as pd

from workers.declare import (
    Asset,
    Contributions,
    Key,
    Max,
    Min,
    Partitions,
    Schedule,
    Set,
    Sizes,
    Sum,
    SumBy,
    Task,
    Text,
    Time,
    Tolerance,
    Watch,
    rows,
)


class Actor(msgspec.Struct, gc=False):
    """Who acted; an app's login ends in "[bot]"."""

    login: Text


class Repo(msgspec.Struct, gc=False):
    """Where it happened: owner/name, or nothing in a few events that the archive has damaged."""

    name: Key = ""


class Event(msgspec.Struct, gc=False):
    """One event; the payload, which is most of its bytes, is skipped unread."""

    type: Text
    actor: Actor
    created_at: Time
    repo: Repo | None = None


def contributions(events: pd.DataFrame) -> Contributions:
    """Count what actors do, and the stars and forks that owners receive."""
    kind = events["type"]
    time = events["created_at"]
    actor = _texts([actor.login for actor in events["actor"]])
    repo = _texts([repo.name if repo else "" for repo in events["repo"]])

    owner = _texts([name.rpartition("/")[0] for name in repo])
    is_star = (kind == "WatchEvent") & (owner != "")
    is_fork = (kind == "ForkEvent") & (owner != "")

    everyone = pd.concat([actor, owner[is_star | is_fork]])
    is_bot = everyone.str.endswith("[bot]").astype("int64")

    return {
        "events": rows(actor, key=kind),
        "starred": rows(actor[is_star], key=repo[is_star]),
        "stars_received": rows(owner[is_star]),
        "forks_received": rows(owner[is_fork]),
        "first_seen": rows(actor, time),
        "last_seen": rows(actor, time),
        "is_bot": rows(everyone, is_bot),
    }


def _texts(values: list[str]) -> pd.Series:
    return pd.Series(values, dtype="str")


task = Task(
    item=Event,
    fields={
        "events": SumBy(),
        # GitHub tells of a star each time it is given, and never that it is taken back.
        "starred": Set(),
        "stars_received": Sum(),
        "forks_received": Sum(),
        # When the account acted: nothing, for one that only received.
        "first_seen": Min(datetime),
        "last_seen": Max(datetime),
        "is_bot": Max(bool),
    },
    contributions=contributions,
)

asset = Asset(
    name="github_profiles",
    description=__doc__,
    partitions=Partitions(every="hour", start="2015-01-01-00:00"),
    template="github/{YYYY}-{MM}-{DD}-{H}.json.gz",
    # An event of 2.4 KB took 14 microseconds, 8 of them to decompress it; skipping its payload took
    # 1, where decoding it took 9.
    sizes=Sizes(min_items=10_000, max_items=250_000, seconds_per_item=0.000_02),
    tolerance=Tolerance(count=20, rate=0.001),
    schedule=Schedule(late_hours=6),
    watch=Watch(look_back_partitions=48),
)
