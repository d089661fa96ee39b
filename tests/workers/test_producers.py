"""Seven producers' default output, each read by an asset that a newcomer would declare for it."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest

from tests.support.pipeline import Pipeline
from tests.support.producer_logs import (
    SNOWPLOW_FIELDS,
    alb_blocks,
    alb_items,
    cloudfront_blocks,
    cloudfront_items,
    s3access_blocks,
    s3access_items,
    snowplow_blocks,
    snowplow_items,
)
from tests.support.producers import (
    DAY,
    HOUR,
    Blocks,
    Item,
    cloudtrail_blocks,
    cloudtrail_items,
    firehose_blocks,
    firehose_items,
    segment_blocks,
    segment_items,
)
from workers.contributions.fields import from_key
from workers.declare import Asset, Key, Max, Min, Partitions, Sum, SumBy, Task, Text, Time, rows
from workers.errors import Refused

ITEMS = 420
SMALL_BATCH = 40
DAYS = Partitions(start="2026-01-01")
HOURS = Partitions(every="hour", start="2026-01-01-00:00")


class Says(NamedTuple):
    """What an item says of a profile, worked out without any code of the project."""

    profile: str
    time: datetime
    # Keys that are counted, by field; None is not.
    keys: dict[str, str | None]
    numbers: dict[str, int]


class Producer(NamedTuple):
    """A producer, and the asset that reads it."""

    items: Callable[[int], list[Item]]
    blocks: Callable[[Sequence[Item]], Blocks]
    asset: Asset
    task: Task
    says: Callable[[Item], Says]
    # What a plan calls its blocks.
    formats: set[str]


def iso(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def seen(profile, time):
    return {
        "items": rows(profile),
        "first_seen": rows(profile, time),
        "last_seen": rows(profile, time),
    }


SEEN = {"items": Sum(), "first_seen": Min(datetime), "last_seen": Max(datetime)}


# Firehose needs no word: its values stand behind one another, with suffixes or without.


class Click(msgspec.Struct, rename={"user_id": "userId"}):
    user_id: Text
    action: Text
    ts: Time
    cents: int | None = None
    note: Key = ""


def click_contributions(clicks):
    user = clicks["user_id"]
    cents = clicks["cents"].fillna(0).astype("int64")
    return seen(user, clicks["ts"]) | {
        "actions": rows(user, key=clicks["action"]),
        "notes": rows(user, key=clicks["note"]),
        "cents": rows(user, cents),
    }


def click_says(item):
    ts = item["ts"]
    return Says(
        item["userId"],
        iso(ts) if isinstance(ts, str) else datetime.fromtimestamp(ts, UTC),
        {"actions": item["action"], "notes": item["note"]},
        {"cents": item["cents"] or 0},
    )


FIREHOSE = Producer(
    firehose_items,
    firehose_blocks,
    Asset(
        name="firehose_users",
        description="What users click.",
        partitions=HOURS,
        template="raw/{YYYY}/{MM}/{DD}/{HH}/",
    ),
    Task(
        item=Click,
        fields=SEEN | {"actions": SumBy(), "notes": SumBy(), "cents": Sum()},
        contributions=click_contributions,
    ),
    click_says,
    {"JSON values behind one another", "JSON values behind one another, gzip"},
)


# CloudFront says by itself which columns it has.


class View(
    msgspec.Struct,
    rename={"agent": "cs(User-Agent)", "edge": "x-edge-location", "result": "x-edge-result-type"},
):
    timestamp: Time
    c_ip: Text
    sc_status: Text
    sc_bytes: int
    edge: Text
    result: Text
    agent: Key | None = None


def view_contributions(views):
    address = views["c_ip"]
    known = views.dropna(subset=["agent"])
    return seen(address, views["timestamp"]) | {
        "results": rows(address, key=views["sc_status"] + " " + views["result"]),
        "agents": rows(known["c_ip"], key=known["agent"]),
        "sc_bytes": rows(address, views["sc_bytes"]),
    }


def view_says(item):
    status = item["sc-status"]
    return Says(
        item["c-ip"],
        iso(f"{item['date']} {item['time']}"),
        {"results": f"{status} {item['x-edge-result-type']}", "agents": item["cs(User-Agent)"]},
        {"sc_bytes": item["sc-bytes"]},
    )


CLOUDFRONT = Producer(
    cloudfront_items,
    cloudfront_blocks,
    Asset(
        name="cloudfront_clients",
        description="What clients fetch.",
        partitions=HOURS,
        template="cdn/{*}.{YYYY}-{MM}-{DD}-{HH}.{*}.gz",
    ),
    Task(
        item=View,
        fields=SEEN | {"results": SumBy(), "agents": SumBy(), "sc_bytes": Sum()},
        contributions=view_contributions,
    ),
    view_says,
    {"W3C log, gzip"},
)


# CloudTrail's items are the list of an object.


class Identity(msgspec.Struct, rename="camel"):
    type: Text
    arn: Text | None = None
    invoked_by: Text | None = None


class Call(
    msgspec.Struct,
    rename={
        "identity": "userIdentity",
        "time": "eventTime",
        "name": "eventName",
        "address": "sourceIPAddress",
        "error": "errorCode",
    },
):
    identity: Identity
    time: Time
    name: Text
    address: Text
    error: Text | None = None


def call_contributions(calls):
    who = calls["identity"].map(lambda identity: identity.arn or identity.invoked_by)
    failed = calls["error"].notna()
    return seen(who, calls["time"]) | {
        "names": rows(who, key=calls["name"]),
        "addresses": rows(who, key=calls["address"]),
        "failed": rows(who, failed.astype("int64")),
    }


def call_says(item):
    identity = item["userIdentity"]
    return Says(
        identity.get("arn") or identity["invokedBy"],
        iso(item["eventTime"]),
        {"names": item["eventName"], "addresses": item["sourceIPAddress"]},
        {"failed": int("errorCode" in item)},
    )


CLOUDTRAIL = Producer(
    cloudtrail_items,
    cloudtrail_blocks,
    Asset(
        name="cloudtrail_callers",
        description="What identities call.",
        partitions=DAYS,
        template="AWSLogs/{*}/CloudTrail/{*}/{YYYY}/{MM}/{DD}/",
        format="json records=Records",
    ),
    Task(
        item=Call,
        fields=SEEN | {"names": SumBy(), "addresses": SumBy(), "failed": Sum()},
        contributions=call_contributions,
    ),
    call_says,
    {"JSON list 'Records', gzip"},
)


# A load balancer's lines have a ready pattern.


class Balanced(msgspec.Struct):
    time: Time
    client_ip: Text
    request: Key
    sent_bytes: int
    elb_status_code: int
    method: Key | None = None
    url: Key | None = None
    target_ip: Text | None = None
    user_agent: Key | None = None
    error_reason: Key | None = None
    classification: Key | None = None


def balanced_contributions(requests):
    address = requests["client_ip"]
    keys = {
        "requests": requests["request"],
        "urls": requests["url"],
        "targets": requests["target_ip"],
        "agents": requests["user_agent"],
        "reasons": requests["error_reason"],
        "classes": requests["classification"],
    }
    counted = {name: rows(address, key=key)[key.notna()] for name, key in keys.items()}
    return (
        seen(address, requests["time"]) | counted | {"bytes": rows(address, requests["sent_bytes"])}
    )


def balanced_says(item):
    time = iso(item["time"])
    target = item["target"]
    keys = {
        "requests": item["request"],
        "urls": item["url"],
        "targets": target and target.rpartition(":")[0],
        "agents": item["user_agent"],
        "reasons": item["error_reason"],
        "classes": item["classification"],
    }
    return Says(item["client_ip"], time, keys, {"bytes": item["sent_bytes"]})


ALB = Producer(
    alb_items,
    alb_blocks,
    Asset(
        name="alb_clients",
        description="What clients ask a load balancer.",
        partitions=DAYS,
        template="AWSLogs/{*}/elasticloadbalancing/{*}/{YYYY}/{MM}/{DD}/",
        format="text pattern=alb",
    ),
    Task(
        item=Balanced,
        fields=SEEN
        | dict.fromkeys(("requests", "urls", "targets", "agents", "reasons", "classes"), SumBy())
        | {"bytes": Sum()},
        contributions=balanced_contributions,
    ),
    balanced_says,
    {"text (alb), gzip"},
)


# So have S3's.


class Access(msgspec.Struct):
    time: Time
    operation: Text
    key: Key
    http_status: int
    requester: Text = "anonymous"
    remote_ip: Text | None = None
    request_uri: Key | None = None
    bytes_sent: int = 0
    referer: Key | None = None
    user_agent: Key | None = None
    error_code: Text | None = None


def access_contributions(accesses):
    who = accesses["requester"]
    keys = {
        "operations": accesses["operation"],
        "requests": accesses["request_uri"],
        "addresses": accesses["remote_ip"],
        "referers": accesses["referer"],
        "agents": accesses["user_agent"],
        "errors": accesses["error_code"],
    }
    counted = {name: rows(who, key=key)[key.notna()] for name, key in keys.items()}
    return seen(who, accesses["time"]) | counted | {"bytes": rows(who, accesses["bytes_sent"])}


def access_says(item):
    keys = {
        "operations": item["operation"],
        "requests": item["request_uri"],
        "addresses": item["remote_ip"],
        "referers": item["referer"],
        "agents": item["user_agent"],
        "errors": item["error_code"],
    }
    time = datetime.strptime(item["time"], "[%d/%b/%Y:%H:%M:%S %z]")
    return Says(item["requester"] or "anonymous", time, keys, {"bytes": item["bytes_sent"] or 0})


S3_ACCESS = Producer(
    s3access_items,
    s3access_blocks,
    Asset(
        name="s3_requesters",
        description="What requesters do to a bucket.",
        partitions=DAYS,
        template="logs/{YYYY}-{MM}-{DD}-{*}",
        format="text pattern=s3access",
    ),
    Task(
        item=Access,
        fields=SEEN
        | dict.fromkeys(
            ("operations", "requests", "addresses", "referers", "agents", "errors"), SumBy()
        )
        | {"bytes": Sum()},
        contributions=access_contributions,
    ),
    access_says,
    {"text (s3access)"},
)


# Segment writes JSON lines, under days in milliseconds.


class Library(msgspec.Struct):
    ip: Text | None = None


class Message(msgspec.Struct, rename="camel"):
    type: Text
    timestamp: Time
    message_id: Text
    user_id: Text | None = None
    anonymous_id: Text | None = None
    context: Library | None = None
    name: Key | None = None


def message_contributions(messages):
    who = messages["user_id"].fillna(messages["anonymous_id"]).fillna("nobody")
    named = messages["name"].notna()
    address = messages["context"].map(lambda context: context.ip)
    return seen(who, messages["timestamp"]) | {
        "types": rows(who, key=messages["type"]),
        "addresses": rows(who, key=address),
        "names": rows(who, key=messages["name"])[named],
    }


def message_says(item):
    return Says(
        item["userId"] or item["anonymousId"] or "nobody",
        iso(item["timestamp"]),
        {"types": item["type"], "addresses": item["context"]["ip"], "names": item.get("name")},
        {},
    )


SEGMENT = Producer(
    segment_items,
    segment_blocks,
    Asset(
        name="segment_users",
        description="What users do.",
        partitions=DAYS,
        template="segment-logs/{*}/{epoch_ms}/",
    ),
    Task(
        item=Message,
        fields=SEEN | {"types": SumBy(), "addresses": SumBy(), "names": SumBy()},
        contributions=message_contributions,
    ),
    message_says,
    {"JSON lines, gzip"},
)


# Snowplow's cells have names that stand in its documentation alone, and quotes that mean nothing.


class Enriched(msgspec.Struct):
    collector_tstamp: Time
    event: Text
    domain_userid: Text
    user_id: Text | None = None
    page_title: Key | None = None
    contexts: Key | None = None
    useragent: Key | None = None
    pp_yoffset_max: int = 0
    true_tstamp: Time | None = None


def enriched_contributions(events):
    who = events["domain_userid"]
    keys = {
        "events": events["event"],
        "users": events["user_id"],
        "titles": events["page_title"],
        "contexts": events["contexts"],
        "agents": events["useragent"],
    }
    counted = {name: rows(who, key=key)[key.notna()] for name, key in keys.items()}
    scrolled = rows(who, events["pp_yoffset_max"])
    return seen(who, events["collector_tstamp"]) | counted | {"scrolled": scrolled}


def enriched_says(item):
    keys = {
        "events": item["event"],
        "users": item["user_id"],
        "titles": item["page_title"],
        "contexts": item["contexts"],
        "agents": item["useragent"],
    }
    scrolled = item["pp_yoffset_max"] or 0
    return Says(item["domain_userid"], iso(item["collector_tstamp"]), keys, {"scrolled": scrolled})


SNOWPLOW = Producer(
    snowplow_items,
    snowplow_blocks,
    Asset(
        name="snowplow_visitors",
        description="What visitors do.",
        partitions=DAYS,
        template="enriched/good/run={YYYY}-{MM}-{DD}-{*}/{*}",
        format=f"csv delimiter=tab quote=none columns={','.join(SNOWPLOW_FIELDS)}",
    ),
    Task(
        item=Enriched,
        fields=SEEN
        | dict.fromkeys(("events", "users", "titles", "contexts", "agents"), SumBy())
        | {"scrolled": Sum()},
        contributions=enriched_contributions,
    ),
    enriched_says,
    {"CSV", "CSV, gzip"},
)

PRODUCERS = (FIREHOSE, CLOUDFRONT, CLOUDTRAIL, ALB, S3_ACCESS, SEGMENT, SNOWPLOW)


def expected(producer, items):
    """Return what the profiles have to be, from the items as they were made."""
    profiles: dict[str, dict[str, Any]] = {}
    for says in map(producer.says, items):
        empty = {name: Counter() for name in says.keys}
        profile = profiles.setdefault(says.profile, {"items": 0, "times": []} | empty)
        profile["items"] += 1
        profile["times"].append(milliseconds(says.time))
        for name, key in says.keys.items():
            if key is not None:
                profile[name][key] += 1
        for name, number in says.numbers.items():
            profile[name] = profile.get(name, 0) + number

    for profile in profiles.values():
        times = profile.pop("times")
        profile |= {"first_seen": min(times), "last_seen": max(times)}
    return profiles


def milliseconds(time):
    """Return the nearest millisecond since 1970."""
    since = time.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return (microseconds + 500) // 1_000


def profiles_in(pipeline):
    profiles = {}
    for document in pipeline.profiles.find({}, {"_fold": 0}):
        profile = {}
        for name, value in document.items():
            profile[name] = plain(value)
        profiles[profile.pop("_id")] = profile
    return profiles


def plain(value):
    """Return a value of a profile as `expected` has it."""
    if isinstance(value, dict):
        return {from_key(key): count for key, count in value.items()}
    return milliseconds(value) if isinstance(value, datetime) else value


@pytest.fixture(params=PRODUCERS, ids=lambda producer: producer.asset.name)
def producer(request):
    return request.param


@pytest.fixture
def written(pipeline, monkeypatch):
    """Return a function that puts a producer's blocks, and returns its items and a pipeline."""

    def write(producer):
        name = producer.asset.task
        monkeypatch.setitem(
            sys.modules, f"workers.tasks.{name}", SimpleNamespace(task=producer.task)
        )
        items = producer.items(ITEMS)
        for key, body in producer.blocks(items).items():
            pipeline.store.put(key, body)
        return items, Pipeline(pipeline.store, pipeline.database, pipeline.ledger, producer.asset)

    return write


def partition_of(producer):
    return DAY if producer.asset.partitions.every == "day" else HOUR


def formats_of(pipeline, partition):
    return pipeline.preview(partition).summary["formats"]


@pytest.mark.parametrize("batches", ["one batch", "cut blocks"])
def test_default_output_gives_exact_profiles_without_a_dead_letter(producer, written, batches):
    items, pipeline = written(producer)
    if batches == "cut blocks":
        pipeline = pipeline.sized(SMALL_BATCH)
    partition = partition_of(producer)
    assert {(each["format"], each["reason"]) for each in formats_of(pipeline, partition)} == {
        (name, "") for name in producer.formats
    }

    summary = pipeline.run(partition)
    assert not pipeline.letters()
    assert (summary["items"], summary["items_used"]) == (ITEMS, ITEMS)
    assert summary["batches"] == 1 if batches == "one batch" else summary["batches"] > 8
    assert profiles_in(pipeline) == expected(producer, items)
    verdict = pipeline.verify()
    assert verdict.match
    assert (verdict.items, verdict.unread_blocks) == (ITEMS, 0)


@pytest.mark.parametrize(
    ("producer", "declared", "advice"),
    [
        (CLOUDTRAIL, "", 'format="json records=Records"'),
        (ALB, "", 'format="text pattern=alb"'),
        (S3_ACCESS, "", 'format="text pattern=s3access"'),
        (
            SNOWPLOW,
            "",
            'format="csv delimiter=tab", with columns=a,b,c where there is no header',
        ),
        (CLOUDFRONT, "csv", 'format="w3c"'),
    ],
)
def test_what_needs_a_word_is_refused_with_the_word(written, producer, declared, advice):
    _, pipeline = written(producer)
    pipeline = pipeline.changed(format=declared)
    partition = partition_of(producer)
    (looked,) = formats_of(pipeline, partition)
    assert looked["format"] == "not read"
    assert advice in looked["reason"]

    with pytest.raises(Refused) as raised:
        pipeline.tolerant(count=1_000, rate=1.0).run(partition)
    assert advice in str(raised.value)
    assert not profiles_in(pipeline)
