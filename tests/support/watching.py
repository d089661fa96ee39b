"""An asset's sensor, without Dagster, for tests of what a scan asks for."""

from datetime import UTC, datetime

from tests.support.pipeline import Pipeline
from workers.declare.asset import Partitions, Watch
from workers.watching.changes import scan
from workers.watching.cursor import Cursor

NOON = datetime(1998, 4, 3, 12, tzinfo=UTC)


class Scanner:
    """Scans an asset again and again, and keeps the cursor as text."""

    def __init__(self, pipeline: Pipeline, partitions=None, **watch):
        self.pipeline = pipeline
        self.asset = pipeline.changed(
            partitions=partitions or pipeline.asset.partitions,
            watch=Watch(**{"quiet_seconds": 0, **watch}),
        ).asset
        self.cursor = None
        self.last = None
        self.keys = []

    def scan(self, now=NOON, queued=(), has_notifications=False):
        """Return the partitions that one scan asks to be run, in order."""
        ledger, store = self.pipeline.ledger, self.pipeline.store
        cursor = Cursor.read(self.cursor, self.asset)

        self.last = scan(
            self.asset, ledger, store, cursor, now, queued.__contains__, has_notifications
        )
        self.cursor = self.last.cursor.text
        self.keys += self.last.requests.values()
        return list(self.last.requests)


def days(first, last):
    return Partitions(start=first).between(first, last)


def count_requests(store):
    """Count the requests that a store makes from now on; returns the list they are added to."""
    names = []
    store.client.meta.events.register("before-call.s3", lambda model, **_: names.append(model.name))
    return names
