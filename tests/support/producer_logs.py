"""Logs that producers write a line an item by default, after their public documentation.

Items are dicts by the names that the producer gives its fields; None is a hyphen, or an empty cell.
"""

import gzip
import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from tests.support.producers import (
    ACCOUNT,
    ADDRESSES,
    OWNER,
    Blocks,
    Item,
    blocks_of,
    draws,
    iso,
    members,
    pick,
)
from workers.sources.formats.patterns import CLOUDFRONT_FIELDS

AGENTS = (
    "curl/8.5.0",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0",
    'odd "quoted" agent',
    "Zoë's “browser” 東京",
    'ends in a quote"',
    None,
)
PATHS = ("/", "/a%20b?q=%22x%22&r=1", "/%E6%9D%B1%E4%BA%AC", "/a?next=https://x.example/-", "/*")


def hyphens(*values: Any) -> list[str]:
    return ["-" if value is None else str(value) for value in values]


# CloudFront's standard logs: W3C with tabs, in gzip.


def cloudfront_items(count: int) -> list[Item]:
    return [_view(chance, moment) for chance, moment in draws("cloudfront", count)]


def _view(chance: random.Random, moment: datetime) -> Item:
    agent = pick(chance, *AGENTS)
    outcome = pick(chance, "Hit", "Miss", "Error", "RefreshHit", "LimitExceeded")
    is_https = chance.random() < 0.7
    given = {
        "date": f"{moment:%Y-%m-%d}",
        "time": f"{moment:%H:%M:%S}",
        "x-edge-location": pick(chance, "FRA56-P2", "IAD89-C1"),
        "sc-bytes": chance.randrange(0, 90_000),
        "c-ip": pick(chance, *ADDRESSES),
        "cs-method": pick(chance, "GET", "POST", "HEAD"),
        "cs(Host)": "d111111abcdef8.cloudfront.net",
        "cs-uri-stem": quote(pick(chance, "/index.html", "/a b/“c”.js", "/x%y", '/"')),
        "sc-status": pick(chance, 200, 304, 403, 0, "000"),
        "cs(Referer)": pick(chance, None, "https://www.example.com/%3Fq=1"),
        "cs(User-Agent)": agent and quote(agent, safe="/;(),'"),
        "cs-uri-query": pick(chance, None, "a=b&c=%2522d%2522", "q=%23Fields:"),
        "x-edge-result-type": outcome,
        "x-edge-request-id": "SOX4xwn4XV6Q4rgb7XiVGOHms_BGlTAC4KyHmureZmBNrjGdRLiNIQ==",
        "x-host-header": "www.example.com",
        "cs-protocol": "https" if is_https else "http",
        "cs-bytes": chance.randrange(1, 900),
        "time-taken": f"{chance.random():.3f}",
        "ssl-protocol": "TLSv1.3" if is_https else None,
        "ssl-cipher": "TLS_AES_128_GCM_SHA256" if is_https else None,
        "x-edge-response-result-type": outcome,
        "cs-protocol-version": pick(chance, "HTTP/2.0", "HTTP/1.1", "HTTP/3.0"),
        "c-port": chance.randrange(1_024, 65_536),
        "time-to-first-byte": f"{chance.random():.3f}",
        "x-edge-detailed-result-type": pick(chance, outcome, "ClientCommError"),
        "sc-content-type": pick(chance, None, "text/html;%20charset=utf-8"),
        "sc-content-len": pick(chance, None, 78),
    }
    return {name: given.get(name) for name in CLOUDFRONT_FIELDS}


def cloudfront_blocks(items: Sequence[Item]) -> Blocks:
    header = f"#Version: 1.0\n#Fields: {' '.join(CLOUDFRONT_FIELDS)}\n"

    def block(number: int, part: Sequence[Item]) -> tuple[str, bytes]:
        lines = ["\t".join(hyphens(*item.values())) + "\n" for item in part]
        body = (header + "".join(lines)).encode()
        key = f"cdn/EMLARXS9EXAMPLE.2026-01-31-12.RT4KCN4SGK{number}.gz"
        return key, members(body, 1 + number % 3)

    empty = {"cdn/EMLARXS9EXAMPLE.2026-01-31-12.EMPTY.gz": gzip.compress(header.encode(), mtime=0)}
    return blocks_of(items, 150, block) | empty


# Access logs of an Application Load Balancer.


def alb_items(count: int) -> list[Item]:
    return [_balanced(chance, moment) for chance, moment in draws("alb", count)]


def _balanced(chance: random.Random, moment: datetime) -> Item:
    fate = pick(chance, "forward", "forward", "lambda", "redirect", "refused", "handshake")
    kind = pick(chance, "http", "https", "h2", "ws", "wss", "grpcs")
    agent = pick(chance, *AGENTS)
    has_all = chance.random() < 0.8
    is_secure = kind not in ("http", "ws")
    is_answered = fate == "forward"
    host = pick(chance, "www.example.com:443", "10.0.2.105:773", "[2001:db8::8]:80")
    method = pick(chance, "GET", "POST", "PATCH")
    url = f"https://{host}{pick(chance, *PATHS)}"
    request = f"{method} {url} HTTP/1.1"
    if fate in ("refused", "handshake"):
        method = url = None
        request = "- - - " if fate == "handshake" else f"- http://{host}- "

    return {
        "type": kind,
        "time": iso(moment, "microseconds"),
        "elb": "app/my-loadbalancer/50dc6c495c0c9188",
        "client_ip": pick(chance, *ADDRESSES),
        "client_port": chance.randrange(1_024, 65_536),
        "target": pick(chance, "10.0.0.1:80", "2001:db8::2:8080") if is_answered else None,
        "times": ("0.086", "0.048", "0.037") if is_answered else ("-1", "-1", "-1"),
        "elb_status_code": pick(chance, 200, 502) if is_answered else pick(chance, 400, 301),
        "target_status_code": pick(chance, 200, 502, None) if is_answered else None,
        "received_bytes": chance.randrange(0, 900),
        "sent_bytes": chance.randrange(0, 90_000),
        "method": method,
        "url": url,
        "request": request,
        "user_agent": agent and agent.replace('"', r"\x22"),
        "tls": ("ECDHE-RSA-AES128-GCM-SHA256", "TLSv1.2") if is_secure else (None, None),
        "target_group_arn": None if fate == "redirect" else f"arn:aws:tg:{ACCOUNT}:my-targets/73e2",
        "trace_id": pick(chance, "Root=1-58337262-36d228ad5d99923122bbe354", None),
        "domain_name": "api.example.com" if is_secure else None,
        "created": iso(moment - timedelta(milliseconds=12), "microseconds"),
        "actions_executed": pick(chance, "waf,forward", "authenticate,forward", "redirect", None),
        "redirect_url": "https://example.com:443/a?b=%20" if fate == "redirect" else None,
        "error_reason": "LambdaInvalidResponse" if fate == "lambda" else None,
        # Some nodes write the columns that were added with time, and some do not yet.
        "has_all": has_all,
        "classification": "Ambiguous" if has_all and fate == "refused" else None,
    }


def _alb_line(item: Item) -> str:
    agent = item["user_agent"] or "-"
    target = item["target"]
    parts = hyphens(
        item["type"],
        item["time"],
        item["elb"],
        f"{item['client_ip']}:{item['client_port']}",
        target,
        *item["times"],
        item["elb_status_code"],
        item["target_status_code"],
        item["received_bytes"],
        item["sent_bytes"],
        f'"{item["request"]}" "{agent}"',
        *item["tls"],
        item["target_group_arn"],
        f'"{item["trace_id"] or "-"}" "{item["domain_name"] or "-"}" "-" 0',
        item["created"],
        f'"{item["actions_executed"] or "-"}" "{item["redirect_url"] or "-"}"',
        f'"{item["error_reason"] or "-"}"',
    )
    if item["has_all"]:
        status = item["target_status_code"] or "-"
        reason = "UndefinedTransferEncodingSemantics" if item["classification"] else "-"
        parts.append(f'"{target or "-"}" "{status}" "{item["classification"] or "-"}" "{reason}"')
        parts.append("TID_1234abcd5678ef90")
    return " ".join(parts) + "\n"


def alb_blocks(items: Sequence[Item]) -> Blocks:
    def block(number: int, part: Sequence[Item]) -> tuple[str, bytes]:
        body = "".join(map(_alb_line, part)).encode()
        folder = f"AWSLogs/{ACCOUNT}/elasticloadbalancing/eu-west-1/2026/01/31"
        name = f"{ACCOUNT}_elasticloadbalancing_eu-west-1_app.my-loadbalancer.50dc6c495c0c9188"
        key = f"{folder}/{name}_20260131T12{5 * number:02}Z_10.0.0.{number}_2soosksi.log.gz"
        return key, members(body, 1 + number % 3)

    return blocks_of(items, 150, block)


# S3's server access logs: no suffix, no compression, and quotes that nothing escapes.


def s3access_items(count: int) -> list[Item]:
    return [_access(chance, moment) for chance, moment in draws("s3access", count)]


def _access(chance: random.Random, moment: datetime) -> Item:
    is_own = chance.random() < 0.2
    key = quote(pick(chance, "photos/2026/puppy.jpg", "a b/“c”.txt", "x+y=%"))
    request = f"{pick(chance, 'GET', 'PUT')} /logs-bucket/{quote(key)}?x-id=Get HTTP/1.1"
    status = 200 if is_own else pick(chance, 200, 206, 403, 404)
    agent = pick(chance, *AGENTS)
    return {
        "bucket_owner": OWNER,
        "bucket": "logs-bucket",
        "time": f"[{moment:%d/%b/%Y:%H:%M:%S} +0000]",
        "remote_ip": None if is_own else pick(chance, *ADDRESSES),
        "requester": pick(
            chance, None, OWNER, f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/i-1", "svc:s3"
        ),
        "request_id": f"{chance.getrandbits(64):016X}",
        "operation": "S3.EXPIRE.OBJECT"
        if is_own
        else pick(chance, "REST.GET.OBJECT", "REST.PUT.PART"),
        "key": key,
        "request_uri": None if is_own else request,
        "http_status": status,
        "error_code": {403: "AccessDenied", 404: "NoSuchKey"}.get(status),
        "bytes_sent": pick(chance, None, 0, 2_662_992),
        "object_size": pick(chance, None, 3_462_992),
        "total_time": pick(chance, None, 70),
        "turn_around_time": pick(chance, None, 10),
        "referer": None if is_own else pick(chance, None, 'http://x.example/?q="a b"&c'),
        "user_agent": None if is_own else agent,
        "version_id": pick(chance, None, "3HL4kqtJvjVBH40Nrjfkd"),
        "is_unquoted": is_own,
    }


def _s3access_line(item: Item) -> str:
    values = {name: "-" if value is None else str(value) for name, value in item.items()}
    if not item["is_unquoted"]:
        for name in ("request_uri", "referer", "user_agent"):
            values[name] = f'"{values[name]}"'
    del values["is_unquoted"]

    host = "logs-bucket.s3.eu-west-1.amazonaws.com"
    signed = f"SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader {host} TLSv1.3"
    if item["requester"] is None:
        signed = "- - - - -"
    return f"{' '.join(values.values())} s9lzHYrFp76ZVxRcpX9+5cj/31234= {signed} - -\n"


def s3access_blocks(items: Sequence[Item]) -> Blocks:
    def block(number: int, part: Sequence[Item]) -> tuple[str, bytes]:
        key = f"logs/2026-01-31-12-{number:02}-11-DEADBEEF{number:08X}"
        return key, "".join(map(_s3access_line, part)).encode()

    return blocks_of(items, 60, block)


# Snowplow's enriched events: cells between tabs, without a header, and no quotes about any.

SNOWPLOW_HEADER = """
app_id platform etl_tstamp collector_tstamp dvce_created_tstamp event event_id txn_id name_tracker
v_tracker v_collector v_etl user_id user_ipaddress user_fingerprint domain_userid
domain_sessionidx network_userid geo_country geo_region geo_city geo_zipcode geo_latitude
geo_longitude geo_region_name ip_isp ip_organization ip_domain ip_netspeed page_url page_title
page_referrer page_urlscheme page_urlhost page_urlport page_urlpath page_urlquery page_urlfragment
refr_urlscheme refr_urlhost refr_urlport refr_urlpath refr_urlquery refr_urlfragment refr_medium
refr_source refr_term mkt_medium mkt_source mkt_term mkt_content mkt_campaign contexts se_category
se_action se_label se_property se_value unstruct_event tr_orderid tr_affiliation tr_total tr_tax
tr_shipping tr_city tr_state tr_country ti_orderid ti_sku ti_name ti_category ti_price ti_quantity
pp_xoffset_min pp_xoffset_max pp_yoffset_min pp_yoffset_max useragent br_name br_family br_version
br_type br_renderengine br_lang br_features_pdf br_features_flash br_features_java
br_features_director br_features_quicktime br_features_realplayer br_features_windowsmedia
br_features_gears br_features_silverlight br_cookies br_colordepth br_viewwidth br_viewheight
os_name os_family os_manufacturer os_timezone dvce_type dvce_ismobile dvce_screenwidth
dvce_screenheight doc_charset doc_width doc_height tr_currency tr_total_base tr_tax_base
tr_shipping_base ti_currency ti_price_base base_currency geo_timezone mkt_clickid mkt_network
etl_tags dvce_sent_tstamp refr_domain_userid refr_device_tstamp derived_contexts domain_sessionid
derived_tstamp event_vendor event_name event_format event_version event_fingerprint true_tstamp
"""
SNOWPLOW_FIELDS = tuple(SNOWPLOW_HEADER.split())
TITLES = ('"Best" shoes', '"Hello"', '5" screen', "Zoë, “東京”", '"open', "It's, well; a|b", None)


def snowplow_items(count: int) -> list[Item]:
    return [
        _enriched(chance, moment, number)
        for number, (chance, moment) in enumerate(draws("snowplow", count))
    ]


def _enriched(chance: random.Random, moment: datetime, number: int) -> Item:
    written = f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1_000:03}"
    entity = {"schema": "iglu:com.acme/a/jsonschema/1-0-0", "data": {"t": "a\tb", "q": '"é"'}}
    is_ping = chance.random() < 0.3
    given = {
        "app_id": pick(chance, "shop", "blog"),
        "platform": "web",
        "collector_tstamp": written,
        "event": "page_ping" if is_ping else pick(chance, "page_view", "struct", "unstruct"),
        "event_id": f"{number:08x}-0000-4000-8000-000000000000",
        "user_id": pick(chance, None, "ann", "bo", "Zoë"),
        "user_ipaddress": pick(chance, *ADDRESSES),
        "domain_userid": pick(chance, "bc2e92ec6c204a14", "3d2cbf8a9d1b4c5e"),
        "domain_sessionidx": pick(chance, 1, 27),
        "geo_latitude": pick(chance, None, "51.507351"),
        "page_url": "https://shop.example/?q=%22a%22",
        "page_title": pick(chance, *TITLES),
        "contexts": pick(chance, None, json.dumps({"data": [entity]}, ensure_ascii=False)),
        "se_value": pick(chance, None, "1.0E-7"),
        "pp_yoffset_max": chance.randrange(0, 9_000) if is_ping else None,
        "useragent": pick(chance, *AGENTS),
        "dvce_ismobile": pick(chance, 0, 1),
        "derived_tstamp": written,
        "event_vendor": "com.snowplowanalytics.snowplow",
        "true_tstamp": pick(chance, None, written),
    }
    return {name: given.get(name) for name in SNOWPLOW_FIELDS}


def snowplow_blocks(items: Sequence[Item]) -> Blocks:
    def block(number: int, part: Sequence[Item]) -> tuple[str, bytes]:
        rows = (["" if cell is None else str(cell) for cell in item.values()] for item in part)
        body = "".join("\t".join(cells) + "\n" for cells in rows).encode()
        key = f"enriched/good/run=2026-01-31-12-00-{number:02}/part-0000{number}-5f2a"
        return (key, body) if number == 1 else (f"{key}.gz", members(body, 1 + number))

    return blocks_of(items, 150, block)
