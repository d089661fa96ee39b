"""Where scans of an asset's partitions begin, and how far they are."""

from collections.abc import Sequence

import msgspec

from workers.declare.asset import Asset
from workers.errors import Refused
from workers.values import Value, learn

MAX_MISSED_WINDOWS = 10  # windows that a scan reaches back where nobody scanned for longer


class Cursor(Value, frozen=True, kw_only=True):
    """What a scan leaves to the next one."""

    # The next window begins here at the latest, or it would miss what landed while nobody scanned.
    first: str = ""
    # The last partition of a scan that left others to the next, which goes on behind it.
    after: str = ""
    # When a scan last went through the whole window, in seconds.
    scanned: float = 0.0
    # By partition, the digest of the blocks that a run was requested for, where no plan is known to
    # have seen them: a run may fail before it plans.
    requested: dict[str, str] = msgspec.field(default_factory=dict)
    # By partition with changes that are not requested yet, since when it waits, in seconds.
    waiting: dict[str, float] = msgspec.field(default_factory=dict)
    # Partitions that lost so much that their run is refused until a person acts: one was requested,
    # so that its failure says so, and what else goes of them is no news.
    held_back: list[str] = msgspec.field(default_factory=list)

    @classmethod
    def read(cls, text: str | None, asset: Asset) -> "Cursor":
        """Return the cursor in a text; a new one where it is not of this asset as it is now."""
        learn(cls)
        try:
            cursor = msgspec.json.decode(text or "{}", type=cls)
            named = (cursor.first, cursor.after, *cursor.requested, *cursor.waiting)
            for partition in (*named, *cursor.held_back):
                if partition:
                    asset.partitions.time(partition)
        except (msgspec.MsgspecError, Refused):
            return cls()
        return cursor

    @property
    def text(self) -> str:
        """The cursor as JSON."""
        return msgspec.json.encode(self).decode()


def window_start(asset: Asset, newest: str) -> str:
    """Return where the window begins that ends with the newest partition."""
    first = asset.partitions.shift(newest, -asset.watch.look_back_partitions)
    return max(first, asset.partitions.start)


def window_of(asset: Asset, cursor: Cursor, newest: str) -> list[str]:
    """Return the latest partitions, and before them those that nobody scanned in their time."""
    usual = window_start(asset, newest)
    most = MAX_MISSED_WINDOWS * max(asset.watch.look_back_partitions, 1)
    earliest = asset.partitions.shift(newest, -most)

    first = min(cursor.first or usual, usual)
    return asset.partitions.between(max(first, earliest), newest)


def missed_partitions(asset: Asset, cursor: Cursor, window: Sequence[str]) -> list[str]:
    """Return a warning where nobody scanned for so long that the window leaves partitions out."""
    if not window or not cursor.first or cursor.first >= window[0]:
        return []
    last = asset.partitions.shift(window[0], -1)
    text = f"nobody scanned {asset.name} since {cursor.first}, longer than a scan reaches back; "
    text += f"`fanfold run {asset.name} --partitions {cursor.first}...{last}` takes up the rest"
    return [text]
