"""What the user of MONGODB_URI may do, asked before a run writes anything."""

from collections.abc import Iterable, Mapping
from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from workers.ledger.mongo import WAY_OUT
from workers.values import Document

OF_LEDGER = ("find", "insert", "update")
OF_PROFILES = ("find", "insert", "update", "remove")
OF_REBUILD = (*OF_PROFILES, "createCollection", "dropCollection")
ALL = "all collections"
LEDGER = ("plans", "batches", "dead_letters", "assets", "workers", "code", "stays")


def why_forbidden(database: Database[Document], of_profiles: Mapping[str, Iterable[str]]) -> str:
    """Return which rights a user lacks, and the way out; "" where none is known to be missing.

    Those that every run needs, and these of the collections that profiles are in.
    """
    try:
        answer = database.command("connectionStatus", showPrivileges=True)
    except OperationFailure:  # not every server that speaks MongoDB's protocol has this
        return ""
    info = answer.get("authInfo", {})
    users = [each["user"] for each in info.get("authenticatedUsers", [])]
    privileges = info.get("authenticatedUserPrivileges")
    if not users or privileges is None:  # the server has no users, or does not say
        return ""

    needed = {ALL: ["listCollections"], **dict.fromkeys(LEDGER, OF_LEDGER)}
    lacking: dict[tuple[str, ...], list[str]] = {}
    for name, rights in {**needed, **of_profiles}.items():
        allowed = _allowed(privileges, database.name, name)
        if missing := tuple(right for right in rights if right not in allowed):
            lacking.setdefault(missing, []).append(name)
    if not lacking:
        return ""
    parts = [f"{', '.join(rights)} on {', '.join(names)}" for rights, names in lacking.items()]
    return (
        f"the user {users[0]} of MONGODB_URI lacks rights in the database {database.name} "
        f"({'; '.join(parts)}); {WAY_OUT}"
    )


def _allowed(privileges: Iterable[Any], database: str, collection: str) -> set[str]:
    """Return what privileges allow to do with a collection, or with all of them."""
    allowed: set[str] = set()
    for privilege in privileges:
        resource = privilege["resource"]
        is_of_database = resource.get("db") in ("", database)
        is_of_collection = resource.get("collection") in ("", collection)
        if resource.get("anyResource") or (is_of_database and is_of_collection):
            allowed.update(privilege["actions"])
    return allowed
