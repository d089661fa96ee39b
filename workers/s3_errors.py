"""What boto3 raises, as ours: whether to ask S3 again, or to tell a person."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as NoConnection,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from workers.errors import FanfoldError, Refused, Unavailable

# Of HTTP: a timeout, a conflict, too many requests. A conflict is another request on the same
# thing that is under way, or was and its answer was lost.
TRANSIENT_STATUSES = {408, 409, 429}
TRANSIENT_S3_CODES = {"SlowDown", "RequestTimeout"}  # codes that can come with any status
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


@contextmanager
def s3_errors(name: str) -> Iterator[None]:
    """Turn boto3's errors about the named thing into ours."""
    try:
        yield
    except ClientError as error:
        raise _explain(error, name) from error
    except NO_ANSWER as error:
        raise Unavailable(
            f"S3 did not answer for {name}; check the endpoint and that the server runs "
            f"({type(error).__name__})"
        ) from error
    except BotoCoreError as error:
        raise Refused(f"S3 cannot be used for {name}: {error}") from error


def status_of(error: ClientError) -> int:
    """Return the HTTP status that a service of AWS answered; 0 where it gave none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _explain(error: ClientError, name: str) -> FanfoldError:
    """Return what an answer of S3 means for the named thing, and what to do about it."""
    status = status_of(error)
    code = error.response.get("Error", {}).get("Code", "")

    if status == 412:
        return Refused(f"{name} was replaced after it was planned; run its partition again")
    if status == 404 and code == "NoSuchBucket":
        return Refused(f"{name}: the bucket does not exist; create it or set FANFOLD_BUCKET")
    if status == 404:
        return Refused(f"{name} is gone; run its partition again")
    if status in (401, 403):
        return Refused(f"S3 refused access to {name} ({code}); check the credentials and policies")
    if _is_transient(status, code):
        return Unavailable(f"S3 answered {status} {code} for {name}")
    return Refused(f"S3 answered {status} {code} for {name}")


def _is_transient(status: int, code: str) -> bool:
    """Tell whether the same request may be answered the next time."""
    is_server_error = status >= 500 and status != 501
    return is_server_error or status in TRANSIENT_STATUSES or code in TRANSIENT_S3_CODES
