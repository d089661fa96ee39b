"""How much each user's word carries: a score from 0 to 100, kept up as their profile changes.

    score = 60 reach / (reach + 50) + 25 activity / (activity + 50) + 15 breadth / (breadth + 4)

Reach is what others gave to what the user made: a like counts 1, a share 2, since a share shows it
to more people. Activity is the user's own events. Both fade: a week that lies n weeks before the
last one in which anything happened counts half for every 8 weeks, 2^(-n/8). Breadth is how many
topics the user leans to beyond the first, counted so that a topic hardly touched hardly counts: the
exponential of the Shannon entropy of their strengths (Hill number of order 1; L. Jost, Entropy and
diversity, Oikos 113, 2006), less one. Each part saturates, x / (x + half): twice as many likes
never mean twice the influence, and no number of events makes up for nobody listening.

A score is of `as_of`, that last week, so a profile that did not change never needs another. To
rank people at a later time let it fade by the same rule: score * 2^(-weeks since as_of / 8).
(Decay measured within the data and scaled when read: Cormode et al., Forward decay, ICDE 2009.)
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import pandas as pd

from workers.declare import (
    Asset,
    Contributions,
    Gone,
    Latest,
    Observe,
    Partitions,
    Schedule,
    Sizes,
    Task,
    Text,
    Tolerance,
    digest,
    rows,
)
from workers.values import Document

SHARE = 2  # what a share counts, in likes
HALF_LIFE = 8  # weeks
WEEK = 7 * 86_400_000  # milliseconds


class Profile(msgspec.Struct):
    """What a score is made of: a profile of user_profiles; see `Profiles` in workers/sources.py."""

    id: Text
    at: int
    gone: bool = False
    weeks: dict[str, int] = {}
    likes_received: dict[str, int] = {}
    shares_received: dict[str, int] = {}
    topics: dict[str, int] = {}
    inputs: str = ""


class Score(NamedTuple):
    """A score, its parts before they are weighed, and the week (milliseconds) it is of."""

    score: float
    reach: float
    activity: float
    breadth: float
    as_of: int


def look(profiles: Sequence[Profile], known: Sequence[Document]) -> list[Profile | None]:
    """Return the profiles whose score has to be made: new, changed, gone, or scored by old code."""
    changed: list[Profile | None] = []
    for profile, scored in zip(profiles, known, strict=True):
        parts = (profile.weeks, profile.likes_received, profile.shares_received, profile.topics)
        profile.inputs = digest([task.version, *parts])[:16]
        is_current = scored.get("inputs") == profile.inputs and not profile.gone
        changed.append(None if is_current else profile)
    return changed


def score(profile: Any) -> Score:
    """Score a Profile, or a row of a frame of them."""
    likes, shares = profile.likes_received, profile.shares_received
    received = {week: likes.get(week, 0) + SHARE * shares.get(week, 0) for week in likes | shares}
    last = max([*map(_time, profile.weeks), *map(_time, received)], default=0)
    reach, activity = _faded(received, last), _faded(profile.weeks, last)
    breadth = max(_effective_number([n for n in profile.topics.values() if n > 0]) - 1, 0)
    parts = ((60, reach, 50), (25, activity, 50), (15, breadth, 4))
    total = sum(most * part / (part + half) for most, part, half in parts)
    return Score(round(total, 2), round(reach, 4), round(activity, 4), round(breadth, 4), last)


def _faded(by_week: Mapping[str, int], last: int) -> float:
    return math.fsum(
        count * 2 ** (-(last - _time(week)) / WEEK / HALF_LIFE) for week, count in by_week.items()
    )


def _time(week: str) -> int:
    return round(datetime.fromisoformat(week).replace(tzinfo=UTC).timestamp() * 1000)


def _effective_number(strengths: Sequence[int]) -> float:
    """Return how many equally strong topics would be as diverse."""
    total = sum(strengths)
    return math.exp(-math.fsum(n / total * math.log(n / total) for n in strengths))


def contributions(profiles: pd.DataFrame) -> Contributions:
    """Score each profile; one that is gone takes its score with it."""
    there = profiles[~profiles["gone"]]
    scores = pd.DataFrame(
        [score(one) for one in there.itertuples()], columns=Score._fields, index=there.index
    )
    said: dict[str, Any] = {name: scores[name] for name in Score._fields}
    said["inputs"] = there["inputs"]
    made = {name: rows(there["id"], value, at=there["at"]) for name, value in said.items()}
    made["gone"] = rows(profiles["id"], profiles["gone"].astype("int64"), at=profiles["at"])
    return made


task = Task(
    item=Profile,
    fields={
        "score": Latest(float),
        "reach": Latest(float),
        "activity": Latest(float),
        "breadth": Latest(float),
        "as_of": Latest(datetime),
        "inputs": Latest(str),  # a digest: the profile that the score was made of
        "gone": Gone(),
    },
    contributions=contributions,
    observe=Observe(of=lambda profile: profile.id, known=["inputs"], makes=Profile, look=look),
)

asset = Asset(
    name="influence_scores",
    description=__doc__,
    partitions=Partitions(every="day", start="1997-09-01"),
    source="user_profiles",
    sizes=Sizes(min_items=5_000, max_items=100_000, seconds_per_item=0.000_05),
    tolerance=Tolerance(count=20, rate=0.01),
    open_partitions=1,
    # It reads profiles and writes scores, nothing else; the day that time is in has the newest.
    schedule=Schedule(cron="30 1 * * *", current_partition=True, is_on=True),
)
