"""What users do and like: likes and clickstream become each user's activity and preferences."""

from datetime import datetime
from typing import Any

import msgspec
import pandas as pd

from workers.fields import Marked, Max, Min, Sum, SumBy
from workers.items import Key, Text, Time
from workers.task import Contributions, Task, rows

# What an action says about its topics, in whole numbers so that sums are exact. A like outweighs
# a few views, a dislike takes as much back; other actions say nothing about topics.
WEIGHTS = {"view": 1, "click": 2, "like": 4, "share": 6, "dislike": -4}
STRONGEST = 20


class Event(msgspec.Struct, gc=False):
    """One canonical event; a line that lacks user, action or ts is a dead letter."""

    user: Text
    action: Text
    ts: Time
    item: Key | None = None
    topics: list[Key] | None = None
    author: str | None = None


def contributions(events: pd.DataFrame) -> Contributions:
    """Count actions, weigh topics, and keep the latest opinion of each item."""
    user, ts = events["user"], events["ts"]
    weighed = events.assign(weight=events["action"].map(WEIGHTS).fillna(0).astype("int64"))
    weighed = weighed.loc[weighed["weight"] != 0, ["user", "weight", "topics"]]
    topics = weighed.explode("topics").dropna(subset=["topics"])
    opinions = events[events["action"].isin(["like", "dislike"]) & events["item"].notna()]
    return {
        "events": rows(user),
        "actions": rows(user, key=events["action"]),
        "topics": rows(topics["user"], topics["weight"], key=topics["topics"]),
        "liked": rows(
            opinions["user"],
            (opinions["action"] == "like").astype("int64"),
            key=opinions["item"],
            at=opinions["ts"],
        ),
        "first_seen": rows(user, ts),
        "last_seen": rows(user, ts),
    }


def derive(profile: dict[str, Any]) -> dict[str, Any]:
    """Rank the topics a user leans to; the weights of the strongest add up to 1."""
    liked = [(topic, strength) for topic, strength in profile["topics"].items() if strength > 0]
    strongest = sorted(liked, key=lambda pair: (-pair[1], pair[0]))[:STRONGEST]
    total = sum(strength for _, strength in strongest)
    return {
        "preferences": [
            {"topic": topic, "weight": strength / total} for topic, strength in strongest
        ]
    }


task = Task(
    item=Event,
    fields={
        "events": Sum(),
        "actions": SumBy(),
        "topics": SumBy(),
        "liked": Marked(bool),
        "first_seen": Min(datetime),
        "last_seen": Max(datetime),
    },
    contributions=contributions,
    derive=derive,
)
