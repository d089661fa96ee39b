"""What producers that many people have write by default, after their public documentation.

Each of the functions returns items as dicts by the producer's own names, or the blocks of such
items by key. The odd ones are there too: nulls and hyphens, quotes, IPv6, what is no HTTP.
"""

import gzip
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

Item = dict[str, Any]
Blocks = dict[str, bytes]

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = "2026-01-31"
HOUR = "2026-01-31-12:00"
ACCOUNT = "123456789012"
OWNER = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"
ADDRESSES = ("192.0.2.7", "198.51.100.23", "2001:db8::1", "2001:db8:85a3::8a2e:370:7334", "::1")
ODD_TEXTS = (
    "plain",
    "Zoë, “quoted” 東京 👩‍🚀",
    'a "quote" and a \\ backslash',
    "}{ ][ }\n{ no end of a value",
    "tab\there, and \u2028 a line separator",
    "",
    "null",
    "-",
)


def draws(seed: str, count: int) -> Iterator[tuple[random.Random, datetime]]:
    """Yield a source of chance and a moment of the hour for each item."""
    chance = random.Random(seed)
    for number in range(count):
        yield chance, NOON + timedelta(seconds=number * 3_000 / count, milliseconds=number)


def pick(chance: random.Random, *values: Any) -> Any:
    return chance.choice(values)


def iso(moment: datetime, timespec: str = "milliseconds") -> str:
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def members(body: bytes, count: int) -> bytes:
    """Return a gzip of several members, cut wherever it comes."""
    step = max(1, len(body) // count + 1)
    parts = [body[start : start + step] for start in range(0, len(body), step)]
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


def blocks_of(
    items: Sequence[Item], size: int, block: Callable[[int, Sequence[Item]], tuple[str, bytes]]
) -> Blocks:
    """Return blocks of so many items each."""
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    return dict(block(number, part) for number, part in enumerate(parts))


# Amazon Data Firehose: records as they were put, with nothing between, and no suffix.


def firehose_items(count: int) -> list[Item]:
    return [
        {
            "userId": pick(chance, "ann", "bo", "Zoë", 'c"y', "{di}"),
            "action": pick(chance, "view", "like", "buy"),
            "ts": pick(chance, iso(moment), int(moment.timestamp())),
            "cents": pick(chance, None, 0, 1_999, 250),
            "note": pick(chance, *ODD_TEXTS),
            "tags": pick(chance, [], [{"k": "]}"}], None),
        }
        for chance, moment in draws("firehose", count)
    ]


def firehose_blocks(items: Sequence[Item]) -> Blocks:
    def block(number: int, part: Sequence[Item]) -> tuple[str, bytes]:
        text = "".join(json.dumps(item, ensure_ascii=number % 2 == 0) for item in part)
        body = text.encode()
        key = f"raw/2026/01/31/12/stream-1-2026-01-31-12-{number:02}-00-5f2a9c1e-{number:04x}"
        if number % 3 == 1:
            return f"{key}.gz", gzip.compress(body, mtime=0)
        return key, members(body, 3) if number % 3 == 2 else body

    return blocks_of(items, 100, block)


# AWS CloudTrail: one object a file, whose `Records` are the items.


def cloudtrail_items(count: int) -> list[Item]:
    return [
        _call(chance, moment, number)
        for number, (chance, moment) in enumerate(draws("cloudtrail", count))
    ]


def _call(chance: random.Random, moment: datetime, number: int) -> Item:
    person = pick(chance, "ann", "bo", "Zoë")
    identity = pick(
        chance,
        {
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLE",
            "arn": f"arn:aws:iam::{ACCOUNT}:user/{person}",
            "accountId": ACCOUNT,
            "userName": person,
        },
        {
            "type": "AssumedRole",
            "principalId": f"AROAEXAMPLE:{person}",
            "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/{person}",
            "sessionContext": {"attributes": {"mfaAuthenticated": "false"}, "webIdFederation": {}},
        },
        {"type": "AWSService", "invokedBy": "autoscaling.amazonaws.com"},
    )
    is_denied = chance.random() < 0.2
    error = {"errorCode": "AccessDenied", "errorMessage": "Kein Zugriff: “s3:*”"}
    return {
        "eventVersion": "1.11",
        "userIdentity": identity,
        "eventTime": iso(moment, "seconds"),
        "eventSource": pick(chance, "s3.amazonaws.com", "ec2.amazonaws.com"),
        "eventName": pick(chance, "GetObject", "RunInstances", "Decrypt"),
        "awsRegion": "eu-west-1",
        "sourceIPAddress": pick(chance, *ADDRESSES, "AWS Internal", "autoscaling.amazonaws.com"),
        "userAgent": pick(chance, "[aws-cli/2.15 Python/3.11]", 'Boto3/1.34 "md"', None),
        **(error if is_denied else {}),
        "requestParameters": pick(
            chance, None, {"policy": '{"Records":[{"a":"]}"}]}'}, {"Records": [{"n": 1}, {"n": 2}]}
        ),
        "responseElements": None,
        "requestID": f"{chance.getrandbits(64):016X}",
        "eventID": f"{number:08x}-0000-4000-8000-000000000000",
        "readOnly": pick(chance, True, False),
        "resources": pick(chance, [], [{"ARN": "arn:aws:s3:::b/k", "type": "AWS::S3::Object"}]),
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
    }


def cloudtrail_blocks(items: Sequence[Item]) -> Blocks:
    def block(number: int, part: Sequence[Item]) -> tuple[str, bytes]:
        body = json.dumps({"Records": part}, separators=(",", ":"), ensure_ascii=False).encode()
        folder = f"AWSLogs/{ACCOUNT}/CloudTrail/eu-west-1/2026/01/31"
        name = f"{ACCOUNT}_CloudTrail_eu-west-1_20260131T12{number:02}Z_Kx9{number}.json.gz"
        return f"{folder}/{name}", members(body, 1 + number % 3)

    digest = {"awsAccountId": ACCOUNT, "digestStartTime": iso(NOON), "logFiles": []}
    beside = f"AWSLogs/{ACCOUNT}/CloudTrail-Digest/eu-west-1/2026/01/31/{ACCOUNT}_digest.json.gz"
    return blocks_of(items, 150, block) | {beside: gzip.compress(json.dumps(digest).encode())}


# Segment: a line of JSON for each call, in gzip, under the day in milliseconds.


def segment_items(count: int) -> list[Item]:
    return [
        _message(chance, moment, number)
        for number, (chance, moment) in enumerate(draws("segment", count))
    ]


def _message(chance: random.Random, moment: datetime, number: int) -> Item:
    kind = pick(chance, "track", "page", "identify", "screen", "group")
    bodies: Mapping[str, Item] = {
        "track": {"event": "Order Completed", "properties": {"revenue": 19.99, "coupon": None}},
        "page": {
            "name": pick(chance, *ODD_TEXTS),
            "properties": {"url": "https://x.example/?q=%22"},
        },
        "identify": {"traits": {"email": "zoë@example.com", "plan": None, "ltv": 1e-7}},
        "screen": {"name": None, "properties": {}},
        "group": {"groupId": "g-1", "traits": {"name": "Smith & “Söhne”"}},
    }
    return {
        "anonymousId": pick(chance, "5f0c2a6e-1", "7d1b-2", None),
        "channel": "client",
        "context": {
            "ip": pick(chance, *ADDRESSES),
            "library": {"name": "analytics.js", "version": "next-1.66.0"},
            "userAgent": 'Mozilla/5.0 (X11; "odd" \\ agent)',
            "page": {"referrer": "", "title": pick(chance, *ODD_TEXTS)},
        },
        "integrations": {},
        "messageId": f"ajs-next-{number:06}",
        "originalTimestamp": iso(moment),
        "receivedAt": iso(moment + timedelta(milliseconds=371)),
        "sentAt": pick(chance, iso(moment), None),
        "timestamp": iso(moment),
        "type": kind,
        "userId": pick(chance, "ann", "bo", "97980cfea0067", None),
        "version": 2,
        **bodies[kind],
    }


def segment_blocks(items: Sequence[Item]) -> Blocks:
    midnight = round(NOON.replace(hour=0).timestamp() * 1000)

    def block(number: int, part: Sequence[Item]) -> tuple[str, bytes]:
        is_ascii = number % 2 == 0
        lines = [json.dumps(item, separators=(",", ":"), ensure_ascii=is_ascii) for item in part]
        name = f"{midnight + number * 60_000}.b2c{number}.1.0-{number:04x}.gz"
        body = "\n".join(lines).encode() + b"\n"
        return f"segment-logs/aB3xYz9/{midnight}/{name}", members(body, 1 + number % 3)

    return blocks_of(items, 150, block)
