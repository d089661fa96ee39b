"""What is new: partitions whose blocks differ from those that their newest plan saw.

A look at an asset goes through the window of its latest partitions, and those that a notification
named, oldest first. Each is listed by its prefixes alone; those of a `re:` template say no time,
so with it every partition costs a listing of all that share the prefix.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import NamedTuple

import msgspec

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.ledger.ledger import Ledger
from workers.store import BlockStore
from workers.values import Value, blocks_digest, digest
from workers.watching.notifications import Notifications

MAX_MISSED_WINDOWS = 10  # windows that a look reaches back, at most, where nobody looked for longer
MORE_PARTITIONS = (
    50  # partitions that a look goes through beside one window; the others are for the next
)
SCAN_SECONDS = 30  # after which it leaves the rest to the next, too; Dagster gives a tick 60
MAX_QUIET_WAITS = 6  # times quiet_seconds that a partition waits for a producer that does not stop
NOTIFIED_SCAN_SECONDS = (
    3600  # how often the window is looked at where notifications tell what lands
)


class Cursor(Value, frozen=True, kw_only=True):
    """What a look leaves to the next one."""

    # The next window begins here at the latest, or it would miss what landed while nobody looked.
    first: str = ""
    # The last partition of a look that left others to the next, which goes on behind it.
    after: str = ""
    # When a look last went through the whole window, in seconds.
    looked: float = 0.0
    # By partition, the news that a run was requested for and that no plan is known to have seen: a
    # run may fail before it plans.
    requested: dict[str, str] = msgspec.field(default_factory=dict)
    # By partition with news that is not requested yet, since when it waits, in seconds.
    waiting: dict[str, float] = msgspec.field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None, asset: Asset) -> "Cursor":
        """Return the cursor in a text; a new one where it is not of this asset as it is now."""
        try:
            cursor = msgspec.json.decode(text or "{}", type=cls)
            for partition in (cursor.first, cursor.after, *cursor.requested, *cursor.waiting):
                if partition:
                    asset.partitions.time(partition)
        except (msgspec.MsgspecError, Refused):
            return cls()
        return cursor

    @property
    def text(self) -> str:
        """The cursor as JSON."""
        return msgspec.json.encode(self).decode()


class Scan(NamedTuple):
    """What a look found."""

    # Run keys by partition, the oldest first.
    requests: dict[str, str]
    cursor: Cursor
    # Why partitions with news are not requested yet.
    waits: list[str]
    # What a person should know.
    warnings: list[str]


class Change(NamedTuple):
    """What a look found at one partition."""

    # Digest of its blocks; empty where its newest plan saw them.
    news: str = ""
    # Of the run to request. Says from what to what the partition changed: the same news never
    # starts two runs, and blocks that change there and back start one each time.
    run_key: str = ""
    # Why the run has to wait.
    waits: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do: no news, or a run was requested for it before."""
        return not self.run_key and not self.waits


def scan(
    asset: Asset,
    store: BlockStore,
    ledger: Ledger,
    cursor: Cursor,
    now: datetime,
    is_queued: Callable[[str], bool] = lambda _: False,
    has_notifications: bool = False,
) -> Scan:
    """Look for news of an asset, and say which of its partitions are to be run.

    A partition with a run that is queued waits: that run lists the blocks once it starts. Where
    notifications tell what lands (`is_told`), the window is looked at once an hour: some get lost.
    """
    start, newest, seconds = asset.partitions.start, asset.partitions.key(now), now.timestamp()
    is_whole = not has_notifications or seconds - cursor.looked >= NOTIFIED_SCAN_SECONDS
    window = _window(asset, cursor, newest) if is_whole else []
    names = Notifications(ledger.database)
    named = names.until(asset.name, newest)
    due = sorted(p for p in {*window, *named, *cursor.waiting} if start <= p <= newest)
    due = [p for p in due if p > cursor.after] + [p for p in due if p <= cursor.after]
    until, seen = time.monotonic() + SCAN_SECONDS, dict[str, Change]()
    generation = ledger.claims.generation(asset.name)
    for partition in due[: asset.watch.look_back_partitions + 1 + MORE_PARTITIONS]:
        if sum(bool(one.run_key) for one in seen.values()) >= asset.watch.requests_per_tick:
            break
        if seen and time.monotonic() > until:
            break
        change, quiet_seconds = _change(asset, store, ledger, generation, partition)
        waited = seconds - cursor.waiting.get(partition, seconds)
        is_quiet = quiet_seconds >= asset.watch.quiet_seconds
        if change.news == cursor.requested.get(partition):
            change = Change(change.news)
        elif not is_quiet and waited < MAX_QUIET_WAITS * asset.watch.quiet_seconds:
            change = Change(change.news, waits=f"{partition} is still being written")
        elif change.news and is_queued(partition):
            change = Change(change.news, waits=f"a run of {partition} is queued")
        seen[partition] = change
    names.forget(asset.name, {p: named[p] for p in seen if seen[p].is_settled and p in named})
    return Scan(
        requests={p: one.run_key for p, one in seen.items() if one.run_key},
        cursor=_next(asset, cursor, seen, window, due[len(seen) :], named, now),
        waits=[one.waits for one in seen.values() if one.waits],
        warnings=_missed(asset, cursor, window),
    )


def _change(
    asset: Asset, store: BlockStore, ledger: Ledger, generation: int, partition: str
) -> tuple[Change, float]:
    """Return how a partition differs from its newest plan, and for how long it has been quiet."""
    aged = list(store.ages(asset, partition))
    found = blocks_digest(block for block, _ in aged)
    plan = ledger.last_plan(asset.name, partition, generation=generation)
    if plan["news"] == found if plan else not aged:
        return Change(), inf
    key = digest([partition, plan and plan["_id"], found])[:16]
    return Change(found, f"{partition}-{key}"), min((age for _, age in aged), default=inf)


def _usual(asset: Asset, newest: str) -> str:
    """Return where the window begins that ends with the newest partition."""
    return max(
        asset.partitions.shift(newest, -asset.watch.look_back_partitions), asset.partitions.start
    )


def _window(asset: Asset, cursor: Cursor, newest: str) -> list[str]:
    """Return the latest partitions, and before them those that nobody looked at in their time."""
    usual = _usual(asset, newest)
    reach = asset.partitions.shift(
        newest, -MAX_MISSED_WINDOWS * max(asset.watch.look_back_partitions, 1)
    )
    return asset.partitions.between(max(min(cursor.first or usual, usual), reach), newest)


def _missed(asset: Asset, cursor: Cursor, window: Sequence[str]) -> list[str]:
    """Say which partitions nobody looked at for so long that the window leaves them out."""
    if not window or not cursor.first or cursor.first >= window[0]:
        return []
    last = asset.partitions.shift(window[0], -1)
    text = f"nobody looked at {asset.name} since {cursor.first}, longer than a look reaches back; "
    text += f"`fanfold run {asset.name} --partitions {cursor.first}...{last}` takes up the rest"
    return [text]


def _next(
    asset: Asset,
    cursor: Cursor,
    seen: Mapping[str, Change],
    window: Sequence[str],
    left: Sequence[str],
    named: Collection[str],
    now: datetime,
) -> Cursor:
    """Return the cursor for the look after this one, which left some of what was due."""
    first, looked, seconds = cursor.first, cursor.looked, now.timestamp()
    if window:
        first = _usual(asset, window[-1])
        if window[-1] in seen or not left:
            looked = seconds
        else:
            first = min(max(min(left), window[0]), first)
    requested = cursor.requested | {p: one.news for p, one in seen.items() if not one.waits}
    waiting = {p: since for p, since in cursor.waiting.items() if p in left}
    return Cursor(
        first=first,
        after=list(seen)[-1] if left else "",
        looked=looked,
        requested={p: said for p, said in requested.items() if said and (p >= first or p in named)},
        waiting=waiting | {p: cursor.waiting.get(p, seconds) for p in seen if seen[p].waits},
    )
