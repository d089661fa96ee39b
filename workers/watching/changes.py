"""What is new: partitions whose blocks differ from those that their newest plan saw.

A scan of an asset goes through the window of its latest partitions, and those that a notification
named, newest first: what is new does not wait for what is old. Each is listed by its prefixes
alone; those of a `re:` template say no time, so with it every partition costs a listing of all that
share the prefix.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import NamedTuple

from workers.declare.asset import Asset
from workers.ledger.ledger import Ledger
from workers.ledger.removals import exceeds_share, removed_since
from workers.sources.objects import aged_blocks
from workers.store import BlockStore
from workers.values import blocks_digest, digest
from workers.watching.cursor import Cursor, missed_partitions, window_of, window_start
from workers.watching.notifications import Notifications

MORE_PARTITIONS = 50  # that a scan goes through beside one window; the others are for the next
SCAN_SECONDS = 30  # after which it leaves the rest to the next, too; Dagster gives a tick 60
MAX_QUIET_WAITS = 6  # times quiet_seconds that a partition waits for a producer that does not stop
NOTIFIED_SCAN_SECONDS = 3600  # between scans of the window where notifications name what lands


class Scan(NamedTuple):
    """Which runs to request after a scan, and where the next one goes on."""

    # Run keys by partition, the newest first.
    requests: dict[str, str]
    cursor: Cursor
    # Why partitions with changes are not requested now.
    waits: list[str]
    # What a person should know.
    warnings: list[str]


class Change(NamedTuple):
    """What a scan decided about one partition."""

    # Digest of its blocks; empty where its newest plan saw them.
    blocks_digest: str = ""
    # Of the run to request; empty where none is.
    run_key: str = ""
    # Why the run has to wait.
    wait: str = ""
    # Whether it lost so much that a run is refused until a person acts.
    is_held_back: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do: no change, or a run was requested for it before."""
        return not self.run_key and not self.wait


class _Difference(NamedTuple):
    """How the blocks of a partition differ from those that its newest plan saw."""

    blocks_digest: str
    # Says from what to what the partition changed: the same change never starts two runs, and
    # blocks that change there and back start one each time.
    run_key: str
    # The age of the youngest block.
    quiet_seconds: float
    # Whether a run would be refused, since too much is gone.
    is_held_back: bool


def scan(
    asset: Asset,
    ledger: Ledger,
    store: BlockStore,
    cursor: Cursor,
    now: datetime,
    is_queued: Callable[[str], bool] = lambda _: False,
    has_notifications: bool = False,
) -> Scan:
    """Return which partitions of an asset changed and are to be run.

    A partition with a run that is queued waits: that run lists the blocks once it starts. Where
    notifications name what lands, the window is scanned once an hour: some get lost.
    """
    newest = asset.partitions.key(now)
    is_whole = now.timestamp() - cursor.scanned >= NOTIFIED_SCAN_SECONDS or not has_notifications
    window = window_of(asset, cursor, newest) if is_whole else []

    notifications = Notifications(ledger.database)
    notified = {each.partition: each for each in notifications.until(asset.name, newest)}
    outdated: list[str] = []
    if asset.unique:
        current = ledger.claims.generation(asset.name)
        outdated = ledger.outdated_partitions(asset.name, current)
    due = _due(asset, cursor, {*window, *notified, *outdated, *cursor.waiting}, newest)

    changes = _changes(asset, ledger, store, cursor, now, due, is_queued)
    settled = {partition for partition, change in changes.items() if change.is_settled}
    notifications.forget(notified[partition] for partition in settled & notified.keys())

    rest = due[len(changes) :]
    return Scan(
        requests={name: change.run_key for name, change in changes.items() if change.run_key},
        cursor=_next_cursor(asset, cursor, now, changes, window, rest, {*notified, *outdated}),
        waits=[
            *(change.wait for change in changes.values() if change.wait),
            *(f"{name} is held back" for name, change in changes.items() if change.is_held_back),
        ],
        warnings=missed_partitions(asset, cursor, window),
    )


def _due(asset: Asset, cursor: Cursor, partitions: Collection[str], newest: str) -> list[str]:
    """Return the partitions to scan, newest first, and in front of others what the last scan left.

    The newest ones are in front of all: a scan that goes on with old ones looks at them too.
    """
    first = asset.partitions.start
    known = (partition for partition in partitions if first <= partition <= newest)
    ordered = sorted(known, reverse=True)

    ahead = [each for each in ordered if each >= _first_ahead(asset, newest)]
    others = ordered[len(ahead) :]
    left = [each for each in others if each < cursor.after] if cursor.after else others
    return ahead + left + others[: len(others) - len(left)]


def _first_ahead(asset: Asset, newest: str) -> str:
    """Return the first of the partitions that each scan begins with: the one that closed last."""
    return asset.partitions.shift(newest, -1)


def _changes(
    asset: Asset,
    ledger: Ledger,
    store: BlockStore,
    cursor: Cursor,
    now: datetime,
    due: Sequence[str],
    is_queued: Callable[[str], bool],
) -> dict[str, Change]:
    """Return the changes of the partitions that one scan comes to, in the order of `due`."""
    generation = ledger.claims.generation(asset.name)
    deadline = time.monotonic() + SCAN_SECONDS
    most = asset.watch.look_back_partitions + 1 + MORE_PARTITIONS
    first_ahead = _first_ahead(asset, asset.partitions.key(now))

    changes: dict[str, Change] = {}
    requests = 0
    for partition in due[:most]:
        # However slow, a scan comes to one of those that are not looked at each time.
        has_others = any(name < first_ahead for name in changes)
        is_late = has_others and time.monotonic() > deadline
        if is_late or requests >= asset.watch.requests_per_tick:
            break

        difference = _difference(asset, ledger, store, partition, generation)
        change = Change()
        if difference:
            change = _decide(asset, cursor, now, partition, difference, is_queued)
        changes[partition] = change
        requests += bool(change.run_key)
    return changes


def _difference(
    asset: Asset, ledger: Ledger, store: BlockStore, partition: str, generation: int
) -> _Difference | None:
    """Return how a partition differs from its newest plan; None where it does not."""
    aged = list(aged_blocks(asset, store, partition))
    blocks = [block for block, _ in aged]
    listed = blocks_digest(blocks)

    plan = ledger.last_plan(asset.name, partition, generation=generation)
    is_known = plan.blocks_digest == listed if plan else not blocks
    outdated = ledger.stays.outdated(plan.batches) if plan and asset.unique else []
    if is_known and not outdated:
        return None

    key = digest([partition, plan and plan.id, listed, *sorted(outdated)])[:16]
    youngest = min((age for _, age in aged), default=inf)
    folded = ledger.folded.newest_folds(asset.name, generation, partition).get(partition)
    removed = removed_since(ledger, folded, blocks)
    return _Difference(listed, f"{partition}-{key}", youngest, exceeds_share(removed))


def _decide(
    asset: Asset,
    cursor: Cursor,
    now: datetime,
    partition: str,
    difference: _Difference,
    is_queued: Callable[[str], bool],
) -> Change:
    """Return whether a partition that differs is run now, waits, or was requested before."""
    listed = difference.blocks_digest
    is_held_back = difference.is_held_back
    is_known = is_held_back and partition in cursor.held_back
    if is_known or listed == cursor.requested.get(partition):
        return Change(listed, is_held_back=is_held_back)

    quiet_seconds = asset.watch.quiet_seconds
    seconds = now.timestamp()
    waited = seconds - cursor.waiting.get(partition, seconds)
    if difference.quiet_seconds < quiet_seconds and waited < MAX_QUIET_WAITS * quiet_seconds:
        return Change(listed, wait=f"{partition} is still being written")
    if is_queued(partition):
        return Change(listed, wait=f"a run of {partition} is queued")
    return Change(listed, run_key=difference.run_key, is_held_back=is_held_back)


def _next_cursor(
    asset: Asset,
    cursor: Cursor,
    now: datetime,
    changes: Mapping[str, Change],
    window: Sequence[str],
    rest: Sequence[str],
    named: Collection[str],
) -> Cursor:
    """Return the cursor for the next scan, after one that left the rest of what was due."""
    first = cursor.first
    scanned = cursor.scanned
    others = [name for name in changes if name < _first_ahead(asset, asset.partitions.key(now))]
    if window:
        first = window_start(asset, window[-1])
        if left := set(window).intersection(rest):
            first = min(*left, first)
        else:
            scanned = now.timestamp()

    requested = dict(cursor.requested)
    waiting = {name: since for name, since in cursor.waiting.items() if name in rest}
    for partition, change in changes.items():
        if change.wait:
            waiting[partition] = cursor.waiting.get(partition, now.timestamp())
        else:
            requested[partition] = change.blocks_digest

    held_back = {name for name, change in changes.items() if change.is_held_back}
    held_back.update(name for name in cursor.held_back if name not in changes and name >= first)

    return Cursor(
        first=first,
        after=others[-1] if rest and others else "",
        scanned=scanned,
        requested={
            partition: listed
            for partition, listed in requested.items()
            if listed and (partition >= first or partition in named)
        },
        waiting=waiting,
        held_back=sorted(held_back),
    )
