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
    Document,
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

SHARE_LIKES = 2  # what a share counts, in likes
HALF_LIFE_WEEKS = 8
WEEK_MILLISECONDS = 7 * 86_400_000
INPUTS_DIGITS = 16  # hexadecimal


class Profile(msgspec.Struct):
    """What a score is made of: a profile of user_profiles; see workers/sources/profiles.py."""

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


def observe(profiles: Sequence[Profile], known: Sequence[Document]) -> list[Profile | None]:
    """Return the profiles whose score has to be made: new, changed, gone, or scored by old code."""
    answers: list[Profile | None] = []
    for profile, scored in zip(profiles, known, strict=True):
        parts = (profile.weeks, profile.likes_received, profile.shares_received, profile.topics)
        profile.inputs = digest([task.version, *parts])[:INPUTS_DIGITS]

        is_current = scored.get("inputs") == profile.inputs and not profile.gone
        answers.append(None if is_current else profile)
    return answers


def score(profile: Any) -> Score:
    """Score a Profile, or a row of a frame of them."""
    likes = profile.likes_received
    shares = profile.shares_received
    received = {
        week: likes.get(week, 0) + SHARE_LIKES * shares.get(week, 0) for week in likes | shares
    }
    last = max(map(_time, [*profile.weeks, *received]), default=0)

    reach = _faded(received, last)
    activity = _faded(profile.weeks, last)
    topics = [strength for strength in profile.topics.values() if strength > 0]
    breadth = max(_effective_number(topics) - 1, 0)

    total = 60 * reach / (reach + 50)
    total += 25 * activity / (activity + 50)
    total += 15 * breadth / (breadth + 4)
    return Score(
        score=round(total, 2),
        reach=round(reach, 4),
        activity=round(activity, 4),
        breadth=round(breadth, 4),
        as_of=last,
    )


def _faded(count_by_week: Mapping[str, int], last: int) -> float:
    """Return a sum of counts in which a week counts the less the longer it lies before `last`."""
    faded = []
    for week, count in count_by_week.items():
        age_weeks = (last - _time(week)) / WEEK_MILLISECONDS
        faded.append(count * 2 ** (-age_weeks / HALF_LIFE_WEEKS))
    return math.fsum(faded)


def _time(week: str) -> int:
    """Return when a week such as 1998-03-30 starts, in milliseconds."""
    return round(datetime.fromisoformat(week).replace(tzinfo=UTC).timestamp() * 1000)


def _effective_number(strengths: Sequence[int]) -> float:
    """Return how many equally strong topics would be as diverse."""
    total = sum(strengths)
    return math.exp(-math.fsum(n / total * math.log(n / total) for n in strengths))


def contributions(profiles: pd.DataFrame) -> Contributions:
    """Score each profile; one that is gone takes its score with it."""
    present = profiles[~profiles["gone"]]
    scores = [score(profile) for profile in present.itertuples()]
    columns = pd.DataFrame(scores, columns=Score._fields, index=present.index)
    columns["inputs"] = present["inputs"]

    is_gone = profiles["gone"].astype("int64")
    contributed = {"gone": rows(profiles["id"], is_gone, at=profiles["at"])}
    for name, values in columns.items():
        contributed[str(name)] = rows(present["id"], values, at=present["at"])
    return contributed


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
    observe=Observe(
        profile_id=lambda profile: profile.id,
        known_fields=["inputs"],
        observation=Profile,
        observe=observe,
    ),
)

asset = Asset(
    name="influence_scores",
    description=__doc__,
    partitions=Partitions(every="day", start="1997-09-01"),
    source="user_profiles",
    sizes=Sizes(min_items=5_000, max_items=100_000, seconds_per_item=0.000_05),
    tolerance=Tolerance(count=20, rate=0.01),
    # It reads profiles and writes scores, nothing else; the day that time is in has the newest.
    schedule=Schedule(cron="30 1 * * *", current_partition=True, is_on=True),
)
