"""What can go wrong, by what the caller should do about it. Bugs are not caught at all."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import uniform
from typing import Any, TypeVar

from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure

T = TypeVar("T")
LONGEST = 8  # seconds of a pause, about
REFUSED = {13, 18, 8000}  # Unauthorized, AuthenticationFailed, Atlas' own
# What MongoDB says while it elects a primary, restarts, or is cut off from its replica set.
NOT_NOW = {
    6,  # HostUnreachable
    7,  # HostNotFound
    43,  # CursorNotFound: its server restarted
    50,  # MaxTimeMSExpired
    64,  # WriteConcernTimeout
    89,  # NetworkTimeout
    91,  # ShutdownInProgress
    133,  # FailedToSatisfyReadPreference
    134,  # ReadConcernMajorityNotAvailableYet
    189,  # PrimarySteppedDown
    202,  # NetworkInterfaceExceededTimeLimit
    262,  # ExceededTimeLimit
    9001,  # SocketException
    10107,  # NotWritablePrimary
    11600,  # InterruptedAtShutdown
    11602,  # InterruptedDueToReplStateChange
    13435,  # NotPrimaryNoSecondaryOk
    13436,  # NotPrimaryOrSecondary
}


class FanfoldError(Exception):
    """Base of every error that Fanfold raises on purpose."""


class Unavailable(FanfoldError):
    """Retry: a server did not answer, and the same call may succeed later."""


class Malformed(FanfoldError):
    """Record: this item or block cannot be used, and no retry will change that."""


class Refused(FanfoldError):
    """Stop: going on would be wrong until a person has acted; the message says how."""


def pause(attempt: int, first: float) -> float:
    """Return the seconds to wait after a failed attempt (0, 1, ...), longer each time.

    They are random within a half, or workers that failed together would come back together.
    """
    seconds: float = min(first * 2**attempt, LONGEST)
    return seconds * uniform(0.5, 1)  # noqa: S311  no secret depends on it


def patiently(call: Callable[[], T], seconds: float) -> T:
    """Repeat a call while a server is unavailable, for about so many seconds; 0 means once.

    However long the call itself takes to fail, it is made twice at least.
    """
    deadline, attempt = time.monotonic() + seconds, 0
    while True:
        try:
            return call()
        except Unavailable:
            if not seconds or (attempt and time.monotonic() >= deadline):
                raise
        time.sleep(pause(attempt, first=0.2))
        attempt += 1


@contextmanager
def mongodb_errors() -> Iterator[None]:
    """Turn pymongo's errors of connection, availability and permission into ours.

    Neither the URI nor a document is ever repeated.
    """
    try:
        yield
    except ConnectionFailure as error:
        raise Unavailable(
            "MongoDB cannot be reached; check MONGODB_URI and that the server runs "
            f"({type(error).__name__})"
        ) from error
    except OperationFailure as error:
        if passing := _passing(error):
            raise Unavailable(
                "MongoDB did not complete a request; check the state of its replica set and "
                f"its load ({passing})"
            ) from error
        if error.code not in REFUSED:
            raise
        raise Refused(
            "MongoDB refused the credentials in MONGODB_URI; check the user, its password "
            "and its roles"
        ) from error


def only_duplicates(error: BulkWriteError) -> bool:
    """Tell whether all that went wrong with a bulk write is that others were there first."""
    details: dict[str, Any] = dict(error.details or {})
    wrong = details.get("writeErrors", [])
    is_whole = not details.get("writeConcernErrors")
    return is_whole and bool(wrong) and all(one["code"] == 11000 for one in wrong)


def _passing(error: OperationFailure) -> str:
    """Return the name of what will pass by itself, or "" where nothing of the kind is wrong."""
    details: dict[str, Any] = dict(error.details or {})
    # A bulk write says what went wrong by operation, and has a code of its own that says nothing.
    parts = [*details.get("writeErrors", []), *details.get("writeConcernErrors", [])]
    for one in parts or [{"code": error.code, **details}]:
        if one["code"] in NOT_NOW:
            return str(one.get("codeName") or f"code {one['code']}")
    labels = ("RetryableWriteError", "RetryableError", "SystemOverloadedError")
    return next((label for label in labels if error.has_error_label(label)), "")
