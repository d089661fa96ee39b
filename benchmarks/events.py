"""Canonical events from a seed: skewed users and topics, the same bytes for the same arguments."""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

ACTIONS = np.array(["view", "click", "like", "share", "dislike"])
ACTION_SHARES = [0.62, 0.2, 0.12, 0.03, 0.03]
# Of five million events nearly every one of these users has at least one.
USERS = 134_000
ITEMS = 3_000
TOPICS = 20
TWO_TOPICS_SHARE = 0.4  # of events: these have a second topic


def event_blocks(events: int, count: int, seed: int, day: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, JSON lines) of `count` blocks that hold so many events of one day (UTC)."""
    start = int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    edges = [events * number // count for number in range(count + 1)]

    for number in range(count):
        random = np.random.default_rng([seed, number])
        yield f"{number:04}.jsonl", _lines(random, edges[number + 1] - edges[number], start)


def _lines(random: np.random.Generator, events: int, start: int) -> bytes:
    users = _skewed(random, USERS, 0.85, events)
    items = _skewed(random, ITEMS, 1.0, events)
    actions = random.choice(ACTIONS, events, p=ACTION_SHARES)
    topics = _skewed(random, TOPICS, 0.7, events)
    has_two_topics = random.random(events) < TWO_TOPICS_SHARE
    seconds = start + np.sort(random.integers(0, 86_400, events))

    columns = (users, actions, items, topics, has_two_topics, seconds)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return "".join(
        f'{{"user":"u{user}","action":"{action}","item":"i{item}",'
        f'"topics":["t{topic}"{f",{chr(34)}t{(topic + 7) % TOPICS}{chr(34)}" if two else ""}],'
        f'"ts":{ts}}}\n'
        for user, action, item, topic, two, ts in rows
    ).encode()


def _skewed(random: np.random.Generator, kinds: int, skew: float, size: int) -> np.ndarray:
    """Draw numbers below `kinds`, the n-th with a weight of n to the power of -skew."""
    weights = np.arange(1, kinds + 1, dtype=float) ** -skew
    return random.choice(kinds, size, p=weights / weights.sum())
