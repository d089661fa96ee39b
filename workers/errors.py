"""What can go wrong, by what the caller should do about it. Bugs are not caught at all."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import ConnectionFailure, OperationFailure


class FanfoldError(Exception):
    """Base of every error that Fanfold raises on purpose."""


class Unavailable(FanfoldError):
    """Retry: a server did not answer, and the same call may succeed later."""


class Malformed(FanfoldError):
    """Record: this item or block cannot be used, and no retry will change that."""


class Refused(FanfoldError):
    """Stop: going on would be wrong until a person has acted; the message says how."""


@contextmanager
def mongodb_errors() -> Iterator[None]:
    """Turn pymongo's connection and permission errors into ours; the URI is never repeated."""
    try:
        yield
    except ConnectionFailure as error:
        raise Unavailable(
            "MongoDB cannot be reached; check MONGODB_URI and that the server runs "
            f"({type(error).__name__})"
        ) from error
    except OperationFailure as error:
        if error.code not in (13, 18, 8000):  # Unauthorized, AuthenticationFailed, Atlas' own
            raise
        raise Refused(
            "MongoDB refused the credentials in MONGODB_URI; check the user, its password "
            "and its roles"
        ) from error
