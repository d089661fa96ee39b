"""Partitions that S3's event notifications name, read from an SQS queue and kept until looked at.

Whoever reads the queue gets messages about every asset. So what they name is written to MongoDB
first (collection `named`), and only then are they deleted: a message may count twice, never not
at all.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pymongo import DeleteOne, UpdateOne
from pymongo.database import Database

from workers.declare.asset import Asset
from workers.errors import Malformed, Refused, Unavailable
from workers.store import ANSWER_SECONDS, NO_ANSWER, OWN_PREFIX
from workers.values import Document

RECEIVES = 50  # requests for messages that one look makes, at most; each brings up to 10
WAIT_SECONDS = 1  # for the first: SQS asks all its servers only where it may wait


class Notifications:
    """The collection `named`: asset, partition, when it was named last, and how often."""

    def __init__(self, database: Database[Document]) -> None:
        self.collection = database["named"]

    def add(self, units: Iterable[tuple[str, str]]) -> None:
        """Name partitions of assets, to be looked at."""
        now = datetime.now(UTC)
        named = [
            UpdateOne(
                {"_id": f"{asset}/{partition}"},
                {
                    "$set": {"asset": asset, "partition": partition, "when": now},
                    "$inc": {"times": 1},
                },
                upsert=True,
            )
            for asset, partition in sorted(set(units))
        ]
        if named:
            self.collection.bulk_write(named, ordered=False)

    def until(self, asset: str, last: str) -> dict[str, int]:
        """Return an asset's partitions up to the last that are named, and how often each was."""
        found = self.collection.find({"_id": {"$gte": f"{asset}/", "$lte": f"{asset}/{last}"}})
        return {one["partition"]: one["times"] for one in found}

    def forget(self, asset: str, seen: Mapping[str, int]) -> None:
        """Forget partitions that have been looked at, but for those named again since."""
        known = [
            DeleteOne({"_id": f"{asset}/{partition}", "times": times})
            for partition, times in seen.items()
        ]
        if known:
            self.collection.bulk_write(known, ordered=False)


class Queue:
    """An SQS queue that S3 sends its event notifications to, directly or through others."""

    def __init__(self, client: Any, url: str) -> None:
        self.client, self.url = client, url

    def receive(self, wait_seconds: int) -> list[Any]:
        """Return up to 10 messages; others get them again later if they are not deleted."""
        with self._errors():
            answer = self.client.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_seconds
            )
        messages: list[Any] = answer.get("Messages", [])
        return messages

    def delete(self, messages: Sequence[Any]) -> None:
        """Delete messages; one that stays is only read again."""
        entries = [
            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
            for number, message in enumerate(messages)
        ]
        with self._errors():
            self.client.delete_message_batch(QueueUrl=self.url, Entries=entries)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except NO_ANSWER as error:
            raise Unavailable(
                f"SQS did not answer for {self.url}; check FANFOLD_EVENTS_QUEUE and the network "
                f"({type(error).__name__})"
            ) from error
        except (ClientError, BotoCoreError) as error:
            raise Refused(
                f"SQS cannot be used for {self.url}; check FANFOLD_EVENTS_QUEUE, the credentials "
                f"and their policies ({error})"
            ) from error


def open_queue(url: str) -> Queue:
    """Return the queue with this URL; boto3 finds region and credentials. No request is made."""
    retries: Any = {"mode": "standard", "total_max_attempts": 3}
    config = Config(connect_timeout=5, read_timeout=ANSWER_SECONDS, retries=retries)
    try:
        return Queue(boto3.client("sqs", config=config), url)
    except (BotoCoreError, ValueError) as error:
        raise Refused(f"SQS cannot be used: {error}") from error


def take_messages(
    queue: Queue, names: Notifications, assets: Iterable[Asset], bucket: str
) -> list[str]:
    """Name what the waiting messages are about, and delete them.

    Returns what is to be said of messages that nobody understands. They are deleted too: no later
    look would understand them.
    """
    watched, said = [asset for asset in assets if not asset.source], []
    for number in range(RECEIVES):
        messages = queue.receive(0 if number else WAIT_SECONDS)
        if not messages:
            break
        keys: list[str] = []
        for message in messages:
            try:
                keys += keys_in(message["Body"], bucket)
            except Malformed as error:
                said.append(f"message {message['MessageId']} was ignored: {error}")
        names.add(unit for key in keys for unit in _owners(key, watched))
        queue.delete(messages)
    return said


def _owners(key: str, assets: Iterable[Asset]) -> Iterator[tuple[str, str]]:
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
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("it is not JSON") from error
    match said:
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
