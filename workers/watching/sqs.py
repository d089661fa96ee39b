"""The SQS queue that S3's event notifications come through: whom to ask, what it answers."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from workers.errors import Refused, Unavailable
from workers.s3_errors import NO_ANSWER, Answer, passed_on
from workers.store import ANSWER_SECONDS, undouble_headers

MESSAGES_PER_RECEIVE = 10  # the most that SQS allows
# AWS names the region of a queue in its URL: `sqs.REGION.amazonaws.com`, also behind the name of a
# VPC endpoint, and REGION.queue.amazonaws.com or queue.amazonaws.com in URLs of long ago.
QUEUE_REGION = re.compile(
    r"(?:^|\.)sqs(?:-fips)?\.(?P<region>[a-z]{2,}(?:-[a-z]+)+-\d+)\."
    r"|^(?P<legacy>[a-z]{2,}(?:-[a-z]+)+-\d+)\.queue\.amazonaws\.com"
)
LEGACY_HOST = "queue.amazonaws.com"
AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", LEGACY_HOST)


class _Where(NamedTuple):
    """Whom requests about a queue go to."""

    region: str
    # None where settings name it.
    endpoint: str | None


class Queue:
    """An SQS queue that S3 sends its event notifications to, directly or through others."""

    def __init__(self, client: Any, url: str) -> None:
        self.client = client
        self.url = url

    def receive(self, wait_seconds: int) -> list[Any]:
        """Return up to 10 messages; others get them again later if they are not deleted."""
        with self._errors():
            answer = self.client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=MESSAGES_PER_RECEIVE,
                WaitTimeSeconds=wait_seconds,
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
            if isinstance(error, ClientError) and Answer.of(error).is_transient:
                raise Unavailable(
                    f"SQS answered for {self.url}: {passed_on(str(error))}"
                ) from error
            raise Refused(
                f"SQS cannot be used for {self.url}; check FANFOLD_EVENTS_QUEUE, the credentials "
                f"and their policies ({passed_on(str(error))})"
            ) from error


def open_queue(url: str) -> Queue:
    """Return the queue with this URL; boto3 finds the credentials. No request is made.

    Refused where it is no URL.
    """
    retries: Any = {"mode": "standard", "total_max_attempts": 3}
    config = Config(connect_timeout=5, read_timeout=ANSWER_SECONDS, retries=retries)
    where = _where(url)
    try:
        client = boto3.client(
            "sqs", config=config, region_name=where.region, endpoint_url=where.endpoint
        )
    except (BotoCoreError, ValueError) as error:
        raise Refused(f"SQS cannot be used: {passed_on(str(error))}") from error

    client.meta.events.register("before-parse.sqs", undouble_headers)
    return Queue(client, url)


def _where(url: str) -> _Where:
    """Return whom to ask about the queue with this URL, whatever region is set for S3."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(
            f"FANFOLD_EVENTS_QUEUE is {url!r}, and has to be the URL of a queue, such as "
            "https://sqs.eu-west-1.amazonaws.com/111122223333/events"
        )

    named = QUEUE_REGION.search(parts.hostname)
    region = named and (named["region"] or named["legacy"])
    if parts.hostname == LEGACY_HOST:
        region = "us-east-1"

    is_aws = parts.hostname.endswith(AWS_DOMAINS)
    set_by = ["AWS_ENDPOINT_URL_SQS"] if is_aws else ["AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL"]
    is_set = any(os.environ.get(name) for name in set_by)
    return _Where(
        region=region or boto3.Session().region_name or "us-east-1",
        endpoint=None if is_set else f"{parts.scheme}://{parts.netloc}",
    )
