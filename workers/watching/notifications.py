"""Partitions that S3's event notifications name, read from an SQS queue and kept until scanned.

Whoever reads the queue gets messages about every asset. So what they name is written to MongoDB
first (collection `notifications`), and only then are they deleted: a message may count twice,
never not at all.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from pymongo import DeleteOne, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database

from workers.declare.asset import Asset
from workers.errors import Malformed
from workers.store import OWN_PREFIX
from workers.values import Document, Value
from workers.watching.sqs import Queue

MAX_RECEIVES = 50  # requests for messages that one scan makes; each brings up to 10
WAIT_SECONDS = 1  # for the first: SQS asks all its servers only where it may wait


class Notification(Value, frozen=True, kw_only=True):
    """A partition that S3's messages named since it was scanned last."""

    asset: str
    partition: str
    # When it was named last.
    when: datetime
    # How often it was named. One that is named again during a scan is scanned again.
    times: int

    @property
    def id(self) -> str:
        return notification_id(self.asset, self.partition)


def notification_id(asset: str, partition: str) -> str:
    """Return the id of a notification; those of an asset are in the order of its partitions."""
    return f"{asset}/{partition}"


class Notifications:
    """The collection `notifications`: one document for each partition that is to be scanned."""

    def __init__(self, database: Database[Document]) -> None:
        self.collection: Collection[Document] = database["notifications"]

    def add(self, partitions: Iterable[tuple[str, str]]) -> None:
        """Note that partitions, each with its asset in front, are to be scanned."""
        now = datetime.now(UTC)

        writes = []
        for asset, partition in sorted(set(partitions)):
            values = {"asset": asset, "partition": partition, "when": now}
            change = {"$set": values, "$inc": {"times": 1}}
            query = {"_id": notification_id(asset, partition)}
            writes.append(UpdateOne(query, change, upsert=True))

        if writes:
            self.collection.bulk_write(writes, ordered=False)

    def until(self, asset: str, last: str) -> list[Notification]:
        """Return the notifications of an asset's partitions up to the last, oldest first."""
        ids = {"$gte": notification_id(asset, ""), "$lte": notification_id(asset, last)}
        documents = self.collection.find({"_id": ids}, sort=[("_id", 1)])
        return [Notification.of(document) for document in documents]

    def forget(self, notifications: Iterable[Notification]) -> None:
        """Delete notifications whose partitions were scanned, but for those named again since."""
        deletes = [
            DeleteOne({"_id": notification.id, "times": notification.times})
            for notification in notifications
        ]
        if deletes:
            self.collection.bulk_write(deletes, ordered=False)


def take_messages(
    queue: Queue, notifications: Notifications, assets: Iterable[Asset], bucket: str
) -> list[str]:
    """Write the partitions that waiting messages name to MongoDB, and delete the messages.

    Returns warnings of messages that are not of S3. They are deleted too: no later scan would
    understand them.
    """
    watched = [asset for asset in assets if not asset.source]

    warnings: list[str] = []
    for number in range(MAX_RECEIVES):
        messages = queue.receive(0 if number else WAIT_SECONDS)
        if not messages:
            break

        keys: list[str] = []
        for message in messages:
            try:
                keys += keys_in(message["Body"], bucket)
            except Malformed as error:
                warnings.append(f"message {message['MessageId']} was ignored: {error}")

        notifications.add(owner for key in keys for owner in _owners(key, watched))
        queue.delete(messages)
    return warnings


def _owners(key: str, assets: Iterable[Asset]) -> Iterator[tuple[str, str]]:
    """Yield the assets and partitions that a block belongs to."""
    if key.startswith(OWN_PREFIX):
        return
    for asset in assets:
        partition = asset.partition_of(key)
        if partition and partition >= asset.partitions.start:
            yield asset.name, partition


def keys_in(body: str, bucket: str) -> list[str]:
    """Return the keys of a bucket that a message names; Malformed where it is none of S3.

    S3 sends its messages itself, through SNS, or through EventBridge; the last leaves keys as they
    are, where S3's own form has them URL-encoded.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("it is not JSON") from error

    match content:
        case {"Type": "Notification", "Message": str(message)}:
            return keys_in(message, bucket)
        case {"Event": "s3:TestEvent"}:
            return []
        case {
            "source": "aws.s3",
            "detail": {"bucket": {"name": str(name)}, "object": {"key": str(key)}},
        }:
            return [key] if name == bucket else []
        case {"Records": [*records]}:
            return [key for record in records for key in _key_in(record, bucket)]
    raise Malformed("it is no notification of S3")


def _key_in(record: Any, bucket: str) -> list[str]:
    match record:
        case {"s3": {"bucket": {"name": str(name)}, "object": {"key": str(key)}}}:
            return [unquote_plus(key)] if name == bucket else []
    raise Malformed("it has a record that is not of an object in S3")
