"""Where alerts go: the log always; a webhook and an SNS topic where they are set.

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

from pipelines.alerts.alert import Alert, AlertKind
from workers.errors import Refused, Unavailable
from workers.s3_errors import status_of

# Takes an alert; Unavailable where it takes none now, Refused where it does not take this one.
Channel = Callable[[Alert], None]
ANSWER_SECONDS = 5  # that a channel may say nothing
MAX_SUBJECT_CHARACTERS = 100  # that SNS takes; ASCII only
TRANSIENT_STATUSES = {408, 429}  # and all from 500 on
ARN_PARTS = 6  # arn:aws:sns:REGION:ACCOUNT:NAME
ARN_REGION = 3


def channels(log: logging.Logger) -> dict[str, Channel]:
    """Return the channels that are set, by name."""
    by_name: dict[str, Channel] = {"log": partial(_log, log)}
    if url := os.environ.get("FANFOLD_NOTIFY_WEBHOOK"):
        by_name["webhook"] = partial(_post, url)
    if topic := os.environ.get("FANFOLD_NOTIFY_SNS"):
        by_name["sns"] = partial(_publish, topic)
    return by_name


def _log(log: logging.Logger, alert: Alert) -> None:
    level = logging.WARNING if alert.kind is AlertKind.FAILED else logging.INFO
    log.log(level, "; ".join(alert.text.splitlines()))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET whose 200 says nothing."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, alert: Alert) -> None:
    """POST an alert as Slack takes it; what belongs to the data is no mark-up of Slack's."""
    text = alert.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    body = json.dumps({"text": text}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "fanfold"}

    try:
        if urlsplit(url).scheme not in ("http", "https"):
            raise Refused("FANFOLD_NOTIFY_WEBHOOK is no http or https address")
        request = urllib.request.Request(url, body, headers)  # noqa: S310  checked above
        opener = urllib.request.build_opener(_NoRedirects)
        with opener.open(request, timeout=ANSWER_SECONDS) as answer:
            status = answer.status
    except HTTPError as error:
        status = error.code
        error.close()
    except (OSError, HTTPException, ValueError) as error:  # whose texts may hold the address
        raise Unavailable(f"the webhook does not answer ({type(error).__name__})") from None

    if not 200 <= status < 300:
        raise _not_taken(f"the webhook answers {status}", status)


def _publish(topic: str, alert: Alert) -> None:
    """Publish an alert to a topic of SNS, in the topic's own region."""
    parts = topic.split(":")
    if len(parts) != ARN_PARTS:
        raise Refused("FANFOLD_NOTIFY_SNS is not the ARN of a topic (arn:aws:sns:REGION:...:NAME)")

    subject = alert.subject.encode("ascii", "replace").decode()[:MAX_SUBJECT_CHARACTERS]
    config = Config(
        connect_timeout=ANSWER_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 1},  # the next tick is the next
    )
    try:
        client = boto3.client("sns", region_name=parts[ARN_REGION], config=config)
        client.publish(TopicArn=topic, Subject=subject, Message=alert.text)
    except ClientError as error:
        status = status_of(error)
        code = error.response.get("Error", {}).get("Code", "")
        raise _not_taken(f"SNS answers {status} {code}", status) from error
    except (BotoCoreError, ValueError) as error:
        raise Unavailable(f"SNS cannot be used ({type(error).__name__})") from error


def _not_taken(text: str, status: int) -> Unavailable | Refused:
    """Return the error of a channel that answers with a status: take it later, or never."""
    is_transient = status >= 500 or status in TRANSIENT_STATUSES
    return Unavailable(text) if is_transient else Refused(text)
