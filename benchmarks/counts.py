"""What the scripts with pandas count of blocks, and the documents that follow from it."""

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import pandas as pd

from workers.tasks.user_profiles import MAX_PREFERENCES, TOPIC_WEIGHTS
from workers.values import Document

# As no event of the benchmark has an author, the scripts do not look for one.
NOTHING_RECEIVED: Document = {"likes_received": {}, "shares_received": {}}


class Counts(NamedTuple):
    """What blocks say of each user; `actions`, `topics` and `weeks` have a row a user and key."""

    seen: pd.DataFrame  # user, events, first, last
    actions: pd.DataFrame
    topics: pd.DataFrame
    weeks: pd.DataFrame
    opinions: pd.DataFrame  # user, item, ts, is_like: the latest of each item


def read_counts(body: bytes) -> Counts:
    """Read one block."""
    events = pd.read_json(io.BytesIO(body), lines=True, engine="pyarrow")
    weight = events["action"].map(TOPIC_WEIGHTS)
    topics = events[["user", "topics"]].assign(value=weight).explode("topics")
    opinions = events.loc[events["action"].isin(["like", "dislike"])]
    opinions = opinions.assign(is_like=opinions["action"] == "like")

    day = pd.to_datetime(events["ts"], unit="s").dt.normalize()
    monday = day - pd.to_timedelta(day.dt.day_of_week, unit="D")
    weeks = events[["user"]].assign(week=monday, value=1)
    return Counts(
        seen=events.groupby("user", as_index=False).agg(
            events=("ts", "size"), first=("ts", "min"), last=("ts", "max")
        ),
        actions=sums(events[["user", "action"]].assign(value=1), "action"),
        topics=sums(topics, "topics"),
        weeks=sums(weeks, "week"),
        opinions=latest(opinions[["user", "item", "ts", "is_like"]]),
    )


def sums(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return the sum of the values of each user and key."""
    return rows.groupby(["user", key], as_index=False, sort=False)["value"].sum()


def latest(opinions: pd.DataFrame) -> pd.DataFrame:
    """Return the last opinion of each user and item; of two at once, the like."""
    in_order = opinions.sort_values(["ts", "is_like"])
    return in_order.drop_duplicates(["user", "item"], keep="last")


def merge_counts(counts: list[Counts]) -> Counts:
    """Return the counts of several blocks as those of one."""
    seen, actions, topics, weeks, opinions = (
        pd.concat(parts) for parts in zip(*counts, strict=True)
    )
    merged = {"events": "sum", "first": "min", "last": "max"}
    return Counts(
        seen=seen.groupby("user", as_index=False).agg(merged),
        actions=sums(actions, "action"),
        topics=sums(topics, "topics"),
        weeks=sums(weeks, "week"),
        opinions=latest(opinions),
    )


# From counts to documents


def maps_by_user(rows: pd.DataFrame) -> Mapping[str, Document]:
    """Return the map of each user, of rows that have a user, a key and a value."""
    maps: defaultdict[str, Document] = defaultdict(dict)
    for user, key, value in zip(*(rows[name].tolist() for name in rows), strict=True):
        maps[user][key] = value
    return maps


def weeks_by_user(weeks: pd.DataFrame) -> Mapping[str, Document]:
    """Return the map of each user's weeks, by the dates of their Mondays."""
    dates = {monday: f"{monday:%Y-%m-%d}" for monday in weeks["week"].unique()}
    return maps_by_user(weeks.assign(week=weeks["week"].map(dates)))


def liked_by_user(opinions: pd.DataFrame) -> Mapping[str, list[str]]:
    """Return the items that each user likes, sorted."""
    liked: defaultdict[str, list[str]] = defaultdict(list)
    likes = opinions[opinions["is_like"]].sort_values("item")
    for user, item in zip(likes["user"].tolist(), likes["item"].tolist(), strict=True):
        liked[user].append(item)
    return liked


def preferences(topics: Mapping[str, int]) -> list[Document]:
    """Rank the topics that a user leans to; the weights of the strongest add up to 1."""
    ranked = sorted((-weight, topic) for topic, weight in topics.items() if weight > 0)
    ranked = ranked[:MAX_PREFERENCES]
    total = -sum(negative for negative, _ in ranked)
    return [{"topic": topic, "weight": -negative / total} for negative, topic in ranked]


def as_time(seconds: int) -> datetime:
    """Return seconds since 1970 as MongoDB holds times."""
    return datetime.fromtimestamp(seconds, UTC)


def documents(counts: Counts) -> Iterator[Document]:
    """Yield the document of each user."""
    actions = maps_by_user(counts.actions)
    topics = maps_by_user(counts.topics)
    weeks = weeks_by_user(counts.weeks)
    liked = liked_by_user(counts.opinions)

    for user, events, first, last in counts.seen.itertuples(index=False):
        yield NOTHING_RECEIVED | {
            "_id": user,
            "events": events,
            "actions": actions[user],
            "topics": topics[user],
            "weeks": weeks[user],
            "liked": liked[user],
            "first_seen": as_time(first),
            "last_seen": as_time(last),
            "preferences": preferences(topics[user]),
        }
