"""What each user does and likes, from likes and clickstream.

Events under `events/dt={partition}/` fold into one MongoDB document a user: activity, preferences,
and the likes and shares that others gave to what the user made.
"""

from datetime import datetime

import msgspec
import numpy as np
import pandas as pd

from workers.declare import (
    Asset,
    Contributions,
    Document,
    Key,
    Marked,
    Max,
    Min,
    Partitions,
    Sizes,
    Sum,
    SumBy,
    Task,
    Text,
    Time,
    Tolerance,
    rows,
)

# What an action says about its topics, in whole numbers so that sums are exact. A like outweighs
# a few views, a dislike takes as much back; other actions say nothing about topics.
TOPIC_WEIGHTS = {"view": 1, "click": 2, "like": 4, "share": 6, "dislike": -4}
MAX_PREFERENCES = 20
DAY_MILLISECONDS = 86_400_000


class Event(msgspec.Struct, gc=False):
    """One canonical event; a line that lacks user, action or ts is a dead letter."""

    user: Text
    action: Text
    ts: Time
    item: Key | None = None
    topics: list[Key] | None = None
    author: Text | None = None


def contributions(events: pd.DataFrame) -> Contributions:
    """Count actions, weigh topics, keep the latest opinion of each item, credit authors."""
    user = events["user"]
    action = events["action"]
    item = events["item"]
    ts = events["ts"]
    week = weeks(ts)

    weight = weights(action)
    topic = events["topics"][weight != 0].explode().dropna()
    # A topic has the index of its event, which may stand there twice.
    weighed_user, topic_weight = user.loc[topic.index], weight.loc[topic.index]

    is_like = action == "like"
    is_opinion = (is_like | (action == "dislike")) & item.notna()
    opinion = is_like[is_opinion].astype("int64")

    # What somebody does to a thing of their own is no news of how others like it.
    author = events["author"]
    is_of_another = author.notna() & (author != user)
    is_liked = is_of_another & is_like
    is_shared = is_of_another & (action == "share")

    return {
        "events": rows(user),
        "actions": rows(user, key=action),
        "topics": rows(weighed_user, topic_weight, key=topic),
        "liked": rows(user[is_opinion], opinion, key=item[is_opinion], at=ts[is_opinion]),
        "weeks": rows(user, key=week),
        "likes_received": rows(author[is_liked], key=week[is_liked]),
        "shares_received": rows(author[is_shared], key=week[is_shared]),
        "first_seen": rows(user, ts),
        "last_seen": rows(user, ts),
    }


def weights(actions: pd.Series) -> pd.Series:
    """Return what each action says about its topics; each different one is looked up once."""
    numbers, different = pd.factorize(actions)
    of_different = np.array([TOPIC_WEIGHTS.get(action, 0) for action in different], dtype="int64")
    return pd.Series(of_different[numbers], index=actions.index)


def weeks(times: pd.Series) -> pd.Series:
    """Return the Monday (UTC) of each time in milliseconds, as text like 1998-03-30."""
    days = times.to_numpy() // DAY_MILLISECONDS
    mondays = days - (days + 3) % 7  # 1970 began on a Thursday

    # Few weeks are different, so that each is written once.
    numbers, different = pd.factorize(mondays)
    texts = np.datetime_as_string(different.astype("datetime64[D]"))
    return pd.Series(texts, dtype="str").take(numbers).set_axis(times.index)


def derive(profile: Document) -> Document:
    """Rank the topics a user leans to; the weights of the strongest add up to 1."""
    liked = [(-strength, topic) for topic, strength in profile["topics"].items() if strength > 0]
    strongest = sorted(liked)[:MAX_PREFERENCES]
    total = sum(strength for strength, _ in strongest)

    preferences = [{"topic": topic, "weight": strength / total} for strength, topic in strongest]
    return {"preferences": preferences}


task = Task(
    item=Event,
    fields={
        "events": Sum(),
        "actions": SumBy(),
        "topics": SumBy(),
        "liked": Marked(bool),
        # Events by week, and the likes and shares that others gave to what the user made.
        "weeks": SumBy(),
        "likes_received": SumBy(),
        "shares_received": SumBy(),
        "first_seen": Min(datetime),
        "last_seen": Max(datetime),
    },
    contributions=contributions,
    derive=derive,
    by_item=True,
)

asset = Asset(
    name="user_profiles",
    description=__doc__,
    partitions=Partitions(every="day", start="1997-09-01"),
    template="events/dt={partition}/",
    # Events are cheap: a batch holds many, so that reading one block is worth a worker.
    sizes=Sizes(min_items=10_000, max_items=500_000, seconds_per_item=0.000_003),
    tolerance=Tolerance(count=20, rate=0.01),
)
