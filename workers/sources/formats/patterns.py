r"""Patterns of log lines: regular expressions with a named group for each column.

The ready ones follow what the producers document. They never go back over what they have read
(`*+`), so a line of a megabyte costs no more than its bytes; fields that a producer has added with
time may be missing, and what it will add behind them is left alone.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from workers.errors import Malformed, Refused
from workers.sources.formats.format import Format
from workers.sources.formats.header import Columns, check_header

MISSING = frozenset({"", "-"})  # what the ready patterns take for no value

# What stands between quotes, where quotes inside are escaped, or are not followed by a blank.
IN_QUOTES = r'[^"\\]*+(?:(?:\\.|"(?=[^ ]))[^"\\]*+)*+'
# A path may have blanks in it (somebody tries), but not the one before the protocol.
PATH = r'(?=[^"])[^"\\ ]*+(?:(?:\\.|"(?=[^ ])| (?!HTTP/[\d.]++"))[^"\\ ]*+)*+'
# A request, whole and in parts; what is no HTTP has no parts.
REQUEST = (
    rf'"(?P<request>(?P<method>[A-Z][A-Z_-]*+) (?P<{{url}}>{PATH})'
    rf'(?: (?P<protocol>HTTP/[\d.]++))?(?=")|{IN_QUOTES})"'
)


class LinePattern(NamedTuple):
    """What makes columns of a line."""

    regex: re.Pattern[str]
    # Texts that mean a missing value.
    nulls: frozenset[str]
    # Lines that begin with it are no items; empty where all are.
    comment: str = ""
    # The names that the producer's own header has, where it writes one.
    fields: tuple[str, ...] = ()


def _quoted(name: str) -> str:
    return f'"(?P<{name}>{IN_QUOTES})"'


def _bare(name: str) -> str:
    return rf"(?P<{name}>\S++)"


def _nested(fields: Sequence[str], separator: str, rest: str) -> str:
    """Return fields each of which may be missing with all that follow, and then the rest."""
    pattern = rest
    for field in reversed(fields):
        pattern = f"(?:{separator}{field}{pattern})?"
    return pattern


COMMON = " ".join(
    (
        _bare("host"),
        _bare("ident"),
        r"(?P<user>\S++(?: ++[^\[\s]\S*+)*+)",
        r"\[(?P<time>[^\]]++)\]",
        REQUEST.replace("{url}", "path"),
        r"(?P<status>\d{3}|-)",
        r"(?P<size>\d++|-)",
    )
)
COMBINED = " ".join((COMMON, _quoted("referer"), _quoted("agent")))

ALB = " ".join(
    (
        *map(_bare, ("type", "time", "elb")),
        r"(?:(?P<client_ip>\S+):(?P<client_port>\d++)|-)",
        r"(?:(?P<target_ip>\S+):(?P<target_port>\d++)|-)",
        *map(_bare, ("request_processing_time", "target_processing_time")),
        *map(_bare, ("response_processing_time", "elb_status_code", "target_status_code")),
        *map(_bare, ("received_bytes", "sent_bytes")),
        REQUEST.replace("{url}", "url"),
        _quoted("user_agent"),
        *map(_bare, ("ssl_cipher", "ssl_protocol", "target_group_arn")),
        _quoted("trace_id"),
    )
)
ALB_LATER = (
    *map(_quoted, ("domain_name", "chosen_cert_arn")),
    *map(_bare, ("matched_rule_priority", "request_creation_time")),
    *map(_quoted, ("actions_executed", "redirect_url", "error_reason", "target_port_list")),
    *map(_quoted, ("target_status_code_list", "classification", "classification_reason")),
    _bare("conn_trace_id"),
)

# S3 escapes no quotes. A request ends where its status and the numbers follow, a referer where a
# quote opens again, and an agent at the line's last quote.
S3_NUMBER = r"(?P<{}>\d{{1,20}}|-)"
S3_ACCESS = " ".join(
    (
        *map(_bare, ("bucket_owner", "bucket")),
        r"\[(?P<time>[^\]]++)\]",
        *map(_bare, ("remote_ip", "requester", "request_id", "operation", "key")),
        r'(?>(?:"(?P<request_uri>.*?)"|-) (?P<http_status>\d{3}|-) (?P<error_code>[\w.]{1,99}|-)',
        S3_NUMBER.format("bytes_sent"),
        S3_NUMBER.format("object_size"),
        S3_NUMBER.format("total_time"),
        S3_NUMBER.format("turn_around_time") + ")",
        r'(?>"(?P<referer>.*?)"(?= ["-])|-)',
        r'(?:"(?P<user_agent>.*)"|-)',
        r'(?P<version_id>[^\s"]++)',
    )
)
S3_LATER = tuple(
    rf'(?P<{name}>[^\s"]++)'
    for name in (
        "host_id",
        "signature_version",
        "cipher_suite",
        "authentication_type",
        "host_header",
        "tls_version",
        "access_point_arn",
        "acl_required",
        "source_region",
    )
)

CLOUDFRONT_HEADER = """
date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer)
cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header
cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol ssl-cipher
x-edge-response-result-type cs-protocol-version fle-status fle-encrypted-fields c-port
time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len sc-range-start
sc-range-end
"""
CLOUDFRONT_FIELDS = tuple(CLOUDFRONT_HEADER.split())


def identifier(name: str) -> str:
    """Return a field's name as Python could have it: `cs(User-Agent)` as `cs_user_agent`."""
    return re.sub(r"\W+", "_", name).strip("_").lower()


def _cloudfront() -> str:
    columns = [rf"(?P<{identifier(name)}>[^\t]*+)" for name in CLOUDFRONT_FIELDS[2:]]
    start = r"(?P<date>\d{4}-\d\d-\d\d)\t(?P<time>[\d:.]++)\t" + r"\t".join(columns[:7])
    return start + _nested(columns[7:], r"\t", r"(?:\t.*+)?")


READY = {
    "common": LinePattern(re.compile(COMMON + "(?: .*+)?"), MISSING),
    "combined": LinePattern(re.compile(COMBINED + "(?: .*+)?"), MISSING),
    "alb": LinePattern(re.compile(ALB + _nested(ALB_LATER, " ", "(?: .*+)?")), MISSING),
    "s3access": LinePattern(
        re.compile(S3_ACCESS + _nested(S3_LATER, " ", r'(?: [^"]*+)?')), MISSING
    ),
    "cloudfront": LinePattern(re.compile(_cloudfront()), MISSING, "#", CLOUDFRONT_FIELDS),
}


@lru_cache(maxsize=64)
def line_pattern(form: Format) -> LinePattern:
    """Return the pattern of a format: a ready one by its name, or its own; Refused where none is.

    The format's own nulls count beside those of a ready pattern.
    """
    nulls = frozenset(form.nulls)
    ready = READY.get(form.pattern)
    if ready is not None:
        return ready._replace(nulls=ready.nulls | nulls)

    names = ", ".join(sorted(READY))
    try:
        regex = re.compile(form.pattern)
    except re.error as error:
        raise Refused(
            f"pattern={form.pattern} is neither a ready pattern ({names}) nor a regular "
            f"expression: {error}"
        ) from error
    if not regex.groupindex:
        raise Refused(
            f"pattern={form.pattern} names no columns: write groups as (?P<name>...), or take a "
            f"ready pattern ({names})"
        )
    return LinePattern(regex, nulls)


def checked_pattern(form: Format) -> re.Pattern[str]:
    """Return the regular expression of a format; Refused where it does not compile."""
    return line_pattern(form).regex


def check_pattern(form: Format, columns: Columns) -> tuple[str, ...]:
    """Return what a person should know of a pattern; Refused where an item lacks a column."""
    pattern = line_pattern(form)
    groups = list(pattern.regex.groupindex)
    if {"date", "time"} <= set(groups):
        groups.append("timestamp")
    try:
        return check_header(groups, columns)
    except Malformed as error:
        raise Refused(f"pattern={form.pattern} does not fit the item: {error.reason}") from error


@lru_cache(maxsize=64)
def _beginnings(regex: re.Pattern[str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return parts of a pattern, each up to the end of a group, with its name; shortest first."""
    starts = [match.start() for match in re.finditer(r"\(\?P<", regex.pattern)]
    names: set[str] = set()
    parts = []

    for start, next_start in pairwise([*starts, len(regex.pattern) + 1]):
        part = _first_whole(regex, start, next_start)
        if part is not None:
            new_names = [name for name in part.groupindex if name not in names]
            names.update(new_names)
            parts.append((new_names[0], part))
    return tuple(parts)


def _first_whole(regex: re.Pattern[str], start: int, end: int) -> re.Pattern[str] | None:
    """Return the shortest part of a pattern that ends with a bracket in [start, end)."""
    for bracket in re.finditer(r"\)", regex.pattern[:end]):
        if bracket.start() < start:
            continue
        try:
            return re.compile(regex.pattern[: bracket.end()])
        except re.error:
            continue
    return None


def misfit_of(line: str, regex: re.Pattern[str]) -> str:
    """Return why a line does not fit: up to where it does."""
    reached = ""
    position = 0
    for name, part in _beginnings(regex):
        match = part.match(line)
        if match is None:
            break
        reached = name
        position = match.end()

    if not reached:
        return "the line does not fit the pattern, from its beginning"
    return f"the line fits the pattern up to `{reached}`, and not on from character {position + 1}"
