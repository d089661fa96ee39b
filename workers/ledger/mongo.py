"""The door to MongoDB: how clients connect, and what its errors mean."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import BulkWriteError, ConfigurationError, ConnectionFailure, OperationFailure

from workers.errors import Refused, Unavailable
from workers.settings import Settings
from workers.values import Document

DUPLICATE_KEY = 11000
WAY_OUT = "deploy/mongodb-role.json has all rights that are needed (docs/deploy.md)"
REFUSED_MONGODB_CODES = {13, 18, 8000}  # Unauthorized, AuthenticationFailed, Atlas' own
# Of commands that are not called as the right that they take.
RIGHTS = {
    "create": "createCollection",
    "createIndexes": "createIndex",
    "delete": "remove",
    "drop": "dropCollection",
}
# How MongoDB, and Atlas, say what a user may not do. What follows is the command, with documents.
FORBIDDEN = (
    re.compile(
        r"not authorized on (?P<db>\S+) to execute command \{ (?P<right>\w+): "
        r'(?:"(?P<collection>[^"]*)")?'
    ),
    re.compile(
        r"not allowed to do action \[(?P<right>\w+)\] "
        r"on \[(?P<db>[^.\]]+)\.?(?P<collection>[^\]]*)\]"
    ),
)
# What MongoDB says while it elects a primary, restarts, or is cut off from its replica set.
TRANSIENT_MONGODB_CODES = {
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
        if name := _transient_name(error):
            raise Unavailable(
                "MongoDB did not complete a request; check the state of its replica set and "
                f"its load ({name})"
            ) from error
        if error.code not in REFUSED_MONGODB_CODES:
            raise
        raise Refused(_why_refused(error)) from error


def _why_refused(error: OperationFailure) -> str:
    """Return what a user of MongoDB may not do; nothing of the documents that it was about."""
    text = str((error.details or {}).get("errmsg") or error)
    for pattern in FORBIDDEN:
        if match := pattern.search(text):
            named = match["collection"] or ""
            where = f"the collection {named} of the database" if named else "the database"
            right = RIGHTS.get(match["right"], match["right"])
            return (
                f"the user of MONGODB_URI lacks the right to {right} on {where} {match['db']}; "
                f"{WAY_OUT}"
            )
    if "requires authentication" in text:
        return "MongoDB asks for a user, and MONGODB_URI names none"
    return "MongoDB refused the credentials in MONGODB_URI; check the user, its password and roles"


def only_duplicates(error: BulkWriteError) -> bool:
    """Tell whether all that went wrong with a bulk write is that others were there first."""
    details: dict[str, Any] = dict(error.details or {})
    errors = details.get("writeErrors", [])
    is_whole = not details.get("writeConcernErrors")
    return is_whole and bool(errors) and all(e["code"] == DUPLICATE_KEY for e in errors)


def duplicates_of(error: BulkWriteError) -> list[int]:
    """Return which operations of a bulk write came too late, by their numbers in it."""
    details: dict[str, Any] = dict(error.details or {})
    return [e["index"] for e in details["writeErrors"] if e["code"] == DUPLICATE_KEY]


def _transient_name(error: OperationFailure) -> str:
    """Return the name of what will pass by itself, or "" where nothing of the kind is wrong."""
    details: dict[str, Any] = dict(error.details or {})
    # A bulk write says what went wrong by operation, and has a code of its own that says nothing.
    parts = [*details.get("writeErrors", []), *details.get("writeConcernErrors", [])]
    for part in parts or [{"code": error.code, **details}]:
        if part["code"] in TRANSIENT_MONGODB_CODES:
            return str(part.get("codeName") or f"code {part['code']}")

    labels = ("RetryableWriteError", "RetryableError", "SystemOverloadedError")
    return next((label for label in labels if error.has_error_label(label)), "")


def open_database(settings: Settings, patient: bool = True) -> Database[Document]:
    """Return the database that the settings name. No request is made yet.

    A patient client waits as long as an election takes. Timeouts that the URI names stay. Writes
    are acknowledged once they would survive a kill and a step-down, and reads see only such ones:
    an attempt that finds what an earlier one wrote may rely on it.
    """
    defaults: dict[str, Any] = {
        "serverSelectionTimeoutMS": 12_000 if patient else 4_000,
        "connectTimeoutMS": 5_000,
        "socketTimeoutMS": 60_000,
        "wTimeoutMS": 30_000,
        "retryWrites": True,
        "retryReads": True,
    }
    in_uri = settings.mongodb_uri.partition("?")[2].lower()
    options = {name: value for name, value in defaults.items() if f"{name.lower()}=" not in in_uri}

    try:
        client: MongoClient[Document] = MongoClient(
            settings.mongodb_uri,
            tz_aware=True,
            w="majority",
            journal=True,
            readConcernLevel="majority",
            **options,
        )
    except (ConfigurationError, ValueError) as error:  # whose text may hold part of a password
        raise Refused(
            "MONGODB_URI cannot be used; it looks like mongodb://USER:PASSWORD@HOST:PORT/?OPTIONS, "
            f"with %-escapes for special characters in the password ({type(error).__name__})"
        ) from None
    return client[settings.database]


def rebuild_collection(asset: str, generation: int | None) -> str:
    """Return the name of the collection that a rebuild makes beside the asset's."""
    return f"{asset}.rebuild_{generation}"


def rebuild_collections(database: Database[Document], asset: str) -> dict[int, str]:
    """Return the collections that rebuilds of an asset have left, by generation."""
    prefix = rebuild_collection(asset, 0).removesuffix("0")
    names = database.list_collection_names()
    return {int(name.removeprefix(prefix)): name for name in names if name.startswith(prefix)}
