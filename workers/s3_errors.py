"""What boto3 raises, as ours: whether to ask S3 again, or to tell a person.

S3's own text is passed on, since often it alone names what is missing; bounded, and without keys.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    SSLError,
)
from botocore.exceptions import (
    ConnectionError as NoConnection,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from workers.errors import RUN_AGAIN, FanfoldError, Refused, Unavailable

MAX_TEXT_CHARACTERS = 400  # of what S3 says, as a message passes it on
# Of HTTP: a redirect while a new bucket becomes known, a timeout, a conflict, too many requests. A
# conflict is another request on the same thing that is under way, or was and its answer was lost.
TRANSIENT_STATUSES = {307, 408, 409, 429}
# Codes that can come with any status: too many requests, a time-out, what was damaged on its way.
TRANSIENT_S3_CODES = {
    "BadDigest",
    "IncompleteBody",
    "RequestLimitExceeded",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}
# What no answer means, or one that arrived damaged: the next try may do.
NO_ANSWER = (
    NoConnection,
    HTTPClientError,
    IncompleteReadError,
    FlexibleChecksumError,
    ResponseParserError,
    CredentialRetrievalError,
    MetadataRetrievalError,
    HTTPError,
)

RENEW = (
    "renew the credentials (log in again, or set AWS_SESSION_TOKEN and the keys that go with it)"
)
# What to do about codes that have one cause.
ADVICE = {
    "AccountProblem": "ask AWS about the account",
    "AllAccessDisabled": "all access to the bucket is switched off; ask AWS about it",
    "ExpiredToken": RENEW,
    "ExpiredTokenException": RENEW,
    "InvalidAccessKeyId": (
        "S3 does not know the access key; check AWS_ACCESS_KEY_ID or the profile, and whether "
        "AWS_ENDPOINT_URL_S3 is the server that it is for"
    ),
    "InvalidToken": RENEW,
    "NotSignedUp": "ask AWS about the account",
    "SignatureDoesNotMatch": (
        "check AWS_SECRET_ACCESS_KEY; a proxy that changes the path or the headers of requests "
        "has the same effect"
    ),
    "TokenRefreshRequired": RENEW,
}
# Of a bucket in another region; the answer to a HEAD request has no code.
REGION_STATUSES = {301, 302, 307}
REGION_CODES = {
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
}
# What a request takes where that is not called as it is.
RIGHTS = {"ListObjectsV2": "s3:ListBucket", "HeadBucket": "s3:ListBucket"}
WAY_OUT = "deploy/iam-policy.json has all that Fanfold needs"
SKEW_CODES = {"RequestTimeTooSkewed", "RequestExpired"}
REGION_IN_TEXT = re.compile(r"expecting '([a-z0-9-]+)'")
# Ids of keys, values in URLs that were signed, and runs as long as tokens; names of resources, as
# long as these, are kept.
SECRETS = re.compile(
    r"(?P<kept>\barn:\S+)"
    r"|\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{8,}"
    r"|(?i:(?<=ature=|ntial=|token=|keyid=))[^&\s]+"
    r"|[A-Za-z0-9+/=]{40,}"
)
SECRET_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
MIN_SECRET_CHARACTERS = 8  # a shorter value of one of them is made up, and part of other words


@contextmanager
def s3_errors(name: str) -> Iterator[None]:
    """Turn boto3's errors about the named thing into ours."""
    try:
        yield
    except ClientError as error:
        raise _explain(Answer.of(error), name) from error
    except NO_ANSWER as error:
        if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise Refused(
                f"{name}: the certificate of the S3 endpoint cannot be verified; check the "
                "endpoint, or name your authority's certificates in AWS_CA_BUNDLE"
            ) from error
        raise Unavailable(
            f"S3 did not answer for {name}; check the endpoint and that the server runs "
            f"({type(error).__name__})"
        ) from error
    except BotoCoreError as error:
        raise Refused(f"S3 cannot be used for {name}: {passed_on(str(error))}") from error


def status_of(error: ClientError) -> int:
    """Return the HTTP status that a service of AWS answered; 0 where it gave none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def passed_on(text: str) -> str:
    """Return a service's text as a message may hold it: bounded, and without secrets."""
    masked = SECRETS.sub(lambda match: match["kept"] or "***", " ".join(text.split()))
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= MIN_SECRET_CHARACTERS:
            masked = masked.replace(value, "***")

    if len(masked) > MAX_TEXT_CHARACTERS:
        masked = masked[:MAX_TEXT_CHARACTERS] + "..."
    return masked


def read_date(header: str | None) -> datetime | None:
    """Return the time in a Date header; None where there is none that can be read.

    Proxies add a second one, which arrives joined to the first, and some say no zone.
    """
    try:
        time = parsedate_to_datetime(header or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return time if time.tzinfo else None


class Answer(NamedTuple):
    """What a service said instead of what it was asked for."""

    status: int
    code: str
    # "" where the answer had no body, as that of a HEAD request never does.
    text: str
    headers: dict[str, str]
    # What else the body says, by element.
    details: dict[str, Any]
    # The right that the request takes.
    right: str

    @classmethod
    def of(cls, error: ClientError) -> "Answer":
        """Return the answer that an error of boto3 holds."""
        details: dict[str, Any] = dict(error.response.get("Error", {}))
        metadata: dict[str, Any] = dict(error.response.get("ResponseMetadata", {}))
        code = str(details.get("Code", ""))
        text = "" if code.isdigit() else passed_on(str(details.get("Message") or ""))
        right = RIGHTS.get(error.operation_name, f"s3:{error.operation_name}")
        return cls(status_of(error), code, text, metadata.get("HTTPHeaders", {}), details, right)

    @property
    def said(self) -> str:
        """The code, with the text where there is one."""
        parts = [part for part in (self.code, self.text) if part]
        return ": ".join(parts) or str(self.status)

    @property
    def region(self) -> str:
        """Where the bucket is, as far as the answer says."""
        named = self.headers.get("x-amz-bucket-region") or self.details.get("Region")
        in_text = REGION_IN_TEXT.search(self.text)
        return str(named or (in_text[1] if in_text else ""))

    @property
    def is_transient(self) -> bool:
        """Whether the same request may be answered the next time."""
        is_server_error = self.status >= 500 and self.status != 501
        is_named = self.code in TRANSIENT_S3_CODES or self.code.endswith("ThrottlingException")
        return is_server_error or is_named or self.status in TRANSIENT_STATUSES


def _explain(answer: Answer, name: str) -> FanfoldError:
    """Return what an answer of S3 means for the named thing, and what to do about it."""
    status, code = answer.status, answer.code
    if status == 412:
        return Refused(f"{name} was replaced after it was planned; {RUN_AGAIN}")
    if status == 404 and code == "NoSuchBucket":
        return Refused(f"{name}: the bucket does not exist; create it or set FANFOLD_BUCKET")
    if status == 404:
        return Refused(f"{name} is gone; {RUN_AGAIN}")
    if answer.is_transient and not (status == 307 and answer.region):
        return Unavailable(f"S3 answered {status} {answer.said} for {name}")

    advice = _advice(answer)
    if not advice and status in (401, 403):
        return _explain_refusal(answer, name)
    end = f"; {advice}" if advice else ""
    return Refused(f"S3 answered {status} for {name} ({answer.said}){end}")


def _advice(answer: Answer) -> str:
    """Return what to do about an answer that has one cause; "" about any other."""
    is_redirect = answer.status in REGION_STATUSES and answer.region
    is_400_of_head = answer.code == "400" and answer.region
    if answer.code in REGION_CODES or is_redirect or is_400_of_head:
        return _advice_on_region(answer)
    if answer.code == "InvalidObjectState":
        storage = answer.details.get("StorageClass") or "GLACIER or DEEP_ARCHIVE"
        return (
            f"it is archived ({storage}) and cannot be read: restore it (`aws s3api "
            "restore-object`), wait until that is done, and run its partition again; blocks that "
            "are still to be read do not belong into archives"
        )
    if answer.code in SKEW_CODES:
        return _advice_on_clock(answer)
    if answer.status == 405 and answer.headers.get("x-amz-delete-marker") == "true":
        return "it was deleted in a bucket with versions; run its partition again"
    if "kms:" in answer.text.lower() or answer.code.startswith("KMS."):
        return "check the policies of the key and of the role: reading needs kms:Decrypt"
    return ADVICE.get(answer.code, "")


def _advice_on_region(answer: Answer) -> str:
    endpoint = answer.details.get("Endpoint")
    at_endpoint = f" (S3 names the endpoint {passed_on(str(endpoint))})" if endpoint else ""
    if not answer.region:
        return (
            f"the bucket is in another region{at_endpoint}: set AWS_DEFAULT_REGION to it, and "
            "AWS_ENDPOINT_URL_S3, if it is set, to that region's"
        )
    return (
        f"the bucket is in the region {answer.region}{at_endpoint}: set "
        f"AWS_DEFAULT_REGION={answer.region}, and AWS_ENDPOINT_URL_S3, if it is set, to that "
        f"region's, such as https://s3.{answer.region}.amazonaws.com"
    )


def _advice_on_clock(answer: Answer) -> str:
    theirs = _time(answer.details.get("ServerTime")) or read_date(answer.headers.get("date"))
    difference = ""
    if theirs:
        seconds = round((datetime.now(UTC) - theirs).total_seconds())
        difference = f" by {abs(seconds):,} s, {'ahead' if seconds > 0 else 'behind'}"
    return f"this machine's clock differs from that of S3{difference}: set it"


def _time(text: Any) -> datetime | None:
    """Return a time in ISO 8601 with a zone; None where it is none."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else None


def _explain_refusal(answer: Answer, name: str) -> Refused:
    """Return what a 401 or 403 without a cause of its own may be about."""
    if answer.text:
        return Refused(
            f"S3 refused access to {name} ({answer.said}); check the credentials and policies: "
            f"it takes {answer.right} ({WAY_OUT})"
        )
    return Refused(
        f"S3 refused access to {name} ({answer.said}) and does not say why: the credentials may "
        f"be wrong or expired, a policy may lack {answer.right} ({WAY_OUT}) or kms:Decrypt, this "
        "machine's clock may be wrong, or whoever asks has to pay (FANFOLD_REQUESTER_PAYS=yes)"
    )
