"""Text: lines as they are, and by patterns; the ready ones on lines as producers write them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import Malformed, Refused
from workers.sources.formats.format import format_of
from workers.sources.formats.header import Columns
from workers.sources.formats.lines import BOM, Lines
from workers.sources.formats.patterns import CLOUDFRONT_HEADER, READY, checked_pattern, identifier
from workers.sources.formats.text import check_text, texts
from workers.values import Place

LINE = Columns(names=("line",), required=frozenset({"line"}))

CLF = '{} - {} [10/Oct/2000:13:55:36 -0700] "{}" {} {}'
ALB = (
    "https 2026-01-31T12:00:00.123456Z app/my-alb/50dc6c495c0c9188 {} {} 0.001 0.052 0.000 "
    '200 {} 589 2084 "{}" "{}" TLS_AES_128_GCM_SHA256 TLSv1.3 arn:aws:tg/x/1 "Root=1-58"'
)
ALB_LATER = (
    ' "api.example.com" "arn:aws:acm:c" 0 2026-01-31T12:00:00.100000Z "waf,forward" "-" "-" '
    '"10.0.0.1:80 10.0.0.2:80" "502 200" "-" "-" TID_5f2a'
)
S3 = (
    "79a59df9 logs [06/Feb/2026:00:00:38 +0000] 192.0.2.3 {} 3E57427F REST.GET.OBJECT "
    "a%2Fb.txt {} 200 - 113 2048 7 - {} {} - s9lz+/= SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader "
    "logs.s3.us-west-1.amazonaws.com TLSv1.2"
)


def read(line, pattern, columns=LINE, start=1):
    """Return the row of a line, without what is missing; or the reason why there is none."""
    raw = line if isinstance(line, bytes) else line.encode()
    run = texts(Lines(start, [raw]), format_of("a.log", f"text {pattern}"), columns)
    assert list(run.raws) == [raw]
    (row,) = run.rows
    return row if isinstance(row, str) else {name: text for name, text in row.items() if text}


# Lines, and patterns of one's own


def test_a_line_is_the_first_column_where_there_is_no_pattern():
    run = texts(Lines(0, [BOM + b" a b ", b"", b" \r", b"\xff", b"c\r"]), format_of("a.txt"), LINE)
    assert run.rows == [{"line": "a b"}, "invalid UTF-8: invalid start byte", {"line": "c"}]
    assert run.positions == [0, 13, 15]
    assert run.raw(1) == b"\xff"


def test_the_groups_of_a_pattern_are_columns():
    pattern = r"pattern=(?P<day>\d+-\d+) (?P<who>\w+)(?: to (?P<whom>\w+))?"
    assert read("01-31 ann to bo\r", pattern) == {"day": "01-31", "who": "ann", "whom": "bo"}
    assert read("01-31 ann", pattern) == {"day": "01-31", "who": "ann"}


def test_a_pattern_has_to_fit_the_whole_line():
    reason = read("01-31 ann and more", r"pattern=(?P<day>\d+-\d+) (?P<who>\w+)")
    assert reason == "the line fits the pattern up to `who`, and not on from character 10"
    assert read("?", r"pattern=(?P<day>\d+)") == (
        "the line does not fit the pattern, from its beginning"
    )


def test_null_markers_are_missing_in_patterns_where_they_are_declared():
    pattern = r"pattern=(?P<who>\S+) (?P<what>\S+)"
    assert read("ann -", pattern) == {"who": "ann", "what": "-"}
    assert read("ann -", f"nulls=- {pattern}") == {"who": "ann"}
    assert read(
        CLF.format("h", "?", "GET / HTTP/1.1", 200, 1), "nulls=? pattern=common"
    ).keys() == {*("host", "time", "request", "method", "path", "protocol", "status", "size")}


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(?P<a>", "neither a ready pattern (alb, cloudfront, combined, common, s3access)"),
        (r"(\d+) \w+", "names no columns"),
        ("Combined", "names no columns"),
    ],
)
def test_a_pattern_that_gives_no_columns_is_refused(pattern, why):
    with pytest.raises(Refused) as raised:
        checked_pattern(format_of("a.log", f"text pattern={pattern}"))
    assert why in str(raised.value)


def test_a_pattern_is_held_against_the_item():
    form = format_of("a.log", "text pattern=common")
    columns = Columns(names=("host", "agent"), required=frozenset({"host"}))
    assert check_text(form, columns) == ("no column `agent`: each item has the default there",)
    with pytest.raises(Refused, match="no column `agent`"):
        check_text(form, Columns(names=("host", "agent"), required=frozenset({"agent"})))
    with pytest.raises(Refused, match="is named `host` and the item's field `Host`"):
        check_text(form, Columns(names=("Host", "time")))


def test_text_without_a_pattern_has_one_column():
    assert check_text(format_of("a.log", "text"), LINE) == ()
    two = Columns(names=("line", "host"), required=frozenset({"line", "host"}))
    with pytest.raises(Refused, match="pattern="):
        check_text(format_of("a.log", "text"), two)


# Common and combined


def test_common_is_read_in_parts():
    assert read(
        CLF.format("127.0.0.1", "frank", "GET /a.gif?x=1 HTTP/1.0", 200, 2326), "pattern=common"
    ) == {
        "host": "127.0.0.1",
        "user": "frank",
        "time": "10/Oct/2000:13:55:36 -0700",
        "request": "GET /a.gif?x=1 HTTP/1.0",
        "method": "GET",
        "path": "/a.gif?x=1",
        "protocol": "HTTP/1.0",
        "status": "200",
        "size": "2326",
    }


@pytest.mark.parametrize(
    ("request_line", "path"),
    [
        ("GET /a b?c=d e HTTP/1.1", "/a b?c=d e"),
        ("GET /", "/"),
        (r"GET /\"x\" HTTP/1.1", r"/\"x\""),
        (r"M-SEARCH * HTTP/1.1", "*"),
        (r"\x16\x03\x01", None),
        ("G", None),
        ("-", None),
        ("", None),
    ],
)
def test_a_request_that_is_no_http_has_no_parts(request_line, path):
    row = read(CLF.format("2001:db8::1", "-", request_line, 400, "-"), "pattern=common")
    assert (row["host"], row["status"], row.get("path")) == ("2001:db8::1", "400", path)
    assert "size" not in row
    assert "user" not in row


def test_a_user_may_have_blanks():
    row = read(CLF.format("h", "frank smith", "GET / HTTP/1.1", 200, 1), "pattern=common")
    assert row["user"] == "frank smith"


@pytest.mark.parametrize(
    ("end", "agent"),
    [
        (
            r'"http://x/" "Dalvik (Linux; Alba 10\" Build/LMY47I)"',
            r"Dalvik (Linux; Alba 10\" Build/LMY47I)",
        ),
        ('"-" "user"agent"', 'user"agent'),
        ('"-" "curl/8.1" "203.0.113.7, 10.0.0.1"', "curl/8.1"),
        ('"-" "-"', None),
    ],
)
def test_combined_has_a_referer_and_an_agent_and_may_have_more_behind(end, agent):
    line = CLF.format("h", "-", "GET / HTTP/1.1", 200, 1)
    assert read(f"{line} {end}", "pattern=combined").get("agent") == agent
    assert read(f"{line} {end}", "pattern=common")["status"] == "200"
    assert "up to `size`" in read(line, "pattern=combined")


# ALB


def test_alb_is_read_as_it_was_and_as_it_is():
    line = ALB.format(
        "192.0.2.1:5000", "10.0.0.1:80", "200", "GET https://x:443/a?b HTTP/2.0", "curl"
    )
    early = read(line, "pattern=alb")
    later = read(line + ALB_LATER, "pattern=alb")
    assert (early["client_ip"], early["client_port"]) == ("192.0.2.1", "5000")
    assert (early["target_ip"], early["target_port"]) == ("10.0.0.1", "80")
    assert (early["method"], early["url"], early["trace_id"]) == (
        "GET",
        "https://x:443/a?b",
        "Root=1-58",
    )
    assert early.items() <= later.items()
    assert later["actions_executed"] == "waf,forward"
    assert later["target_status_code_list"] == "502 200"
    assert later["conn_trace_id"] == "TID_5f2a"
    assert read(f'{line}{ALB_LATER} "host" "/uri" "-"', "pattern=alb") == later


@pytest.mark.parametrize(
    ("client", "target", "request_line", "url"),
    [
        ("2001:db8::7:5000", "-", "GET http://[::1]:80/ HTTP/1.1", "http://[::1]:80/"),
        ("192.0.2.1:5000", "-", "- http://my-alb:80- -", None),
        ("192.0.2.1:5000", "-", r"GET https://x:443/?q=\x22 HTTP/2.0", r"https://x:443/?q=\x22"),
        (
            "192.0.2.1:5000",
            "-",
            "GET http://x:80/sh?cd+/tmp;+ a/b HTTP/1.1",
            "http://x:80/sh?cd+/tmp;+ a/b",
        ),
    ],
)
def test_alb_has_requests_that_nobody_could_answer(client, target, request_line, url):
    row = read(
        ALB.format(client, target, "-", request_line, "Hello, world") + ALB_LATER, "pattern=alb"
    )
    assert row["client_ip"] == client.removesuffix(":5000")
    assert row.get("url") == url
    assert row["user_agent"] == "Hello, world"
    assert "target_ip" not in row


# S3's access log


@pytest.mark.parametrize(
    ("behind", "last"),
    [
        ("", {}),
        (" arn:aws:s3:us-west-1:1:accesspoint/ap Yes", {"acl_required": "Yes"}),
        (" - - us-east-1", {"source_region": "us-east-1"}),
        (" - Yes us-east-1 new fields", {"acl_required": "Yes", "source_region": "us-east-1"}),
    ],
)
def test_an_s3_access_log_may_end_where_it_ended_over_the_years(behind, last):
    line = S3.format("arn:aws:iam::1:user/ann", '"GET /logs/a HTTP/1.1"', '"-"', '"aws-cli/2"')
    row = read(line + behind, "pattern=s3access")
    assert row["requester"] == "arn:aws:iam::1:user/ann"
    assert (row["key"], row["object_size"], row["tls_version"]) == ("a%2Fb.txt", "2048", "TLSv1.2")
    assert row["user_agent"] == "aws-cli/2"
    assert last.items() <= row.items()
    assert "referer" not in row


@pytest.mark.parametrize(
    ("request_uri", "referer", "agent"),
    [
        ('GET /" HTTP/1.1', "referer test", "curl/7.38.0"),
        ("GET / HTTP/1.1", "https://e/s", 'Mozilla/5.0 (iPad) Safari/604.1"'),
        ("GET / HTTP/1.1", '() { :;}; echo; echo "me"', '() { :;}; echo; echo "me"'),
        (r"GET /\ HTTP/1.1", "back\\", "slash\\"),
    ],
)
def test_s3_escapes_no_quotes(request_uri, referer, agent):
    row = read(
        S3.format("-", f'"{request_uri}"', f'"{referer}"', f'"{agent}"') + " - - us-east-1",
        "pattern=s3access",
    )
    assert (row["request_uri"], row["referer"], row["user_agent"]) == (request_uri, referer, agent)
    assert row["source_region"] == "us-east-1"


@pytest.mark.parametrize("nothing", ["-", '"-"'])
def test_what_s3_does_by_itself_has_no_request(nothing):
    row = read(
        "79a logs [06/Feb/2026:00:00:38 +0000] - AmazonS3 3E S3.EXPIRE.OBJECT a/b "
        f"{nothing} - - - 2048 - - {nothing} {nothing} v1 - - - - - -",
        "pattern=s3access",
    )
    assert (row["operation"], row["key"], row["version_id"]) == ("S3.EXPIRE.OBJECT", "a/b", "v1")
    assert "request_uri" not in row


# CloudFront's standard log

CLOUDFRONT = Columns(names=("timestamp", "c_ip", "cs_user_agent", "sc_range_end"))


def cloudfront(values, columns=CLOUDFRONT, header=CLOUDFRONT_HEADER):
    lines = [b"#Version: 1.0", b"#Fields: " + " ".join(header.split()).encode()]
    lines.append("\t".join(values).encode())
    return texts(Lines(0, lines), format_of("a", "text pattern=cloudfront"), columns)


@pytest.mark.parametrize("count", [9, 24, 26, 33, 35])
def test_cloudfront_has_had_more_and_more_columns(count):
    names = [identifier(name) for name in CLOUDFRONT_HEADER.split()]
    values = ["2026-01-31", "12:00:01", *[f"v%20{n}" for n in range(2, count)]]
    run = cloudfront(values)
    (row,) = run.rows
    assert row["timestamp"] == "2026-01-31T12:00:01Z"
    assert [row[name] for name in names[:count]] == values[:33]
    assert not any(row[name] for name in names[count:])
    assert len(names) == 33


def test_cloudfront_with_columns_of_ones_own_is_no_such_log():
    with pytest.raises(Malformed, match='format="w3c"') as raised:
        cloudfront(["1"], header="date time c-ip")
    assert raised.value.place == Place.rest(0)


def test_cloudfront_writes_a_hyphen_for_what_is_missing():
    (row,) = cloudfront(["2026-01-31", "12:00:01", *["-"] * 31]).rows
    assert {value for name, value in row.items() if name not in ("date", "time", "timestamp")} == {
        ""
    }


# What a line can do to a pattern


@pytest.mark.parametrize("name", READY)
@pytest.mark.parametrize(
    "part", ["x", " ", '"', '" ', '\\"', "[", ":", '" "', '" 200 - 1 1 1 1 ', "1\t"]
)
def test_a_line_of_a_megabyte_costs_no_more_than_its_bytes(name, part):
    long = part * (1_000_000 // len(part))
    lines = [
        long,
        CLF.format(long, "-", long, 200, 1),
        CLF.format("h", "-", f"GET {long}", 200, 1) + f' "{long}" "{long}',
        ALB.format("1.1.1.1:1", "-", "-", long, long) + long,
        S3.format("-", f'"{long}', f'"{long}"', f'"{long}'),
    ]
    started = time.process_time()
    for line in lines:
        texts(Lines(1, [line.encode()]), format_of("a", f"text pattern={name}"), LINE)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("name", READY)
@given(line=st.text(st.sampled_from('aG/ "\\[]:-10\t.'), max_size=80))
def test_any_line_is_a_row_or_a_reason(name, line):
    run = texts(Lines(1, [line.encode()]), format_of("a", f"text pattern={name}"), LINE)
    assert len(run.rows) == bool(line.strip())
