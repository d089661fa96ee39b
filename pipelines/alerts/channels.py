"""Where notices go: the log always; a webhook and an SNS topic where they are set.

An address of a webhook is a secret: no error, log or document repeats any of it.
"""

import json
import logging
import os
import urllib.request
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from workers.errors import Refused, Unavailable
from workers.store import status_of
from workers.values import Document

# Takes a notice; Unavailable where it takes none now, Refused where it does not take this one.
Channel = Callable[[Document], None]
SECONDS = 5  # that a sink may say nothing
SUBJECT = 100  # characters of a subject that SNS takes; ASCII only
NOT_NOW = {408, 429}


def channels(log: logging.Logger) -> dict[str, Channel]:
    """Return the sinks that are set, by name."""
    found: dict[str, Channel] = {"log": partial(_log, log)}
    if url := os.environ.get("FANFOLD_NOTIFY_WEBHOOK"):
        found["webhook"] = partial(_webhook, url)
    if topic := os.environ.get("FANFOLD_NOTIFY_SNS"):
        found["sns"] = partial(_sns, topic)
    return found


def _log(log: logging.Logger, notice: Document) -> None:
    level = logging.WARNING if notice["kind"] == "failed" else logging.INFO
    log.log(level, "; ".join(notice["text"].splitlines()))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET whose 200 says nothing."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _webhook(url: str, notice: Document) -> None:
    """POST a notice as Slack takes it; what belongs to the data is no mark-up of Slack's."""
    said = notice["text"].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    headers = {"Content-Type": "application/json", "User-Agent": "fanfold"}
    try:
        if urlsplit(url).scheme not in ("http", "https"):
            raise Refused("FANFOLD_NOTIFY_WEBHOOK is no http or https address")
        body = json.dumps({"text": said}).encode()
        request = urllib.request.Request(url, body, headers)  # noqa: S310  checked above
        opener = urllib.request.build_opener(_NoRedirects)
        with opener.open(request, timeout=SECONDS) as answer:
            status = answer.status
    except HTTPError as error:
        status = error.code
        error.close()
    except (OSError, HTTPException, ValueError) as error:  # whose texts may hold the address
        raise Unavailable(f"the webhook does not answer ({type(error).__name__})") from None
    if not 200 <= status < 300:
        raise _not_taken(f"the webhook answers {status}", status)


def _sns(topic: str, notice: Document) -> None:
    """Publish a notice to a topic, in the topic's own region."""
    parts = topic.split(":")
    if len(parts) != 6:
        raise Refused("FANFOLD_NOTIFY_SNS is not the ARN of a topic (arn:aws:sns:REGION:...:NAME)")
    config = Config(
        connect_timeout=SECONDS,
        read_timeout=SECONDS,
        retries={"mode": "standard", "total_max_attempts": 1},  # the next tick is the next
    )
    title = notice["subject"].encode("ascii", "replace").decode()[:SUBJECT]
    try:
        client = boto3.client("sns", region_name=parts[3], config=config)
        client.publish(TopicArn=topic, Subject=title, Message=notice["text"])
    except ClientError as error:
        status = status_of(error)
        code = error.response.get("Error", {}).get("Code", "")
        raise _not_taken(f"SNS answers {status} {code}", status) from error
    except (BotoCoreError, ValueError) as error:
        raise Unavailable(f"SNS cannot be used ({type(error).__name__})") from error


def _not_taken(said: str, status: int) -> Unavailable | Refused:
    return (Unavailable if status >= 500 or status in NOT_NOW else Refused)(said)
